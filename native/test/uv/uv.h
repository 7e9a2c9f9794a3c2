// The few of libuv's functions that the sessions use, over POSIX threads, so that they can run without Node.
#ifndef TEST_UV_H
#define TEST_UV_H
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

typedef pthread_mutex_t uv_mutex_t;
typedef pthread_t uv_thread_t;
#define uv_mutex_init(mutex) pthread_mutex_init(mutex, NULL)
#define uv_mutex_destroy pthread_mutex_destroy
#define uv_mutex_lock pthread_mutex_lock
#define uv_mutex_unlock pthread_mutex_unlock

struct uv_start {
  void (*function)(void *);
  void *argument;
};
static inline void *uv_started(void *data) {
  struct uv_start start = *(struct uv_start *)data;
  free(data);
  start.function(start.argument);
  return NULL;
}
static inline int uv_thread_create(uv_thread_t *thread, void (*function)(void *), void *argument) {
  struct uv_start *start = malloc(sizeof *start);
  *start = (struct uv_start){function, argument};
  return pthread_create(thread, NULL, uv_started, start);
}
static inline int uv_thread_join(uv_thread_t *thread) { return pthread_join(*thread, NULL); }
static inline uint64_t uv_hrtime(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}
#endif
