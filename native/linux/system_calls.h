#ifndef RCAP_SYSTEM_CALLS_H
#define RCAP_SYSTEM_CALLS_H

// Refuses, on all threads and for good, the system calls that a running capture never needs. Returns what went wrong, or
// NULL; a kernel without seccomp is nothing wrong.
const char *refuse_system_calls(void);

#endif
