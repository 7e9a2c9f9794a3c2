// What the process may do, and giving it up. The names are the same on every system; each file says what it does there.
#ifndef RCAP_PRIVILEGES_H
#define RCAP_PRIVILEGES_H

#include <stdbool.h>
#include <stdint.h>

typedef struct Privileges {
  uint32_t uid, gid;
  uint64_t effective, permitted, inheritable, ambient, bounding; // sets of capabilities, bit n is capability n
  bool no_new_privileges;                                        // no program that is started gets any by its file
  int seccomp;                                                   // 0 none, 2 a filter
  bool dumpable;                                                 // core dumps, and debuggers of the same user
} Privileges;

// Of the calling thread, without opening a file. False where the system has no such thing.
bool privileges_read(Privileges *privileges);

// No core dumps and no debugger of the same user from here on: there are secrets in memory. On Linux also none of the system
// calls that the agent never needs, since strangers' bytes are read before anything can be dropped.
void privileges_forbid_dumps(void);

// Gives up everything that a running capture doesn't need, on all threads, for good. What was opened stays usable.
// `keep_user`: files of this user are still to be opened. Returns what could not be given up, in words, or NULL.
const char *privileges_drop(bool keep_user);

#endif
