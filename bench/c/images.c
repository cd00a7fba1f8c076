/* Takes images over bare TCP, into slots that are faulted beforehand; prints one line of JSON at its end.
 *
 * usage: images PORT NBYTES COUNT SLOTS WARM
 *   connects to PORT of the loopback interface and receives COUNT images of NBYTES; the first WARM are not counted.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

static double cpu(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

int main(int argc, char **argv) {
  if (argc != 6) {
    fprintf(stderr, "usage: images PORT NBYTES COUNT SLOTS WARM\n");
    return 2;
  }
  size_t nbytes = strtoull(argv[2], NULL, 10);
  long count = atol(argv[3]), slots = atol(argv[4]), warm = atol(argv[5]);
  if (warm < 1 || count <= warm || slots < 1) return 2;
  char *memory = mmap(NULL, slots * nbytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    perror("mmap");
    return 1;
  }
  madvise(memory, slots * nbytes, MADV_HUGEPAGE);
  memset(memory, 1, slots * nbytes);
  struct sockaddr_in to = {
      .sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(fd, (struct sockaddr *)&to, sizeof to)) {
    perror("connect");
    return 1;
  }
  double wall_s = 0, cpu_s = 0;
  for (long n = 0; n < count; n++) {
    if (n == warm) wall_s = -now(), cpu_s = -cpu();
    char *slot = memory + n % slots * nbytes;
    for (size_t at = 0; at < nbytes;) {
      ssize_t got = recv(fd, slot + at, nbytes - at, MSG_WAITALL);
      if (got <= 0) {
        perror("recv");
        return 1;
      }
      at += got;
    }
  }
  wall_s += now(), cpu_s += cpu();
  double gb = (count - warm) * nbytes / 1e9;
  printf("{\"mb_per_s\": %.3f, \"cpu_per_gb\": %.6f, \"missed\": 0}\n", gb * 1e3 / wall_s, cpu_s / gb);
  return 0;
}
