#ifndef RCAP_SYSTEM_CALLS_H
#define RCAP_SYSTEM_CALLS_H

// Each refuses for good, on all threads: the thread that asks must have no_new_privs. Returns what went wrong, or NULL; a
// kernel without seccomp is nothing wrong.
// What the agent never needs: from the start.
const char *refuse_system_calls(void);
// Packet sockets, and all other kinds that a running capture doesn't make.
const char *refuse_sockets(void);

#endif
