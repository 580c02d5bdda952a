/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fork in a program whose other threads are inside VFIO: the child has their locks as they were, and must not hang on
 * one. A child allocates, closes what it inherited, opens the container anew and ends; the parent goes on undisturbed.
 *
 * usage: [FORKS=n] forks BDF
 */
#include "client.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

#define THREADS 3
static struct client c;
static atomic_int stop;
static atomic_ulong rounds;

static void *busy(void *argument) {
  const uint64_t iova = 0x1000000 + (uintptr_t)argument * 0x100000;
  uint8_t *memory = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  while (!stop) {
    CHECK(map_dma(&c, memory, iova, 4 * PAGE) == 0);
    if (argument == NULL) {
      edu_transfer(&c, iova, EDU_BUFFER, PAGE, 0);
    } else {
      CHECK(read32(&c, EDU_ID) == 0x010000ed);
      void *bar = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, c.device, (off_t)c.bar_offset);
      CHECK(bar != MAP_FAILED && munmap(bar, PAGE) == 0);
      const int copy = dup(c.device);
      CHECK(copy >= 0 && close(copy) == 0);
    }
    CHECK(unmap_dma(&c, iova, 4 * PAGE) == 0);
    rounds++;
  }
  return NULL;
}

static void child(void) {
  alarm(20); /* a hang ends it */
  void *block = malloc(300000);
  CHECK(block != NULL);
  free(block);
  void *memory = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED && munmap(memory, PAGE) == 0);
  struct vfio_device_info info = {.argsz = sizeof info};
  (void)ioctl(c.device, VFIO_DEVICE_GET_INFO, &info);
  CHECK(close(c.device) == 0 && close(c.group) == 0 && close(c.container) == 0);
  const int container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
  CHECK(container >= 0);
  CHECK(ioctl(container, VFIO_GET_API_VERSION) == VFIO_API_VERSION);
  CHECK(close(container) == 0);
  _exit(0);
}

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  const unsigned long forks = number_from("FORKS", 150);
  c = open_client(argv[1]);
  pthread_t threads[THREADS];
  for (uintptr_t i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, busy, (void *)i) == 0);
  for (unsigned long i = 0; i < forks; i++) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) child();
    int status = 0;
    CHECK(waitpid(pid, &status, 0) == pid);
    if (status != 0) fprintf(stderr, "forks: child %lu ended with status %#x\n", i, (unsigned)status);
    CHECK(status == 0);
  }
  stop = 1;
  for (unsigned i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  printf("forks: %lu children ended, %lu rounds beside them\n", forks, (unsigned long)rounds);
  return 0;
}
