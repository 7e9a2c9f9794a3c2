// send INTERFACE COUNT SIZE [PACKETS_PER_SECOND [PORT]]: sends UDP frames to four ports from PORT (5000) on in turn, each with its number at
// byte 42, and prints how many the kernel took.
#include <arpa/inet.h>
#include <errno.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(int count_of_arguments, char **arguments) {
  if (count_of_arguments < 4) return 2;
  long count = atol(arguments[2]), size = atol(arguments[3]);
  double rate = count_of_arguments > 4 ? atof(arguments[4]) : 0;
  int first = count_of_arguments > 5 ? atoi(arguments[5]) : 5000;
  int out = socket(AF_PACKET, SOCK_RAW, 0);
  struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(arguments[1]), .sll_protocol = htons(ETH_P_IP)};
  if (out < 0 || bind(out, (struct sockaddr *)&to, sizeof to)) return perror(arguments[1]), 1;
  static const uint8_t head[] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x0f, 0xa0};
  uint8_t *frame = calloc(1, (size_t)size);
  memcpy(frame, head, sizeof head);
  uint16_t length = htons((uint16_t)(size - 14));
  memcpy(frame + 16, &length, 2);
  length = htons((uint16_t)(size - 34));
  memcpy(frame + 38, &length, 2);
  long sent = 0;
  double start = now();
  for (long i = 0; i < count; i++) {
    uint16_t port = htons((uint16_t)(first + i % 4));
    uint32_t number = htonl((uint32_t)i);
    memcpy(frame + 36, &port, 2);
    memcpy(frame + 42, &number, 4);
    while (rate > 0 && (double)i > (now() - start) * rate) usleep(500);
    while (send(out, frame, (size_t)size, 0) < 0) {
      if (errno != ENOBUFS && errno != EAGAIN) return printf("%ld\n", sent), perror("send"), 1;
      usleep(100);
    }
    sent++;
  }
  printf("%ld\n", sent);
  return 0;
}
