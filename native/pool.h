// The blocks that the sessions of a run share: who holds which, and who waits for one.
#ifndef RCAP_POOL_H
#define RCAP_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "wake.h"

typedef struct Pool Pool;

// A thread that may wait for a block of one pool. Must be left (pool_leave) before it goes away.
typedef struct PoolWaiter {
  Wake *wake;
  struct PoolWaiter *next;
  bool waiting;
} PoolWaiter;

// `memory` has `blocks` addresses, is copied, and what it points to must live as long as anybody fills a block.
Pool *pool_create(uint32_t blocks, uint8_t *const *memory);
Pool *pool_hold(Pool *pool);
void pool_drop(Pool *pool);

uint8_t *pool_memory(const Pool *pool, uint32_t block);
uint32_t pool_free_blocks(Pool *pool);

// A session takes a block to fill it; -1 when there is none, and then the waiter is woken once there may be one.
int64_t pool_take(Pool *pool, PoolWaiter *waiter);
// The block passes from its session to JavaScript, which gives it back by pool_release.
void pool_hand_over(Pool *pool, uint32_t block);
// False when JavaScript doesn't hold that block.
bool pool_release(Pool *pool, uint32_t block);
void pool_leave(Pool *pool, PoolWaiter *waiter);

#endif
