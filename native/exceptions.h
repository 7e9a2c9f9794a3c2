// Addresses and networks that are not to be captured: a set that never changes once it is made, and answers in a few
// nanoseconds. Nothing of libpcap, libuv or Node in here, so that it can be measured and fuzzed alone.
#ifndef RCAP_EXCEPTIONS_H
#define RCAP_EXCEPTIONS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

// As in index.d.ts: address (16), family, prefix length, 2 zero bytes, name (4, little endian).
#define RULE_BYTES 24u
#define NO_NAME 0xffffffffu

// Random numbers, so that nobody can choose addresses that collide.
typedef struct Seed {
  uint64_t number[5];
} Seed;
// 32 bits of four 32-bit words. Multilinear: any two keys collide with the chance of 1 in 2^32 over the seeds.
static inline uint32_t seed_hash(const Seed *seed, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  const uint64_t *n = seed->number;
  return (uint32_t)((n[0] + n[1] * a + n[2] * b + n[3] * c + n[4] * d) >> 32);
}

// Hosts are in a hash table. Shorter networks are cut into intervals that don't overlap, in order. In front of both are filters of
// bits that fit the processor's caches and turn nearly all strangers away; they are always there, if need be empty.

typedef struct Key {
  uint64_t high, low; // IPv4: the upper half of `high`
} Key;

typedef struct Host {
  Key key;
  uint32_t name; // NO_NAME: nobody is here
} Host;

// From here to the next one; NO_NAME where there is no network.
typedef struct Interval {
  Key start;
  uint32_t name;
} Interval;

typedef struct Family {
  uint64_t *host_bits;
  uint32_t host_mask;    // words of host_bits, less one
  uint32_t narrow_mask;
  uint64_t *wide_bits;   // by the first 16 bits of an address: some network shorter than /32 is there
  uint64_t *narrow_bits; // by a hash of the first 32: some network of /32 or longer is there
  Host *hosts;           // NULL: none
  uint32_t slot_mask;
  Interval *intervals; // NULL: no networks
  uint32_t *index;     // by the first 16 bits: the last interval that starts there or before, and one more at the end
} Family;

typedef struct Exceptions {
  atomic_uint holders;
  uint32_t names, entries;
  Seed seed;
  size_t bytes;
  Family family[2]; // IPv4, IPv6
} Exceptions;

// NULL when there is no memory. `rules` are valid (exceptions_valid). Of the same network given twice the first counts.
Exceptions *exceptions_create(const uint8_t *rules, uint32_t count, uint32_t names, const Seed *seed);
// The first rule that isn't one, or `count`.
uint32_t exceptions_valid(const uint8_t *rules, uint32_t count, uint32_t names);
// From any thread.
Exceptions *exceptions_hold(Exceptions *set);
void exceptions_drop(Exceptions *set);

uint32_t exceptions_names(const Exceptions *set);
// Networks in it, each once.
uint32_t exceptions_entries(const Exceptions *set);
size_t exceptions_bytes(const Exceptions *set);

// The name of the longest network that the address is in, or NO_NAME. `address` is in network order, 4 or 16 bytes.
uint32_t exceptions_find(const Exceptions *set, uint8_t family, const uint8_t *address);

// ---- the part that every packet goes through --------------------------------------------------------------------------

static inline uint64_t be64(const uint8_t *at) {
  uint64_t number;
  memcpy(&number, at, 8);
  return __builtin_bswap64(number);
}
static inline Key key_of(uint8_t family, const uint8_t *address) {
  if (family == 6) return (Key){be64(address), be64(address + 8)};
  uint32_t number;
  memcpy(&number, address, 4);
  return (Key){(uint64_t)__builtin_bswap32(number) << 32, 0};
}
static inline uint32_t hash_of(const Seed *seed, Key key) {
  return seed_hash(seed, (uint32_t)(key.high >> 32), (uint32_t)key.high, (uint32_t)(key.low >> 32), (uint32_t)key.low);
}
static inline uint32_t hash_of_32(const Seed *seed, Key key) { return seed_hash(seed, (uint32_t)(key.high >> 32), 0, 0, 0); }
// Two bits of one word.
static inline uint64_t two_bits(uint32_t hash) { return 1ull << (hash & 63) | 1ull << (hash >> 6 & 63); }
static inline uint32_t word_of(uint32_t hash, uint32_t mask) { return hash >> 12 & mask; }
static inline uint32_t first_16(Key key) { return (uint32_t)(key.high >> 48); }

// 0: the address is in no network of the set. Without branches, since nobody could guess them.
static inline unsigned exceptions_may_have(const Exceptions *set, uint8_t number, const uint8_t *address) {
  Key key = key_of(number, address);
  const Family *family = &set->family[number == 6];
  uint32_t short_hash = hash_of_32(&set->seed, key), hash = number == 6 ? hash_of(&set->seed, key) : short_hash;
  uint64_t missing = two_bits(hash) & ~family->host_bits[word_of(hash, family->host_mask)];
  uint64_t wide = family->wide_bits[first_16(key) / 64] >> (first_16(key) % 64) & 1;
  if (number == 4) return (missing == 0) | wide; // no network of IPv4 is that narrow
  uint64_t missing_narrow = two_bits(short_hash) & ~family->narrow_bits[word_of(short_hash, family->narrow_mask)];
  return (missing == 0) | wide | (missing_narrow == 0);
}

#endif
