/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Descriptors, bad arguments and the life of a BAR mapping, each as on Linux.
 *
 * usage: calls BDF
 */
#define _GNU_SOURCE
#include "client.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/wait.h>

static struct client c;
static sigjmp_buf back;
static volatile int got_signal;

static void on_fault(int signal, siginfo_t *info, void *context) {
  (void)info;
  (void)context;
  got_signal = signal;
  siglongjmp(back, 1);
}

/* The signal that a read of the register causes; 0: none. */
static int signal_of_read(unsigned offset) {
  got_signal = 0;
  if (sigsetjmp(back, 1) == 0) (void)read32(&c, offset);
  return got_signal;
}
static int signal_of_write(unsigned offset) {
  got_signal = 0;
  if (sigsetjmp(back, 1) == 0) write32(&c, offset, 1);
  return got_signal;
}

static void test_memory_decode(void) {
  CHECK(signal_of_read(EDU_ID) == 0);
  set_command(&c, PCI_COMMAND_MASTER);
  CHECK(signal_of_read(EDU_ID) == SIGBUS);
  CHECK(signal_of_write(EDU_LIVENESS) == SIGBUS);
  uint32_t id;
  CHECK_FAILS(pread(c.device, &id, 4, (off_t)c.bar_offset + EDU_ID), EIO);
  set_command(&c, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
  CHECK(signal_of_read(EDU_ID) == 0);
  CHECK(pread(c.device, &id, 4, (off_t)c.bar_offset + EDU_ID) == 4 && id == 0x010000ed);
}

static void test_protection(void) {
  volatile uint8_t *whole = c.bar;
  c.bar = mmap(NULL, c.bar_size, PROT_READ, MAP_SHARED, c.device, (off_t)c.bar_offset);
  CHECK(c.bar != MAP_FAILED);
  CHECK(signal_of_read(EDU_ID) == 0);
  CHECK(signal_of_write(EDU_LIVENESS) == SIGSEGV);
  CHECK(munmap((void *)c.bar, c.bar_size) == 0);
  CHECK(signal_of_read(EDU_ID) == SIGSEGV);
  c.bar = whole;
  CHECK(signal_of_read(EDU_ID) == 0);
}

/* A fault that is the program's own reaches its handler; SIGBUS with no handler ends it. */
static uint8_t *volatile hole; /* an address without memory */

static void test_own_faults(void) {
  hole = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(hole != MAP_FAILED);
  got_signal = 0;
  if (sigsetjmp(back, 1) == 0) *hole = 1;
  CHECK(got_signal == SIGSEGV);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);
    *hole = 1;
    _exit(0);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

static void test_bad_pointers(void) {
  struct vfio_device_info info = {.argsz = 4};
  CHECK_FAILS(ioctl(c.device, VFIO_DEVICE_GET_INFO, NULL), EFAULT);
  CHECK_FAILS(ioctl(c.device, VFIO_DEVICE_GET_INFO, (void *)8), EFAULT);
  CHECK_FAILS(ioctl(c.device, VFIO_DEVICE_GET_INFO, &info), EINVAL);
  CHECK_FAILS(ioctl(c.device, VFIO_DEVICE_GET_REGION_INFO, (void *)0x7fffdead0000), EFAULT);
  CHECK_FAILS(ioctl(c.container, VFIO_IOMMU_MAP_DMA, NULL), EFAULT);
  CHECK_FAILS(ioctl(c.group, VFIO_GROUP_GET_STATUS, (void *)4), EFAULT);
  CHECK_FAILS(ioctl(c.group, VFIO_GROUP_GET_DEVICE_FD, NULL), EFAULT);
  uint8_t *closed = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK_FAILS(ioctl(c.device, VFIO_DEVICE_GET_INFO, closed), EFAULT);
  CHECK_FAILS(map_dma(&c, closed, 0x5000000, PAGE), EFAULT);
  CHECK_FAILS(pread(c.device, closed, 4, (off_t)c.config_offset), EFAULT);
  CHECK_FAILS(pwrite(c.device, closed, 4, (off_t)c.config_offset + PCI_COMMAND), EFAULT);
  CHECK(mprotect(closed, PAGE, PROT_READ) == 0);
  CHECK_FAILS(map_dma(&c, closed, 0x5000000, PAGE), EFAULT);
  CHECK(munmap(closed, PAGE) == 0);
  CHECK_FAILS(map_dma(&c, closed, 0x5000000, PAGE), EFAULT);
}

static void test_unknown_ioctls(void) {
  const unsigned long unknown = _IO(';', 100 + 99);
  CHECK_FAILS(ioctl(c.device, unknown, 0), ENOTTY);
  CHECK_FAILS(ioctl(c.group, unknown, 0), ENOTTY);
  CHECK_FAILS(ioctl(c.container, 0x5401 /* TCGETS */, 0), ENOTTY);
  CHECK_FAILS(ioctl(c.device, VFIO_GET_API_VERSION), ENOTTY);
  CHECK(isatty(c.device) == 0 && errno == ENOTTY);
}

static int alive(int device) {
  struct vfio_device_info info = {.argsz = sizeof info};
  return ioctl(device, VFIO_DEVICE_GET_INFO, &info) == 0;
}

static void test_duplicates(void) {
  const int copy = dup(c.device);
  CHECK(copy >= 0 && alive(copy));
  CHECK(fcntl(copy, F_GETFD) == 0 && fcntl(c.device, F_GETFD) == FD_CLOEXEC);
  const int high = fcntl(copy, F_DUPFD_CLOEXEC, 200);
  CHECK(high >= 200 && fcntl(high, F_GETFD) == FD_CLOEXEC && alive(high));
  CHECK(fcntl(high, F_SETFD, 0) == 0 && fcntl(high, F_GETFD) == 0);
  CHECK(close(copy) == 0 && alive(high));
  CHECK_FAILS(ioctl(copy, VFIO_DEVICE_GET_INFO, 0), EBADF);
  CHECK_FAILS(close(copy), EBADF);
  CHECK_FAILS(dup(copy), EBADF);
  CHECK_FAILS(pread(copy, &(int){0}, 4, 0), EBADF);
  CHECK(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, copy, 0) == MAP_FAILED && errno == EBADF);
  int ends[2];
  CHECK(pipe(ends) == 0);
  CHECK(dup2(high, ends[0]) == ends[0] && alive(ends[0]));
  CHECK(dup3(ends[1], ends[0], O_CLOEXEC) == ends[0] && !alive(ends[0]) && errno == ENOTTY);
  CHECK_FAILS(dup3(high, high, 0), EINVAL);
  CHECK(dup2(high, high) == high);
  close(ends[0]), close(ends[1]), close(high);
  CHECK((fcntl(c.device, F_GETFL) & O_ACCMODE) == O_RDWR);
}

/* A descriptor without FD_CLOEXEC is still open in the next program, another one is not. */
static void test_exec(const char *self) {
  const int kept = dup(c.device);
  char kept_text[16], closed_text[16];
  snprintf(kept_text, sizeof kept_text, "%d", kept);
  snprintf(closed_text, sizeof closed_text, "%d", c.device);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    execl(self, self, "after-exec", kept_text, closed_text, (char *)NULL);
    _exit(99);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  close(kept);
  CHECK(alive(c.device));
}
static int after_exec(const char *kept, const char *closed) {
  CHECK(fcntl(atoi(kept), F_GETFD) == 0);
  CHECK_FAILS(fcntl(atoi(closed), F_GETFD), EBADF);
  return 0;
}

/* The mapping keeps the device open: the registers answer, the device cannot be given out anew as a fresh one. */
static void test_close_while_mapped(void) {
  CHECK(close(c.device) == 0);
  CHECK_FAILS(close(c.device), EBADF);
  CHECK(signal_of_read(EDU_ID) == 0);
  write32(&c, EDU_LIVENESS, 0x1234);
  CHECK(read32(&c, EDU_LIVENESS) == ~0x1234u);
  CHECK(munmap((void *)(c.bar + PAGE), c.bar_size - PAGE) == 0);
  CHECK(read32(&c, EDU_ID) == 0x010000ed);
  CHECK(munmap((void *)c.bar, PAGE) == 0);
  CHECK(signal_of_read(EDU_ID) == SIGSEGV);
}

int main(int argc, char **argv) {
  if (argc == 4) return after_exec(argv[2], argv[3]);
  if (argc != 2) return 2;
  c = open_client(argv[1]);
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
  CHECK(sigaction(SIGBUS, &action, NULL) == 0 && sigaction(SIGSEGV, &action, NULL) == 0);
  test_memory_decode();
  test_protection();
  test_own_faults();
  test_bad_pointers();
  test_unknown_ioctls();
  test_duplicates();
  test_exec(argv[0]);
  test_close_while_mapped();
  puts("calls: ok");
  return 0;
}
