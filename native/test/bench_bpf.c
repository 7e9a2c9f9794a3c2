// bench_bpf MEGABYTES SECONDS: compiles the filter that standard input has, with so much memory and time at most, and prints what
// came of it as JSON.
#include <pcap/pcap.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}
static double start;

static void end(const char *outcome, unsigned instructions) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  printf("{\"outcome\":\"%s\",\"instructions\":%u,\"seconds\":%.1f,\"MiB\":%ld}\n", outcome, instructions, now() - start,
         usage.ru_maxrss / 1024);
  fflush(stdout);
  _exit(0);
}
static void on_alarm(int number) {
  (void)number;
  end("no answer in time", 0);
}

int main(int count, char **arguments) {
  if (count < 3) return 2;
  size_t size = 0, room = 1 << 24;
  char *text = malloc(room);
  for (size_t got; (got = fread(text + size, 1, room - 1 - size, stdin)) > 0;) size += got;
  text[size] = 0;
  rlim_t bytes = (rlim_t)atol(arguments[1]) << 20;
  setrlimit(RLIMIT_AS, &(struct rlimit){bytes, bytes});
  signal(SIGALRM, on_alarm);
  alarm((unsigned)atoi(arguments[2]));
  start = now();
  struct bpf_program program;
  pcap_t *handle = pcap_open_dead(DLT_EN10MB, 262144);
  if (pcap_compile(handle, &program, text, 1, PCAP_NETMASK_UNKNOWN) == 0) end("compiled", program.bf_len);
  end(pcap_geterr(handle), 0);
}
