/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A program whose device is taken away while it copies: it copies until the request event says that somebody wants the
 * device back, tells what is left of it, and lets go.
 * usage: hotplug BDF removed|unplugged    prints "copying" when it has begun
 */
#include <poll.h>

#include "client.h"

#define IOVA UINT64_C(0x100000)
#define MOST_SECONDS 60

static int is_gone(const struct client* c) { return read32(c, EDU_ID) == UINT32_MAX; }

/* As edu_transfer, but a device that has gone never ends it. */
static void copy_page(const struct client* c) {
  write64(c, EDU_DMA_SOURCE, IOVA);
  write64(c, EDU_DMA_TARGET, EDU_BUFFER);
  write64(c, EDU_DMA_COUNT, PAGE);
  write64(c, EDU_DMA_COMMAND, EDU_DMA_START);
  while ((read64(c, EDU_DMA_COMMAND) & EDU_DMA_START) != 0 && !is_gone(c)) usleep(20);
}

int main(int argc, char** argv) {
  CHECK(argc == 3);
  const int unplugged = strcmp(argv[2], "unplugged") == 0;
  const struct client c = open_client(argv[1]);
  const int event = interrupt_event(&c, VFIO_PCI_REQ_IRQ_INDEX);
  uint8_t* memory = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED && map_dma(&c, memory, IOVA, PAGE) == 0);
  printf("copying\n");
  fflush(stdout);

  struct pollfd asked = {.fd = event, .events = POLLIN};
  const double until = seconds() + MOST_SECONDS;
  unsigned long copies = 0;
  while (poll(&asked, 1, 0) == 0 && seconds() < until) {
    copy_page(&c);
    copies++;
  }
  CHECK((asked.revents & POLLIN) != 0);
  CHECK(is_gone(&c) == unplugged);
  if (!unplugged) copy_page(&c); /* the device is there until we let go */
  CHECK(unmap_dma(&c, IOVA, PAGE) == 0);
  printf("asked to let go after %lu copies\n", copies);
  fflush(stdout);
  usleep(20000); /* whoever asked has to wait for us */
  CHECK(close(c.device) == 0 && close(c.group) == 0 && close(c.container) == 0);
  CHECK(munmap((void*)c.bar, c.bar_size) == 0);
  printf("let go\n");
  return 0;
}
