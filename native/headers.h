// The IP headers of a packet, from the outermost to the innermost. Nothing of libpcap, libuv or Node in here, so that it can
// be fuzzed alone. Every length in a packet is a stranger's: none is used before it is checked.
#ifndef RCAP_HEADERS_H
#define RCAP_HEADERS_H

#include <stdbool.h>
#include <stdint.h>

enum {
  HEADERS_MAX = 8,        // IP headers of one packet; what is deeper isn't looked at
  HEADER_LAYERS_MAX = 32, // layers of any kind (tags, IP, …) on the way there
  EXTENSIONS_MAX = 16,    // extension headers behind one IP header
};

typedef enum FragmentKind { FRAGMENT_NONE, FRAGMENT_FIRST, FRAGMENT_LATER } FragmentKind;

typedef struct Header {
  const uint8_t *start;
  const uint8_t *addresses; // source, then destination: 4 or 16 bytes each
  uint8_t family;           // 4 or 6
  uint8_t fragment;         // a FragmentKind
  uint8_t protocol;         // of fragments, IPv4 only: else 0
  uint32_t id;              // of fragments
} Header;

typedef struct Headers {
  uint32_t count;
  bool dns;                 // the innermost one carries UDP or TCP from or to port 53
  const uint8_t *end;       // of what the innermost one carries, as far as it was captured; only with `dns`
  Header header[HEADERS_MAX];
} Headers;

// Fills `found`. `link_type` is a LINKTYPE_ value. Looks into VLAN and QinQ, PPPoE sessions, IP in IP, GRE (version 0) and
// VXLAN. What is cut or malformed ends the walk: what was found before counts.
void headers_find(uint32_t link_type, const uint8_t *data, uint32_t length, Headers *found);

#endif
