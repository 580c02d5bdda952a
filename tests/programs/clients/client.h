/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the client programs share: a device opened through VFIO as one does it for real hardware, and the edu device's
 * copies. Nothing here knows softiommu.
 */
#ifndef CLIENT_H
#define CLIENT_H

#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096u

enum edu_register {
  EDU_ID = 0x00,
  EDU_LIVENESS = 0x04,
  EDU_DMA_SOURCE = 0x80,
  EDU_DMA_TARGET = 0x88,
  EDU_DMA_COUNT = 0x90,
  EDU_DMA_COMMAND = 0x98,
};
enum {
  EDU_DMA_START = 1,
  EDU_DMA_TO_MEMORY = 2,
  EDU_BUFFER = 0x40000,
};

struct client {
  int container, group, device;
  volatile uint8_t* bar;
  uint64_t bar_offset, bar_size, config_offset;
};

static inline void check_at(int ok, const char* what, const char* file, int line) {
  if (ok) return;
  fprintf(stderr, "%s:%d: %s (errno: %s)\n", file, line, what, strerror(errno));
  const char* tell = getenv("TELL_FAILURE"); /* a descriptor of a pipe */
  if (tell != NULL && write(atoi(tell), "F", 1) != 1) perror("write");
  _exit(1);
}
#define CHECK(condition) check_at((condition) != 0, #condition, __FILE__, __LINE__)

/* How a child of ours ended. */
static inline int status_of(pid_t pid) {
  int status = -1;
  CHECK(waitpid(pid, &status, 0) == pid);
  return status;
}

/* The call fails, and with this errno. */
#define CHECK_FAILS(call, expected) \
  do {                              \
    errno = 0;                      \
    CHECK((long)(call) == -1);      \
    CHECK(errno == (expected));     \
  } while (0)

static inline double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static inline unsigned long number_from(const char* variable, unsigned long fallback) {
  const char* text = getenv(variable);
  return text == NULL ? fallback : strtoul(text, NULL, 0);
}

static inline uint32_t read32(const struct client* c, unsigned offset) {
  return *(volatile uint32_t*)(c->bar + offset);
}
static inline void write32(const struct client* c, unsigned offset, uint32_t value) {
  *(volatile uint32_t*)(c->bar + offset) = value;
}
static inline uint64_t read64(const struct client* c, unsigned offset) {
  return *(volatile uint64_t*)(c->bar + offset);
}
static inline void write64(const struct client* c, unsigned offset, uint64_t value) {
  *(volatile uint64_t*)(c->bar + offset) = value;
}

/* Switches memory decode and bus mastering of the device. */
static inline void set_command(const struct client* c, uint16_t command) {
  CHECK(pwrite(c->device, &command, 2, (off_t)c->config_offset + PCI_COMMAND) == 2);
}

static inline struct client open_client(const char* bdf) {
  struct client c;
  char path[128], link[256];
  snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/iommu_group", bdf);
  ssize_t length = readlink(path, link, sizeof link - 1);
  CHECK(length > 0);
  link[length] = '\0';
  snprintf(path, sizeof path, "/dev/vfio/%s", strrchr(link, '/') + 1);
  CHECK((c.container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC)) >= 0);
  CHECK((c.group = open(path, O_RDWR | O_CLOEXEC)) >= 0);
  CHECK(ioctl(c.group, VFIO_GROUP_SET_CONTAINER, &c.container) == 0);
  CHECK(ioctl(c.container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) == 0);
  CHECK((c.device = ioctl(c.group, VFIO_GROUP_GET_DEVICE_FD, bdf)) >= 0);
  struct vfio_region_info config = {.argsz = sizeof config, .index = VFIO_PCI_CONFIG_REGION_INDEX};
  CHECK(ioctl(c.device, VFIO_DEVICE_GET_REGION_INFO, &config) == 0);
  c.config_offset = config.offset;
  struct vfio_region_info bar = {.argsz = sizeof bar, .index = VFIO_PCI_BAR0_REGION_INDEX};
  CHECK(ioctl(c.device, VFIO_DEVICE_GET_REGION_INFO, &bar) == 0);
  c.bar_offset = bar.offset;
  c.bar_size = bar.size;
  set_command(&c, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
  c.bar = mmap(NULL, bar.size, PROT_READ | PROT_WRITE, MAP_SHARED, c.device, (off_t)bar.offset);
  CHECK(c.bar != MAP_FAILED);
  return c;
}

static inline int map_dma(const struct client* c, const void* memory, uint64_t iova, uint64_t bytes) {
  struct vfio_iommu_type1_dma_map map = {.argsz = sizeof map,
                                         .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
                                         .vaddr = (uintptr_t)memory,
                                         .iova = iova,
                                         .size = bytes};
  return ioctl(c->container, VFIO_IOMMU_MAP_DMA, &map);
}
static inline int unmap_dma(const struct client* c, uint64_t iova, uint64_t bytes) {
  struct vfio_iommu_type1_dma_unmap unmap = {.argsz = sizeof unmap, .iova = iova, .size = bytes};
  return ioctl(c->container, VFIO_IOMMU_UNMAP_DMA, &unmap);
}

/* An eventfd that the device's first interrupt of this kind signals. */
static inline int interrupt_event(const struct client* c, uint32_t index) {
  const int event = eventfd(0, EFD_CLOEXEC);
  CHECK(event >= 0);
  _Alignas(struct vfio_irq_set) uint8_t request[sizeof(struct vfio_irq_set) + sizeof event];
  const struct vfio_irq_set head = {.argsz = sizeof request,
                                    .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
                                    .index = index,
                                    .count = 1};
  memcpy(request, &head, sizeof head);
  memcpy(request + sizeof head, &event, sizeof event);
  CHECK(ioctl(c->device, VFIO_DEVICE_SET_IRQS, request) == 0);
  return event;
}

/* One transfer of the edu device; returns when it has ended. */
static inline void edu_transfer(const struct client* c, uint64_t source, uint64_t target, uint64_t bytes,
                                int to_memory) {
  write64(c, EDU_DMA_SOURCE, source);
  write64(c, EDU_DMA_TARGET, target);
  write64(c, EDU_DMA_COUNT, bytes);
  write64(c, EDU_DMA_COMMAND, EDU_DMA_START | (to_memory ? EDU_DMA_TO_MEMORY : 0));
  while ((read64(c, EDU_DMA_COMMAND) & EDU_DMA_START) != 0) usleep(20);
}

#endif
