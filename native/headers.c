#include "headers.h"

#include <stddef.h>

typedef struct Walk {
  const uint8_t *at, *end;
  Headers *found;
} Walk;

// Every layer says what follows it as an EtherType; NOTHING ends the walk.
enum {
  NOTHING = 0,
  IPV4 = 0x0800,
  IPV6 = 0x86dd,
  VLAN = 0x8100,
  QINQ = 0x88a8,
  QINQ_OLD = 0x9100,
  PPPOE = 0x8864,
  BRIDGED = 0x6558, // an Ethernet frame
};
enum { IN_IPV4 = 4, TCP = 6, UDP = 17, IN_IPV6 = 41, GRE = 47 }; // IP's protocols
enum { HOP_BY_HOP = 0, ROUTING = 43, FRAGMENT = 44, AUTHENTICATION = 51, DESTINATION = 60, MOBILITY = 135, HIP = 139, SHIM6 = 140 };
enum { PORT_DNS = 53, PORT_VXLAN = 4789, PORT_VXLAN_LINUX = 8472 };

static uint16_t be16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }
static uint32_t be32(const uint8_t *at) { return (uint32_t)be16(at) << 16 | be16(at + 2); }

static inline bool has(const Walk *walk, size_t bytes) { return (size_t)(walk->end - walk->at) >= bytes; }
// The layer is over after so many bytes from here; what was captured may end before.
static void end_after(Walk *walk, size_t bytes) {
  if (has(walk, bytes)) walk->end = walk->at + bytes;
}

static inline Header *add(Walk *walk, uint8_t family, size_t addresses) {
  Headers *found = walk->found;
  Header *header = &found->header[found->count++];
  *header = (Header){.start = walk->at, .addresses = walk->at + addresses, .family = family};
  found->dns = false;
  return header;
}

static inline uint16_t ethernet(Walk *walk) {
  if (!has(walk, 14)) return NOTHING;
  uint16_t type = be16(walk->at + 12);
  walk->at += 14;
  return type;
}

static inline uint16_t vlan(Walk *walk) {
  if (!has(walk, 4)) return NOTHING;
  uint16_t type = be16(walk->at + 2);
  walk->at += 4;
  return type;
}

// The address and control bytes may be left out, and so may the protocol's first byte.
static uint16_t ppp(Walk *walk) {
  if (has(walk, 2) && walk->at[0] == 0xff && walk->at[1] == 0x03) walk->at += 2;
  if (!has(walk, 1)) return NOTHING;
  bool is_short = walk->at[0] & 1;
  if (!has(walk, is_short ? 1 : 2)) return NOTHING;
  uint16_t protocol = is_short ? walk->at[0] : be16(walk->at);
  walk->at += is_short ? 1 : 2;
  return protocol == 0x0021 ? IPV4 : protocol == 0x0057 ? IPV6 : NOTHING;
}

static uint16_t pppoe(Walk *walk) {
  if (!has(walk, 6) || walk->at[0] != 0x11 || walk->at[1] != 0) return NOTHING;
  uint16_t length = be16(walk->at + 4);
  walk->at += 6;
  end_after(walk, length);
  return ppp(walk);
}

static uint16_t gre(Walk *walk) {
  if (!has(walk, 4)) return NOTHING;
  uint16_t flags = be16(walk->at), type = be16(walk->at + 2);
  if (flags & 0x4007) return NOTHING; // routing, or another version
  size_t size = 4u + (flags & 0x8000 ? 4 : 0) + (flags & 0x2000 ? 4 : 0) + (flags & 0x1000 ? 4 : 0);
  if (!has(walk, size)) return NOTHING;
  walk->at += size;
  return type;
}

static inline uint16_t ports(Walk *walk, bool is_udp) {
  if (!has(walk, 4)) return NOTHING;
  uint16_t source = be16(walk->at), destination = be16(walk->at + 2);
  walk->found->dns = source == PORT_DNS || destination == PORT_DNS;
  walk->found->end = walk->end;
  if (!is_udp || (destination != PORT_VXLAN && destination != PORT_VXLAN_LINUX)) return NOTHING;
  if (!has(walk, 16) || !(walk->at[8] & 0x08)) return NOTHING; // the network's number must be there
  walk->at += 16;
  return BRIDGED;
}

// Steps over extension headers, IPv6's own if `header` is IPv6, and into what they carry.
static inline uint16_t payload(Walk *walk, Header *header, uint8_t protocol) {
  for (int extensions = 0; extensions <= EXTENSIONS_MAX; extensions++) {
    size_t size;
    if (protocol == TCP || protocol == UDP) return ports(walk, protocol == UDP); // nearly always, so before the others
    switch (protocol) {
    case IN_IPV4: return IPV4;
    case IN_IPV6: return IPV6;
    case GRE: return gre(walk);
    case AUTHENTICATION:
      if (!has(walk, 8)) return NOTHING;
      size = (walk->at[1] + 2u) * 4;
      break;
    case HOP_BY_HOP:
    case ROUTING:
    case DESTINATION:
    case MOBILITY:
    case HIP:
    case SHIM6:
      if (header->family != 6 || !has(walk, 8)) return NOTHING;
      size = (walk->at[1] + 1u) * 8;
      break;
    case FRAGMENT:
      if (header->family != 6 || !has(walk, 8)) return NOTHING;
      size = 8;
      bool later = be16(walk->at + 2) & 0xfff8, more = walk->at[3] & 1;
      if (later || more) {
        header->fragment = later ? FRAGMENT_LATER : FRAGMENT_FIRST;
        header->id = be32(walk->at + 4);
      }
      if (later) return NOTHING;
      break;
    default: return NOTHING;
    }
    if (!has(walk, size)) return NOTHING;
    protocol = walk->at[0];
    walk->at += size;
  }
  return NOTHING;
}

static inline uint16_t ipv4(Walk *walk) {
  if (!has(walk, 20) || walk->at[0] >> 4 != 4) return NOTHING;
  const uint8_t *at = walk->at;
  uint32_t size = (at[0] & 15u) * 4, total = be16(at + 2);
  if (size < 20) return NOTHING;
  Header *header = add(walk, 4, 12);
  bool later = be16(at + 6) & 0x1fff, more = at[6] & 0x20;
  if (later || more) {
    header->fragment = later ? FRAGMENT_LATER : FRAGMENT_FIRST;
    header->protocol = at[9];
    header->id = be16(at + 4);
  }
  if (later || !has(walk, size)) return NOTHING;
  if (total) { // 0: the network card is to cut it into pieces
    if (total < size) return NOTHING;
    end_after(walk, total);
  }
  walk->at += size;
  return payload(walk, header, at[9]);
}

static inline uint16_t ipv6(Walk *walk) {
  if (!has(walk, 40) || walk->at[0] >> 4 != 6) return NOTHING;
  const uint8_t *at = walk->at;
  Header *header = add(walk, 6, 8);
  uint32_t length = be16(at + 4);
  walk->at += 40;
  if (length) end_after(walk, length); // 0: longer than that field can say
  return payload(walk, header, at[6]);
}

static uint16_t by_version(const Walk *walk) {
  if (!has(walk, 1)) return NOTHING;
  return walk->at[0] >> 4 == 4 ? IPV4 : walk->at[0] >> 4 == 6 ? IPV6 : NOTHING;
}

// An address family in four bytes, of either byte order; each system has its own number for IPv6.
static uint16_t family(Walk *walk) {
  if (!has(walk, 4)) return NOTHING;
  uint32_t number = be32(walk->at);
  if (number > 0xffff) number = (uint32_t)walk->at[3] << 24 | (uint32_t)walk->at[2] << 16 | (uint32_t)walk->at[1] << 8 | walk->at[0];
  walk->at += 4;
  switch (number) {
  case 2: return IPV4;
  case 10: // Linux
  case 23: // Windows
  case 24: // NetBSD, OpenBSD
  case 28: // FreeBSD
  case 30: // macOS
    return IPV6;
  default: return NOTHING;
  }
}

static uint16_t cooked(Walk *walk, size_t size, size_t type_at) {
  if (!has(walk, size)) return NOTHING;
  uint16_t type = be16(walk->at + type_at);
  walk->at += size;
  return type;
}

static uint16_t begin(Walk *walk, uint32_t link_type) {
  if (link_type == 1) return ethernet(walk);
  switch (link_type) {
  case 0:
  case 108: return family(walk);
  case 12:
  case 101: return by_version(walk);
  case 228: return IPV4;
  case 229: return IPV6;
  case 113: return cooked(walk, 16, 14);
  case 276: return cooked(walk, 20, 0);
  case 9:
  case 50: return ppp(walk);
  case 51: return PPPOE;
  default: return NOTHING;
  }
}

static inline uint16_t step(Walk *walk, uint16_t type) {
  if (type == IPV4) return ipv4(walk);
  if (type == IPV6) return ipv6(walk);
  switch (type) {
  case VLAN:
  case QINQ:
  case QINQ_OLD: return vlan(walk);
  case PPPOE: return pppoe(walk);
  case BRIDGED: return ethernet(walk);
  default: return NOTHING;
  }
}

void headers_find(uint32_t link_type, const uint8_t *data, uint32_t length, Headers *found) {
  found->count = 0;
  found->dns = false;
  Walk walk = {.at = data, .end = data + length, .found = found};
  uint16_t type = begin(&walk, link_type);
  for (int layers = 0; type != NOTHING && layers < HEADER_LAYERS_MAX; layers++) {
    if (found->count == HEADERS_MAX && (type == IPV4 || type == IPV6)) break;
    type = step(&walk, type);
  }
}
