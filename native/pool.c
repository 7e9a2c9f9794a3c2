#include "pool.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { FREE, WITH_SESSION, WITH_JAVASCRIPT };

struct Pool {
  atomic_uint holders;
  uv_mutex_t lock; // guards all below
  uint32_t blocks;
  uint8_t **memory; // never changes
  uint8_t *state;
  // A stack: the block given back last is the one in the processor's cache, and blocks never needed are never touched.
  uint32_t *free;
  uint32_t free_blocks;
  PoolWaiter *waiters;
};

Pool *pool_create(uint32_t blocks, uint8_t *const *memory) {
  Pool *pool = calloc(1, sizeof *pool);
  if (!pool) return NULL;
  pool->memory = calloc(blocks, sizeof *pool->memory);
  pool->state = calloc(blocks, sizeof *pool->state);
  pool->free = calloc(blocks, sizeof *pool->free);
  if (!pool->memory || !pool->state || !pool->free || uv_mutex_init(&pool->lock)) {
    free(pool->memory);
    free(pool->state);
    free(pool->free);
    free(pool);
    return NULL;
  }
  memcpy(pool->memory, memory, blocks * sizeof *memory);
  for (uint32_t i = 0; i < blocks; i++) pool->free[i] = blocks - 1 - i;
  pool->blocks = pool->free_blocks = blocks;
  pool->holders = 1;
  return pool;
}

Pool *pool_hold(Pool *pool) {
  atomic_fetch_add(&pool->holders, 1);
  return pool;
}

void pool_drop(Pool *pool) {
  if (atomic_fetch_sub(&pool->holders, 1) != 1) return;
  uv_mutex_destroy(&pool->lock);
  free(pool->memory);
  free(pool->state);
  free(pool->free);
  free(pool);
}

uint8_t *pool_memory(const Pool *pool, uint32_t block) { return pool->memory[block]; }

uint32_t pool_free_blocks(Pool *pool) {
  uv_mutex_lock(&pool->lock);
  uint32_t blocks = pool->free_blocks;
  uv_mutex_unlock(&pool->lock);
  return blocks;
}

int64_t pool_take(Pool *pool, PoolWaiter *waiter) {
  int64_t block = -1;
  uv_mutex_lock(&pool->lock);
  if (pool->free_blocks > 0) {
    block = pool->free[--pool->free_blocks];
    pool->state[block] = WITH_SESSION;
  } else if (!waiter->waiting) {
    waiter->waiting = true;
    waiter->next = pool->waiters;
    pool->waiters = waiter;
  }
  uv_mutex_unlock(&pool->lock);
  return block;
}

void pool_hand_over(Pool *pool, uint32_t block) {
  uv_mutex_lock(&pool->lock);
  pool->state[block] = WITH_JAVASCRIPT;
  uv_mutex_unlock(&pool->lock);
}

bool pool_release(Pool *pool, uint32_t block) {
  if (block >= pool->blocks) return false;
  uv_mutex_lock(&pool->lock);
  bool held = pool->state[block] == WITH_JAVASCRIPT;
  if (held) {
    pool->state[block] = FREE;
    pool->free[pool->free_blocks++] = block;
    // All of them: one that has ended meanwhile would keep the block from the others.
    for (PoolWaiter *waiter = pool->waiters; waiter; waiter = waiter->next) {
      waiter->waiting = false;
      wake_call(waiter->wake);
    }
    pool->waiters = NULL;
  }
  uv_mutex_unlock(&pool->lock);
  return held;
}

void pool_leave(Pool *pool, PoolWaiter *waiter) {
  uv_mutex_lock(&pool->lock);
  for (PoolWaiter **at = &pool->waiters; *at; at = &(*at)->next) {
    if (*at == waiter) {
      *at = waiter->next;
      break;
    }
  }
  waiter->waiting = false;
  uv_mutex_unlock(&pool->lock);
}
