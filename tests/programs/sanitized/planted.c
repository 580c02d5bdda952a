/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Does DMA on several threads, with a handler of SIGSEGV of its own, then has the bug that was asked for: the sanitizer
 * that it was built with is to find that bug and nothing else.
 * usage: planted none|overflow|freed|signed|race|uninitialised|null BDF
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/wait.h>

#include "../clients/client.h"

#define IOVA UINT64_C(0x100000)

static struct client c;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static uint8_t* buffers;
static volatile int seven = 7;
static int shared;
static sigjmp_buf back;

static void* copies(void* argument) {
  const size_t number = (size_t)argument;
  uint8_t* mine = buffers + 2 * number * PAGE;
  for (unsigned round = 0; round < 20; round++) {
    memset(mine, (int)(number + round), PAGE);
    pthread_mutex_lock(&turn);
    edu_transfer(&c, IOVA + 2 * number * PAGE, EDU_BUFFER, PAGE, 0);
    edu_transfer(&c, EDU_BUFFER, IOVA + (2 * number + 1) * PAGE, PAGE, 1);
    pthread_mutex_unlock(&turn);
    CHECK(memcmp(mine, mine + PAGE, PAGE) == 0);
  }
  return NULL;
}

static void* allocates(void* argument) {
  (void)argument;
  for (unsigned round = 0; round < 1000; round++) {
    char* block = malloc(100 + round);
    CHECK(block != NULL);
    snprintf(block, 100, "%u", round);
    free(block);
  }
  return NULL;
}

static void in_threads(void* (*first)(void*), void* (*second)(void*), void* (*third)(void*)) {
  void* (*const runs[])(void*) = {first, second, third};
  pthread_t threads[3];
  for (size_t i = 0; i < 3; i++) CHECK(pthread_create(&threads[i], NULL, runs[i], (void*)i) == 0);
  for (size_t i = 0; i < 3; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}

static void on_fault(int number) {
  (void)number;
  siglongjmp(back, 1);
}

/* The program's own handler still gets the program's own faults, and BAR accesses go on beneath it. */
static void recover(void) {
  struct sigaction action = {.sa_handler = on_fault}, before;
  CHECK(sigaction(SIGSEGV, &action, &before) == 0);
  volatile uint8_t* hole = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (sigsetjmp(back, 1) == 0) {
    *hole = 1;
    CHECK(!"the fault came");
  }
  write32(&c, EDU_LIVENESS, 0x12345678);
  CHECK(read32(&c, EDU_LIVENESS) == ~0x12345678u);
  CHECK(sigaction(SIGSEGV, &before, NULL) == 0);
}

static void* increments(void* argument) {
  for (int i = 0; i < 1000; i++) ++*(volatile int*)argument;
  return NULL;
}
static void* races(void* argument) {
  (void)argument;
  return increments(&shared);
}

static void have_bug(const char* bug) {
  if (strcmp(bug, "overflow") == 0) {
    volatile char* block = malloc(8);
    block[seven + 1] = 1;
  }
  if (strcmp(bug, "freed") == 0) {
    volatile char* block = malloc(8);
    free((void*)block);
    block[0] = 1;
  }
  if (strcmp(bug, "signed") == 0) printf("%d\n", 0x7fffffff + seven);
  if (strcmp(bug, "race") == 0) in_threads(races, races, races);
  if (strcmp(bug, "uninitialised") == 0) {
    volatile char* block = malloc(8);
    if (block[3]) puts("set");
  }
  if (strcmp(bug, "null") == 0) *(volatile int*)(uintptr_t)(seven - 7) = 1;
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  c = open_client(argv[2]);
  buffers = malloc(5 * PAGE);
  CHECK(buffers != NULL);
  uint8_t* const block = buffers;
  buffers = (uint8_t*)(((uintptr_t)buffers + PAGE - 1) & ~(uintptr_t)(PAGE - 1));
  CHECK(map_dma(&c, buffers, IOVA, 4 * PAGE) == 0);
  in_threads(copies, copies, allocates);
  recover();
  CHECK(unmap_dma(&c, IOVA, 4 * PAGE) == 0);
  free(block);
  pid_t child = fork(); /* a program without a sanitizer, by way of one's own exec */
  if (child == 0) execlp("true", "true", (char*)NULL);
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  have_bug(argv[1]);
  puts("planted: ended");
  return 0;
}
