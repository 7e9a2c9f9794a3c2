// libpcap's results as failures.
#ifndef RCAP_STATUS_H
#define RCAP_STATUS_H

#include "failure.h"

// pcap_activate() of `interface` returned `status`, an error; `words` is what pcap_geterr() says.
bool fail_to_activate(Failure *failure, const char *interface, int status, const char *words);
// pcap_dispatch() on `interface` failed with these words: libpcap has no code for "it is gone".
bool fail_to_read(Failure *failure, const char *interface, const char *words);

#endif
