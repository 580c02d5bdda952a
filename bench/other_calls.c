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

static void time_calls(const char* name, void (*call)(void)) {
  double runs[RUNS];
  for (unsigned r = 0; r < RUNS; r++) {
    const double begin = now_ns();
    for (unsigned i = 0; i < CALLS_PER_RUN; i++) call();
    runs[r] = (now_ns() - begin) / CALLS_PER_RUN;
  }
  print_median(name, runs);
}

int main(void) {
  file = open("/dev/zero", O_RDONLY | O_CLOEXEC);
  if (file < 0) die("/dev/zero");
  time_calls("ioctl", call_ioctl);
  time_calls("pread", call_pread);
  time_calls("lseek", call_lseek);
  time_calls("close", call_close);
  time_calls("fstat", call_fstat);
  return 0;
}
