/*
 * Sends numbered Ethernet frames out of an interface: send_numbered INTERFACE COUNT SIZE RATE. Each is an EtherType for
 * experiments, its number from 0 as 64 bits, and filler that follows from the number. Stays on one processor, so that they
 * arrive in this order; after a stall the rest comes later, not all at once. SIGTERM ends it early. Prints how many went out.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BURST 32
#define MAX_SIZE 1514
#define HEADER 22

static const uint8_t ethernet[14] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5};
static volatile sig_atomic_t stopped;

static void stop(int signal) {
  (void)signal;
  stopped = 1;
}

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static void sleep_ns(int64_t ns) {
  struct timespec t = {ns / 1000000000ll, ns % 1000000000ll};
  if (ns > 0) nanosleep(&t, NULL);
}

static void fill(uint8_t *frame, int size, uint64_t number) {
  memcpy(frame, ethernet, sizeof ethernet);
  for (int i = 0; i < 8; i++) frame[14 + i] = (uint8_t)(number >> (56 - 8 * i));
  for (int i = HEADER; i < size; i++) frame[i] = (uint8_t)(number + (uint64_t)(i - HEADER));
}

static int open_socket(const char *interface) {
  struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(interface)};
  int fd = socket(AF_PACKET, SOCK_RAW, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0) {
    perror(interface);
    exit(1);
  }
  return fd;
}

int main(int argc, char **argv) {
  static uint8_t frames[BURST][MAX_SIZE];
  struct iovec parts[BURST];
  struct mmsghdr messages[BURST];
  if (argc != 5) return 2;
  uint64_t count = strtoull(argv[2], NULL, 10), sent = 0;
  int size = atoi(argv[3]);
  double rate = atof(argv[4]);
  if (size < HEADER || size > MAX_SIZE || rate < 1) return 2;
  int fd = open_socket(argv[1]);
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(sched_getcpu(), &cpus);
  sched_setaffinity(0, sizeof cpus, &cpus);
  signal(SIGTERM, stop);
  int64_t due = now_ns();
  while (sent < count && !stopped) {
    int n = count - sent < BURST ? (int)(count - sent) : BURST;
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < n; i++) {
      fill(frames[i], size, sent + (uint64_t)i);
      parts[i] = (struct iovec){frames[i], (size_t)size};
      messages[i].msg_hdr.msg_iov = &parts[i];
      messages[i].msg_hdr.msg_iovlen = 1;
    }
    int went = sendmmsg(fd, messages, (unsigned)n, 0);
    if (went < 0 && errno != ENOBUFS && errno != EAGAIN && errno != EINTR) {
      perror("sendmmsg");
      return 1;
    }
    if (went < 0) {
      sleep_ns(1000000);
      continue;
    }
    sent += (uint64_t)went;
    due += (int64_t)(went * 1e9 / rate);
    int64_t ahead = due - now_ns();
    if (ahead < -2000000) due = now_ns() - 2000000;
    sleep_ns(ahead);
  }
  printf("%llu\n", (unsigned long long)sent);
  return 0;
}
