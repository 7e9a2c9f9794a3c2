// Drops its privileges with threads about, one of which blocks all signals, and says what it may do then: a line for each
// question, `name answer`. Run as root. `privileges calls`: only the refused calls, with all capabilities still there;
// `before`: the same without refusing any; `without ERROR`: where seccomp(2) answers so.
#include "../privileges.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../linux/system_calls.h"

static void say(const char *name, long answer) {
  printf("%s %s\n", name, answer < 0 ? strerrorname_np(errno) : "allowed");
}

static pid_t victim;

static void make_victim(void) {
  victim = fork();
  if (victim) return;
  for (int i = 0; i < 3; i++) close(i); // who waits for our output doesn't wait for it
  alarm(5);
  for (;;) pause();
}

static void try_signals(void) {
  siginfo_t info = {.si_signo = SIGKILL, .si_code = SI_QUEUE};
  say("rt_tgsigqueueinfo", syscall(SYS_rt_tgsigqueueinfo, victim, victim, 0, &info));
  say("tgkill", syscall(SYS_tgkill, victim, victim, SIGKILL));
  say("raise", syscall(SYS_tgkill, getpid(), gettid(), 0));
  usleep(100000);
  printf("victim %s\n", waitpid(victim, NULL, WNOHANG) == 0 ? "lives" : "dead");
}

#ifdef __x86_64__
static sigjmp_buf no_gate;
static void on_no_gate(int signal) { siglongjmp(no_gate, signal); }

// As 32-bit programs do. A kernel without them has no such gate, and faults.
static void try_int80(void) {
  struct sigaction action = {.sa_handler = on_no_gate}, before;
  sigaction(SIGSEGV, &action, &before);
  volatile long pid = -1;
  errno = ENOSYS;
  if (sigsetjmp(no_gate, 1) == 0) {
    long answer = 20; // getpid
    __asm__ volatile("int $0x80" : "+a"(answer) : : "memory", "r8", "r9", "r10", "r11");
    errno = answer < 0 ? (int)-answer : 0;
    pid = answer;
  } else {
    errno = ENOSYS;
  }
  say("int80", pid);
  sigaction(SIGSEGV, &before, NULL);
}
#endif

// On a terminal of our own, which is the controlling one.
static void try_terminal(void) {
  setsid();
  int master = posix_openpt(O_RDWR | O_NOCTTY);
  if (grantpt(master) || unlockpt(master)) abort();
  int terminal = open(ptsname(master), O_RDWR);
  struct winsize size;
  say("window", ioctl(terminal, TIOCGWINSZ, &size));
  say("type", ioctl(terminal, TIOCSTI, "#"));
  say("type64", syscall(SYS_ioctl, terminal, 0xff00000000 | TIOCSTI, "#"));
  say("paste", ioctl(terminal, TIOCLINUX, "\3"));
}

static void *do_nothing(void *argument) { return argument; }

static void try_calls(void) {
  try_signals();
  try_terminal();
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
  try_int80();
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

// Not as privileges.c looks: each file whole.
static void count_threads(void) {
  int threads = 0, bare = 0;
  DIR *folder = opendir("/proc/self/task");
  for (struct dirent *thread; (thread = readdir(folder));) {
    if (thread->d_name[0] == '.') continue;
    char path[300], text[4096];
    snprintf(path, sizeof path, "/proc/self/task/%s/status", thread->d_name);
    int file = open(path, O_RDONLY);
    if (file < 0) continue;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    text[length > 0 ? length : 0] = 0;
    threads++;
    bare += strstr(text, "CapPrm:\t0000000000000000") && strstr(text, "CapBnd:\t0000000000000000") &&
            strstr(text, "NoNewPrivs:\t1") && strstr(text, "Seccomp:\t2") && !strstr(text, "Uid:\t0");
  }
  closedir(folder);
  printf("threads %d\nbare %d\n", threads, bare);
}

// As a container's own filter may.
static void answer_seccomp_with(int error) {
  struct sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_seccomp, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog filter = {sizeof program / sizeof *program, program};
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0)) abort();
}

int main(int count, char **words) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (count == 2) make_victim();
  if (count > 1 && strcmp(words[1], "before") == 0) {
    try_calls();
    return 0;
  }
  if (count > 2) {
    answer_seccomp_with(strcmp(words[2], "EPERM") == 0 ? EPERM : ENOSYS);
  } else if (count > 1) {
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    const char *wrong = refuse_system_calls();
    say("packetBefore", socket(AF_PACKET, SOCK_RAW, 0));
    if (!wrong) wrong = refuse_sockets();
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
