// Linux keeps capabilities, user and no_new_privs for each thread, and Node has threads before any JavaScript runs. So the
// thread that asks gives all up first; then every thread whose /proc/self/task/ID/status differs from its own gets a signal
// whose handler does the same, until none differs. A thread that is made meanwhile has what its maker has.
#include "privileges.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "system_calls.h"

enum {
  CAPABILITIES = 64, // the sets have so many bits; the kernel refuses those that it doesn't know
  // systemd's list of user numbers ("Users, Groups, UIDs and GIDs on systemd systems") has nobody between 1879048192 and
  // 2147352575, and SSSD and FreeIPA take none above 2000200000 unless told to. Whether the host knows it isn't asked: that
  // would load what its name service consists of, as root. A number of its own for each process: what runs as "nobody"
  // shares it with strangers, who could stop us.
  FIRST_UNUSED_UID = 2100000000,
  // All agents' group: src/agent/spool-disk.ts knows it, too.
  GROUP = FIRST_UNUSED_UID,
  PID_BITS = 22,
  TRIES = 300, // a millisecond each, and what the look takes
  // glibc's own for pthread_cancel(), which nobody here calls: the one that threads can't have blocked. Some of Node's block
  // all others. A late one stays harmless, since the handler stays.
  SIGNAL = 32,
};

static uint64_t set_of(int option, int argument) {
  uint64_t set = 0;
  for (int c = 0; c < CAPABILITIES; c++) {
    int has = option == PR_CAPBSET_READ ? prctl(option, c, 0, 0, 0) : prctl(option, argument, c, 0, 0);
    if (has == 1) set |= 1ull << c;
  }
  return set;
}

bool privileges_read(Privileges *privileges) {
  struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2] = {{0}};
  syscall(SYS_capget, &head, data);
  *privileges = (Privileges){
      .uid = geteuid(),
      .gid = getegid(),
      .effective = data[0].effective | (uint64_t)data[1].effective << 32,
      .permitted = data[0].permitted | (uint64_t)data[1].permitted << 32,
      .inheritable = data[0].inheritable | (uint64_t)data[1].inheritable << 32,
      .ambient = set_of(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET),
      .bounding = set_of(PR_CAPBSET_READ, 0),
      .no_new_privileges = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1,
      .seccomp = prctl(PR_GET_SECCOMP, 0, 0, 0, 0),
      .dumpable = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1,
  };
  if (privileges->seccomp < 0) privileges->seccomp = 0; // the kernel has none
  return true;
}

// What went wrong at the start is said at the drop.
static bool began;
static const char *at_start;

void privileges_forbid_dumps(void) {
  setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  if (began) return;
  began = true;
  // It takes no privilege that we have. seccomp gives it to the other threads.
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  at_start = refuse_system_calls();
}

// ---- one thread -------------------------------------------------------------------------------------------------------

static atomic_uint new_uid; // 0: stays who it is

// System calls only: a signal handler does this. What is refused shows in the status.
static void drop_this_thread(void) {
  // Needs CAP_SETPCAP, which an executable with cap_net_raw alone hasn't; no_new_privs makes the rest of it void.
  for (int c = 0; c < CAPABILITIES; c++) prctl(PR_CAPBSET_DROP, c, 0, 0, 0);
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  // Not glibc's functions, which do it on all threads, with signals of their own. A user namespace may not know the
  // number: then the user stays, which is said.
  unsigned uid = atomic_load(&new_uid);
  if (uid && !syscall(SYS_setgroups, 0, NULL) && !syscall(SYS_setresgid, GROUP, GROUP, GROUP))
    syscall(SYS_setresuid, uid, uid, uid);
  struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct none[2] = {{0}};
  syscall(SYS_capset, &head, none);
}

static void on_signal(int number) {
  (void)number;
  int before = errno;
  drop_this_thread();
  errno = before;
}

// ---- all threads ------------------------------------------------------------------------------------------------------

// The lines of a thread's status that tell what it may do. False when it has ended.
static bool read_status(const char *thread, char *lines, size_t size) {
  static const char *const names[] = {"Uid:", "Gid:", "Groups:", "Cap", "NoNewPrivs:"};
  char path[64], line[512];
  snprintf(path, sizeof path, "/proc/self/task/%s/status", thread);
  FILE *file = fopen(path, "re");
  if (!file) return false;
  size_t length = 0;
  lines[0] = 0;
  while (fgets(line, sizeof line, file)) {
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
      if (strncmp(line, names[i], strlen(names[i])) == 0)
        length += (size_t)snprintf(lines + length, size - length, "%s", line);
      if (length >= size) length = size - 1;
    }
  }
  fclose(file);
  return length > 0;
}

// glibc lets nobody handle its signals, so: by the system call, with what glibc made of the same for another signal.
static void install_handler(void) {
  struct sigaction before, action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  sigfillset(&action.sa_mask);
  sigaction(SIGRTMAX, &action, &before);
  uint64_t kernels[8] = {0}; // larger than what the kernel's form of it is anywhere
  const size_t mask_size = 8;
  if (syscall(SYS_rt_sigaction, SIGRTMAX, NULL, kernels, mask_size) == 0)
    syscall(SYS_rt_sigaction, SIGNAL, kernels, NULL, mask_size);
  sigaction(SIGRTMAX, &before, NULL);
}

// How many threads differ from this one; each is told. -1 when that can't be known.
static int tell_others(void) {
  char own[1024], other[1024], self[24];
  snprintf(self, sizeof self, "%ld", syscall(SYS_gettid));
  DIR *threads = opendir("/proc/self/task");
  if (!threads) return -1;
  int differ = 0;
  if (!read_status(self, own, sizeof own)) differ = -1;
  for (struct dirent *thread; differ >= 0 && (thread = readdir(threads));) {
    if (thread->d_name[0] == '.' || strcmp(thread->d_name, self) == 0) continue;
    if (!read_status(thread->d_name, other, sizeof other) || strcmp(own, other) == 0) continue;
    differ++;
    syscall(SYS_tgkill, getpid(), atoi(thread->d_name), SIGNAL);
  }
  closedir(threads);
  return differ;
}

const char *privileges_drop(bool keep_user) {
  static const char *const words[] = {"not all threads gave up their privileges",
                                      "other threads keep their privileges: no /proc tells which there are"};
  privileges_forbid_dumps();
  if (!keep_user && geteuid() == 0)
    atomic_store(&new_uid, FIRST_UNUSED_UID + ((unsigned)getpid() & ((1u << PID_BITS) - 1)));
  install_handler();
  drop_this_thread();
  // Twice in a row: a thread that is made while we look may be missed, and has what its maker had.
  int differ = 0;
  for (int tries = 0, clean = 0; differ >= 0 && clean < 2 && tries < TRIES; tries++) {
    differ = tell_others();
    clean = differ ? 0 : clean + 1;
    if (differ > 0) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  }
  // Another user may be dumped again, if the system wants that.
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  const char *refused = refuse_sockets();
  if (differ) return words[differ < 0];
  if (atomic_load(&new_uid) && geteuid() == 0)
    return "root stays the user: it takes CAP_SETUID and CAP_SETGID to become another, and one that this namespace knows";
  return at_start ? at_start : refused;
}
