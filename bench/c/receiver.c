/* Two receivers of JUNGFRAU packets to compare ours with; each prints one line of JSON at its end.
 *
 *   limit    recvmmsg, non-blocking, in full batches, straight into a ring of frames, and nothing else: no header is
 *            looked at. What the kernel alone costs.
 *   classic  what sf_daq_buffer's FrameUdpReceiver does: blocking recvmmsg of 64 packets and their senders' addresses with a
 *            2 ms socket timeout, then memcpy of each payload to its place in its frame's slot. A frame ends with its last
 *            packet. What else it does is left out, in its favour: it zeroes every frame first, and copies it on.
 *
 * usage: receiver limit|classic PORT SLOTS WARM PACKETS RCVBUF TICK_US CPU
 *   the clock begins after WARM packets; ends after PACKETS more, or 0.5 s after the last one; CPU -1: any.
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
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PER_FRAME = 128, HEADER = 48, DATA = 8192, LIMIT_BATCH = 128, CLASSIC_BATCH = 64 };

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

struct meta {
  uint64_t pulse_id, frame_index, daq_rec, n_recv_packets, module_id;
};

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

static double cpu(void) {
  struct rusage r;
  getrusage(RUSAGE_SELF, &r);
  return r.ru_utime.tv_sec + r.ru_stime.tv_sec + 1e-6 * (r.ru_utime.tv_usec + r.ru_stime.tv_usec);
}

static char *memory(size_t n) {
  char *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (p == MAP_FAILED) {
    perror("mmap");
    exit(1);
  }
  return p;
}

int main(int argc, char **argv) {
  if (argc != 9) {
    fprintf(stderr, "usage: receiver limit|classic PORT SLOTS WARM PACKETS RCVBUF TICK_US CPU\n");
    return 2;
  }
  int limit = !strcmp(argv[1], "limit"), slots = atoi(argv[3]), tick_us = atoi(argv[7]), core = atoi(argv[8]);
  long warm = atol(argv[4]), expected = warm + atol(argv[5]);
  if (core >= 0) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    sched_setaffinity(0, sizeof set, &set);
  }
  int fd = socket(AF_INET, SOCK_DGRAM, 0), rcvbuf = atoi(argv[6]);
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &rcvbuf, sizeof rcvbuf))
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof rcvbuf);
  struct timeval timeout = {0, 2000};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (bind(fd, (void *)&address, sizeof address)) {
    perror("bind");
    return 1;
  }
  long places = (long)slots * PER_FRAME, batch = limit ? LIMIT_BATCH : CLASSIC_BATCH, n = limit ? places : batch;
  char *ring = memory((size_t)places * DATA), *packets = memory((size_t)CLASSIC_BATCH * (HEADER + DATA));
  char *headers = memory((size_t)places * HEADER);
  struct mmsghdr *message = calloc(n, sizeof *message);
  static struct sockaddr_in from[CLASSIC_BATCH];
  struct iovec *part = calloc(2 * n, sizeof *part);
  for (long i = 0; i < n; i++) {
    message[i].msg_hdr.msg_iov = &part[2 * i];
    if (limit) {
      part[2 * i] = (struct iovec){headers + HEADER * i, HEADER};
      part[2 * i + 1] = (struct iovec){ring + DATA * i, DATA};
      message[i].msg_hdr.msg_iovlen = 2;
    } else {
      part[2 * i] = (struct iovec){packets + (HEADER + DATA) * i, HEADER + DATA};
      message[i].msg_hdr.msg_iovlen = 1;
      message[i].msg_hdr.msg_name = &from[i];
      message[i].msg_hdr.msg_namelen = sizeof from[i];
    }
  }
  struct meta *meta = calloc(slots, sizeof *meta);
  long received = 0, calls = 0, place = 0, frames = 0, slot = 0;
  uint64_t frame = 0;
  double begun = 0, last = 0, used = 0;
  printf("READY\n");
  fflush(stdout);
  while (received < expected) {
    long want = limit && places - place < batch ? places - place : batch;
    int got = recvmmsg(fd, message + (limit ? place : 0), want, limit ? MSG_DONTWAIT : 0, NULL);
    double t = now();
    calls++;
    if (got <= 0) {
      if (received && t - last > 0.5) break;
      if (limit) usleep(tick_us);
      continue;
    }
    last = t;
    received += got;
    if (!begun && received >= warm) {
      begun = t;
      used = cpu();
      warm = received;
    }
    if (limit) {
      place = (place + got) % places;
      if (got < want) usleep(tick_us);
      continue;
    }
    for (int i = 0; i < got; i++) {
      char *packet = packets + (HEADER + DATA) * i;
      struct header *h = (struct header *)packet;
      if (message[i].msg_len != HEADER + DATA || h->packetnum >= PER_FRAME) continue;
      if (h->framenum != frame) {
        frame = h->framenum;
        slot = (slot + 1) % slots;
        meta[slot] = (struct meta){(uint64_t)h->bunchid, frame, h->debug, 0, h->module};
      }
      memcpy(ring + ((size_t)slot * PER_FRAME + h->packetnum) * DATA, packet + HEADER, DATA);
      if (++meta[slot].n_recv_packets == PER_FRAME) frames++;
    }
  }
  used = cpu() - used;
  printf("{\"packets\": %ld, \"total\": %ld, \"wall_s\": %.6f, \"cpu_s\": %.6f, \"calls\": %ld, \"frames\": %ld}\n", received - warm, received, last - begun, used,
         calls, frames);
  return 0;
}
