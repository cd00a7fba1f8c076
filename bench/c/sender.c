/* Sends JUNGFRAU modules with sendmmsg; prints one line of JSON at its end.
 *
 * even:  packets are spread over the frame period: one by one at low rates, several to a call where one by one would be
 *        more calls than a sender can make.
 * burst: a frame's packets go out in one call at the beginning of its period, as detectors send them.
 *
 * With a processor to itself the sender is on time to the microsecond; without one it only
 * sleeps, and packets less than the timer's grain apart go out together.
 *
 * usage: sender even|burst PORT MODULES FRAMES RATE CPU FIRST
 *   module m is sent to port PORT + m, with moduleID m and pulse_id = framenum = FIRST, FIRST + 1, ...; RATE in frames a
 *   second of each module, 0: as fast as it goes; CPU -1: any.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { PER_FRAME = 128, HEADER = 48, DATA = 8192, LARGEST_BURST = 32, MOST_MODULES = 64 };

static const double MOST_CALLS_PER_S = 16000;

struct __attribute__((packed)) header {
  uint64_t framenum;
  uint32_t exptime, packetnum;
  double bunchid;
  uint64_t timestamp;
  uint16_t module, x, y, z;
  uint32_t debug;
  uint16_t round_robin;
  uint8_t type, version;
};

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

static const double GRAIN_S = 100e-6;

static void wait_until(double when, int exactly) {
  double left = when - now() - (exactly ? GRAIN_S : 0);
  if (left >= GRAIN_S) {
    struct timespec t = {(time_t)left, (long)((left - (time_t)left) * 1e9)};
    nanosleep(&t, NULL);
  }
  while (exactly && now() < when) {
#ifdef __x86_64__
    __builtin_ia32_pause();  // leaves the core to its other thread
#endif
  }
}

int main(int argc, char **argv) {
  if (argc != 8) {
    fprintf(stderr, "usage: sender even|burst PORT MODULES FRAMES RATE CPU FIRST\n");
    return 2;
  }
  int even = !strcmp(argv[1], "even"), port = atoi(argv[2]), modules = atoi(argv[3]), core = atoi(argv[6]);
  long frames = atol(argv[4]), first_frame = atol(argv[7]);
  double rate = atof(argv[5]);
  if (modules < 1 || modules > MOST_MODULES) return 2;
  if (core >= 0) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    sched_setaffinity(0, sizeof set, &set);
  }
  int fd = socket(AF_INET, SOCK_DGRAM, 0), sndbuf = 8 << 20;
  if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &sndbuf, sizeof sndbuf))
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof sndbuf);
  static struct sockaddr_in to[MOST_MODULES];
  static struct header head[PER_FRAME];
  static char data[PER_FRAME][DATA];
  static struct iovec part[PER_FRAME][2];
  static struct mmsghdr message[PER_FRAME];
  for (int m = 0; m < modules; m++)
    to[m] = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port + m), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  for (int p = 0; p < PER_FRAME; p++) {
    head[p].packetnum = p;
    head[p].version = 2;
    memset(data[p], p + 1, DATA);
    part[p][0] = (struct iovec){&head[p], HEADER};
    part[p][1] = (struct iovec){data[p], DATA};
    message[p].msg_hdr.msg_iov = part[p];
    message[p].msg_hdr.msg_iovlen = 2;
    message[p].msg_hdr.msg_namelen = sizeof to[0];
  }
  int burst = even ? 1 : PER_FRAME;
  while (burst < LARGEST_BURST && (rate <= 0 || rate * PER_FRAME * modules / burst > MOST_CALLS_PER_S)) burst *= 2;
  double begun = now();
  for (long f = 0; f < frames; f++) {
    for (int first = 0; first < PER_FRAME; first += burst) {
      if (rate > 0) wait_until(begun + (f + (double)first / PER_FRAME) / rate, core >= 0);
      for (int m = 0; m < modules; m++) {
        for (int p = first; p < first + burst; p++) {
          head[p].framenum = first_frame + f;
          head[p].bunchid = first_frame + f;
          head[p].module = m;
          message[p].msg_hdr.msg_name = &to[m];
        }
        for (int sent = 0; sent < burst;) {
          int n = sendmmsg(fd, message + first + sent, burst - sent, 0);
          if (n < 0 && errno != ENOBUFS && errno != EAGAIN && errno != EINTR) {
            perror("sendmmsg");
            return 1;
          }
          if (n > 0) sent += n;
        }
      }
    }
  }
  printf("{\"frames\": %ld, \"wall_s\": %.6f}\n", frames, now() - begun);
  return 0;
}
