// A list of what is refused, not of what is allowed: nobody can know all that Node, V8 and glibc will call. Refused calls
// fail with an error, as they do where the kernel hasn't got them or the user may not; nothing is killed. Filters add up.
#include "system_calls.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "which architecture is it for seccomp?"
#endif

// Younger than the headers of the oldest system that this is built on; from 424 on the numbers are the same everywhere.
enum {
  NR_PIDFD_SEND_SIGNAL = 424,
  NR_IO_URING_SETUP = 425,
  NR_IO_URING_REGISTER = 427,
  NR_OPEN_TREE = 428,
  NR_MOVE_MOUNT = 429,
  NR_FSOPEN = 430,
  NR_FSCONFIG = 431,
  NR_FSMOUNT = 432,
  NR_FSPICK = 433,
  NR_PIDFD_OPEN = 434,
  NR_CLONE3 = 435,
  NR_PIDFD_GETFD = 438,
  NR_PROCESS_MADVISE = 440,
  NR_MOUNT_SETATTR = 442,
};
#ifndef SECCOMP_FILTER_FLAG_SPEC_ALLOW
#define SECCOMP_FILTER_FLAG_SPEC_ALLOW 4
#endif
enum {
  X32_BIT = 0x40000000,
  LOW_WORD = offsetof(struct seccomp_data, args), // both architectures are little-endian
  SECOND_LOW_WORD = LOW_WORD + sizeof(__u64),
};

#define LOAD(offset) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset)
#define IF(test, value, skip) BPF_JUMP(BPF_JMP | test | BPF_K, value, 0, skip) // else over so many
#define REFUSE(error) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (error))
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define NEVER(number) IF(BPF_JEQ, number, 1), REFUSE(EPERM)

static const char *install(struct sock_filter *program, size_t count) {
  struct sock_fprog filter = {(unsigned short)count, program};
  // SPEC_ALLOW: no slower code for the sake of programs that run strangers' code; kernels before 4.17 don't know it.
  long answer = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                        SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW, &filter);
  if (answer < 0 && errno == EINVAL)
    answer = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter);
  if (answer > 0) return "not all threads took the filter of system calls";
  int kernel_has_none = answer < 0 && (errno == ENOSYS || (errno == EINVAL && prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0));
  return answer == 0 || kernel_has_none ? NULL : "the system refused the filter of system calls";
}

const char *refuse_system_calls(void) {
  struct sock_filter program[] = {
      // Another architecture's numbers mean other calls: a 64-bit program has no use for them.
      LOAD(offsetof(struct seccomp_data, arch)), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0), REFUSE(ENOSYS),
      LOAD(offsetof(struct seccomp_data, nr)),
#ifdef __x86_64__
      IF(BPF_JGE, X32_BIT, 1), REFUSE(ENOSYS),
      NEVER(SYS_fork), NEVER(SYS_vfork), NEVER(SYS_modify_ldt), NEVER(SYS_iopl), NEVER(SYS_ioperm),
#endif
      // Other programs and processes.
      NEVER(SYS_execve), NEVER(SYS_execveat), NEVER(SYS_ptrace), NEVER(SYS_process_vm_readv),
      NEVER(SYS_process_vm_writev), NEVER(NR_PROCESS_MADVISE), NEVER(SYS_kcmp), NEVER(SYS_kill), NEVER(SYS_tkill),
      NEVER(SYS_rt_sigqueueinfo), NEVER(SYS_rt_tgsigqueueinfo), NEVER(NR_PIDFD_OPEN), NEVER(NR_PIDFD_GETFD),
      NEVER(NR_PIDFD_SEND_SIGNAL),
      // Other file systems and namespaces.
      NEVER(SYS_mount), NEVER(SYS_umount2), NEVER(SYS_pivot_root), NEVER(SYS_chroot), NEVER(SYS_unshare),
      NEVER(SYS_setns), NEVER(SYS_open_by_handle_at), NEVER(NR_OPEN_TREE), NEVER(NR_MOVE_MOUNT), NEVER(NR_FSOPEN),
      NEVER(NR_FSCONFIG), NEVER(NR_FSMOUNT), NEVER(NR_FSPICK), NEVER(NR_MOUNT_SETATTR), NEVER(SYS_fanotify_init),
      NEVER(SYS_quotactl), NEVER(SYS_swapon), NEVER(SYS_swapoff),
      // The kernel itself.
      NEVER(SYS_init_module), NEVER(SYS_finit_module), NEVER(SYS_delete_module), NEVER(SYS_kexec_load),
      NEVER(SYS_reboot), NEVER(SYS_bpf), NEVER(SYS_perf_event_open), NEVER(SYS_userfaultfd), NEVER(SYS_syslog),
      NEVER(SYS_acct), NEVER(SYS_add_key), NEVER(SYS_request_key), NEVER(SYS_keyctl), NEVER(SYS_settimeofday),
      NEVER(SYS_clock_settime), NEVER(SYS_sethostname), NEVER(SYS_setdomainname),
      NEVER(NR_IO_URING_SETUP), NEVER(NR_IO_URING_REGISTER), // libuv does without
      // Signals to ourselves alone: raise() and abort().
      IF(BPF_JEQ, SYS_tgkill, 4), LOAD(LOW_WORD), IF(BPF_JEQ, (unsigned)getpid(), 1), ALLOW, REFUSE(EPERM),
      // Typing into the terminal, for the shell that reads on after us. The kernel, too, looks at the low word only.
      IF(BPF_JEQ, SYS_ioctl, 5), LOAD(SECOND_LOW_WORD), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TIOCSTI, 1, 0),
      IF(BPF_JEQ, TIOCLINUX, 1), REFUSE(EPERM), ALLOW,
      // No port is ever opened.
      NEVER(SYS_listen), NEVER(SYS_accept), NEVER(SYS_accept4),
      // Threads, but no processes. What clone3 is asked for lies in memory that can't be looked at; without it glibc takes
      // clone.
      IF(BPF_JEQ, NR_CLONE3, 1), REFUSE(ENOSYS),
      IF(BPF_JEQ, SYS_clone, 4), LOAD(LOW_WORD), IF(BPF_JSET, CLONE_THREAD, 1), ALLOW, REFUSE(EPERM),
      ALLOW,
  };
  return install(program, sizeof program / sizeof *program);
}

const char *refuse_sockets(void) {
  struct sock_filter program[] = {
      LOAD(offsetof(struct seccomp_data, nr)),
      // What a lookup and a connection need, above all no further packet socket.
      IF(BPF_JEQ, SYS_socket, 7), LOAD(LOW_WORD),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET, 3, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_UNIX, 1, 0), IF(BPF_JEQ, AF_NETLINK, 1), ALLOW, REFUSE(EAFNOSUPPORT),
      ALLOW,
  };
  return install(program, sizeof program / sizeof *program);
}
