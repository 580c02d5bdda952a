/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * System calls that are none of softiommu's business, for tools/bench: run with and without it, the difference is what
 * being interposed costs. Prints name=value lines: nanoseconds a call, medians of runs.
 */
#include "vfio_open.h"

enum { CALLS_PER_RUN = 100000 };

static int file;

static void call_ioctl(void) {
  int waiting;
  (void)ioctl(file, FIONREAD, &waiting);
}
static void call_pread(void) {
  char byte;
  (void)!pread(file, &byte, 1, 0);
}
static void call_lseek(void) { (void)lseek(file, 0, SEEK_SET); }
static void call_close(void) { (void)close(-1); }
static void call_fstat(void) {
  struct stat status;
  (void)fstat(file, &status);
}

int main(void) {
  file = open("/dev/zero", O_RDONLY | O_CLOEXEC);
  if (file < 0) die("/dev/zero");
  measure("ioctl", call_ioctl, CALLS_PER_RUN);
  measure("pread", call_pread, CALLS_PER_RUN);
  measure("lseek", call_lseek, CALLS_PER_RUN);
  measure("close", call_close, CALLS_PER_RUN);
  measure("fstat", call_fstat, CALLS_PER_RUN);
  return 0;
}
