// Drops its privileges with threads about, one of which blocks all signals, and says what it may do then: a line for each
// question, `name answer`. Run as root. `privileges calls`: only the refused calls, with all capabilities still there.
#include "../privileges.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../linux/system_calls.h"

static void say(const char *name, long answer) {
  printf("%s %s\n", name, answer < 0 ? strerrorname_np(errno) : "allowed");
}

static void *do_nothing(void *argument) { return argument; }

static void try_calls(void) {
  long child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
  if (child == 0) _exit(0);
  say("fork", child);
  say("execve", execve("/nonesuch", (char *[]){NULL}, (char *[]){NULL}));
  say("ptrace", ptrace(PTRACE_PEEKUSER, 1, 0, 0));
  say("kill", kill(getpid(), 0));
  say("unshare", unshare(CLONE_NEWNS));
  say("mount", mount("none", "/nonesuch", "tmpfs", 0, ""));
  say("bpf", syscall(SYS_bpf, 0, NULL, 0));
  say("io_uring_setup", syscall(425, 1, NULL));
  say("listen", listen(socket(AF_UNIX, SOCK_STREAM, 0), 1));
  say("clone3", syscall(435, NULL, 0));
  say("packet", socket(AF_PACKET, SOCK_RAW, 0));
  say("vsock", socket(40, SOCK_STREAM, 0));
  say("inet", socket(AF_INET, SOCK_STREAM, 0));
  say("inet6", socket(AF_INET6, SOCK_DGRAM, 0));
  say("unix", socket(AF_UNIX, SOCK_STREAM, 0));
  say("netlink", socket(AF_NETLINK, SOCK_RAW, 0));
#ifdef __x86_64__
  long pid = 20; // getpid, for 32-bit programs
  __asm__ volatile("int $0x80" : "+a"(pid) : : "memory", "r8", "r9", "r10", "r11");
  errno = pid < 0 ? (int)-pid : 0;
  say("int80", pid);
#endif
  pthread_t thread;
  errno = pthread_create(&thread, NULL, do_nothing, NULL);
  say("thread", errno ? -1 : 0);
}

static volatile int blocked;

static void *block_signals(void *argument) {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, NULL);
  blocked = 1;
  for (;;) pause();
  return argument;
}

// Not as privileges.c looks: from the numbers of threads onwards, each file whole.
static void count_threads(void) {
  int threads = 0, bare = 0;
  for (int id = getpid(); id < getpid() + 1000; id++) {
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/self/task/%d/status", id);
    int file = open(path, O_RDONLY);
    if (file < 0) continue;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    text[length > 0 ? length : 0] = 0;
    threads++;
    bare += strstr(text, "CapPrm:\t0000000000000000") && strstr(text, "CapBnd:\t0000000000000000") &&
            strstr(text, "NoNewPrivs:\t1") && strstr(text, "Seccomp:\t2") && !strstr(text, "Uid:\t0");
  }
  printf("threads %d\nbare %d\n", threads, bare);
}

int main(int count, char **words) {
  if (count > 1 && strcmp(words[1], "before") == 0) {
    try_calls();
    return 0;
  }
  if (count > 1) {
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    const char *wrong = refuse_system_calls();
    printf("filter %s\n", wrong ? wrong : "on");
    try_calls();
    return 0;
  }
  pthread_t thread;
  for (int i = 0; i < 20; i++) pthread_create(&thread, NULL, block_signals, NULL);
  while (!blocked) sched_yield();
  privileges_forbid_dumps();
  const char *left = privileges_drop(false);
  printf("left %s\n", left ? left : "nothing");
  say("shadow", open("/etc/shadow", O_RDONLY));
  say("file", open("/etc/passwd", O_WRONLY));
  say("setuid", setuid(0));
  count_threads();
  Privileges now;
  privileges_read(&now);
  printf("uid %u\nbounding %llx\npermitted %llx\n", now.uid, (unsigned long long)now.bounding,
         (unsigned long long)now.permitted);
  return 0;
}
