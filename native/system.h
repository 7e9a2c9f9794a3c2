// What each system does in its own way and no other file needs to know of. Each system has its own in its folder.
#ifndef RCAP_SYSTEM_H
#define RCAP_SYSTEM_H

// What a live capture needs and this machine doesn't have, in words; NULL when all is there.
const char *system_missing(void);
// Ends the process at once, with standard input, output and error as they were found.
_Noreturn void system_leave(int code);

#endif
