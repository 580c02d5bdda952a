/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A signal handler that calls VFIO: a timer at 1 kHz interrupts the main thread wherever it is, and its handler makes
 * the same ioctls, config accesses, BAR accesses and faults as the main thread. Neither may hang, and neither may see
 * what the other wrote.
 *
 * usage: [SECONDS=n] alarm BDF
 */
#include "client.h"

#include <signal.h>
#include <sys/time.h>

#define MAIN_IOVA UINT64_C(0x1000000)
#define HANDLER_IOVA UINT64_C(0x2000000)
#define RUN 16u

static struct client c;
static uint8_t *memory, *handler_memory;
static volatile unsigned long handled, wrong;

static int get_info(void) {
  struct vfio_device_info info = {.argsz = sizeof info};
  return ioctl(c.device, VFIO_DEVICE_GET_INFO, &info) == 0 && info.num_regions >= VFIO_PCI_NUM_REGIONS;
}

static void on_alarm(int signal) {
  const int saved = errno;
  (void)signal;
  handled++;
  errno = 12345;
  if (!get_info() || errno != 12345) wrong++;
  if (map_dma(&c, handler_memory, HANDLER_IOVA, PAGE) != 0) wrong++;
  if (map_dma(&c, handler_memory, HANDLER_IOVA, PAGE) == 0 || errno != EEXIST) wrong++;
  if (read32(&c, EDU_ID) != 0x010000ed) wrong++;
  const uint32_t before = read32(&c, EDU_LIVENESS); /* the interrupted code's: put back */
  write32(&c, EDU_LIVENESS, 0x5a5a0000u | (uint16_t)handled);
  if (read32(&c, EDU_LIVENESS) != ~(0x5a5a0000u | (uint16_t)handled)) wrong++;
  write32(&c, EDU_LIVENESS, ~before);
  uint16_t vendor = 0;
  if (pread(c.device, &vendor, 2, (off_t)c.config_offset) != 2 || vendor != 0x1234) wrong++;
  if (unmap_dma(&c, HANDLER_IOVA, PAGE) != 0) wrong++;
  void *fresh = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (fresh == MAP_FAILED || munmap(fresh, PAGE) != 0) wrong++;
  errno = saved;
}

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  const double limit = (double)number_from("SECONDS", 10);
  c = open_client(argv[1]);
  memory = mmap(NULL, 2 * RUN * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  handler_memory = memory + RUN * PAGE;
  struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
  CHECK(sigaction(SIGALRM, &action, NULL) == 0);
  struct itimerval every = {{0, 1000}, {0, 1000}};
  CHECK(setitimer(ITIMER_REAL, &every, NULL) == 0);

  unsigned long rounds = 0;
  for (const double end = seconds() + limit; seconds() < end; rounds++) {
    errno = 0;
    CHECK(get_info());
    CHECK(map_dma(&c, memory, MAIN_IOVA, RUN * PAGE) == 0);
    write32(&c, EDU_LIVENESS, (uint32_t)rounds);
    CHECK(read32(&c, EDU_LIVENESS) == ~(uint32_t)rounds);
    CHECK(read32(&c, EDU_ID) == 0x010000ed);
    if (rounds % 64 == 0) {
      memory[rounds / 64 % PAGE] = (uint8_t)rounds;
      edu_transfer(&c, MAIN_IOVA, EDU_BUFFER, PAGE, 0);
      edu_transfer(&c, EDU_BUFFER, MAIN_IOVA + PAGE, PAGE, 1);
      CHECK(memcmp(memory, memory + PAGE, PAGE) == 0);
    }
    CHECK(unmap_dma(&c, MAIN_IOVA, RUN * PAGE) == 0);
    void *block = malloc(100 + rounds % 5000);
    CHECK(block != NULL);
    free(block);
    CHECK(errno == 0 || errno == EINTR);
  }
  every = (struct itimerval){{0, 0}, {0, 0}};
  CHECK(setitimer(ITIMER_REAL, &every, NULL) == 0);
  printf("alarm: %lu rounds, the handler ran %lu times, %lu wrong\n", rounds, handled, wrong);
  CHECK(wrong == 0);
  CHECK(handled > (unsigned long)limit * 100);
  return 0;
}
