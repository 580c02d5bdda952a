/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A small NVMe driver in user space for tools/bench: one queue pair, random reads of 4 KiB, completions by polling.
 * Registers, commands and entries are those of the NVM Express specification 1.4 (3.1, 4.2, 4.6, 5, 6.9).
 *
 * usage: nvme_calls BDF     name=value lines: medians of runs
 *   doorbell_ns     from the doorbell of one read to its completion in memory, queue depth 1
 *   iops_1 iops_32  reads a second with 1 and 32 in flight
 */
#include "vfio_open.h"

enum {
  CC = 0x14,
  CSTS = 0x1c,
  AQA = 0x24,
  ASQ = 0x28,
  ACQ = 0x30,
  DOORBELLS = 0x1000,
  CREATE_SQ = 1,
  CREATE_CQ = 5,
  IDENTIFY = 6,
  READ = 2,
  ENTRIES = 64, /* of each queue */
  MOST_IN_FLIGHT = 32,
  READS_PER_RUN = 4096,
};
enum page { ADMIN_SQ, ADMIN_CQ, IO_SQ, IO_CQ, ANSWER, BUFFERS, PAGES = BUFFERS + MOST_IN_FLIGHT };

struct command {
  uint32_t opcode_and_id, nsid;
  uint64_t reserved, metadata, prp1, prp2;
  uint32_t dword10, dword11, dword12, dword13, dword14, dword15;
};

struct completion {
  uint32_t result, reserved;
  uint16_t sq_head, sq_id, id, phase_and_status;
};

struct queue {
  struct command* commands;
  volatile struct completion* completions;
  volatile uint32_t *tail_doorbell, *head_doorbell;
  unsigned tail, head, phase;
};

static volatile uint8_t* bar;
static uint8_t* memory; /* PAGES pages, mapped at their own addresses */

static uint64_t page_at(unsigned page) { return (uintptr_t)(memory + (size_t)page * PAGE); }
static volatile uint32_t* reg32(unsigned offset) { return (volatile uint32_t*)(bar + offset); }
static volatile uint64_t* reg64(unsigned offset) { return (volatile uint64_t*)(bar + offset); }

static struct queue queue_of(unsigned number, unsigned sq_page, unsigned cq_page) {
  return (struct queue){.commands = (void*)page_at(sq_page),
                        .completions = (void*)page_at(cq_page),
                        .tail_doorbell = reg32(DOORBELLS + number * 8),
                        .head_doorbell = reg32(DOORBELLS + number * 8 + 4),
                        .phase = 1};
}

static void put(struct queue* queue, const struct command* command) {
  queue->commands[queue->tail] = *command;
  queue->tail = (queue->tail + 1) % ENTRIES;
}

static void ring(struct queue* queue) { *queue->tail_doorbell = queue->tail; }

/* Takes the next completion and returns its command's id; the head is told by the caller. */
static unsigned wait_for_one(struct queue* queue) {
  volatile struct completion* const entry = &queue->completions[queue->head];
  uint16_t status;
  while (((status = __atomic_load_n(&entry->phase_and_status, __ATOMIC_ACQUIRE)) & 1) != queue->phase) {
  }
  if (status >> 1 != 0) {
    fprintf(stderr, "nvme_calls: a command ended with status %#x\n", status >> 1);
    exit(1);
  }
  queue->head = (queue->head + 1) % ENTRIES;
  if (queue->head == 0) queue->phase ^= 1;
  return entry->id;
}

static void run_one(struct queue* queue, const struct command* command) {
  put(queue, command);
  ring(queue);
  wait_for_one(queue);
  *queue->head_doorbell = queue->head;
}

/* Starts the controller and makes queue pair 1. */
static struct queue start(struct queue* admin) {
  *reg32(CC) = 0;
  while ((*reg32(CSTS) & 1) != 0) {
  }
  *reg32(AQA) = (ENTRIES - 1) << 16 | (ENTRIES - 1);
  *reg64(ASQ) = page_at(ADMIN_SQ);
  *reg64(ACQ) = page_at(ADMIN_CQ);
  *reg32(CC) = 4u << 20 | 6u << 16 | 1; /* entries of 16 and 64 bytes, enable */
  while ((*reg32(CSTS) & 1) == 0) {
  }
  *admin = queue_of(0, ADMIN_SQ, ADMIN_CQ);
  const uint32_t first_of_its_kind = (ENTRIES - 1) << 16 | 1;
  run_one(admin, &(struct command){
                     .opcode_and_id = CREATE_CQ, .prp1 = page_at(IO_CQ), .dword10 = first_of_its_kind, .dword11 = 1});
  run_one(
      admin,
      &(struct command){
          .opcode_and_id = CREATE_SQ, .prp1 = page_at(IO_SQ), .dword10 = first_of_its_kind, .dword11 = 1 << 16 | 1});
  return queue_of(1, IO_SQ, IO_CQ);
}

/* Namespace 1: how many pages it holds, and how many blocks a page is. */
static void identify(struct queue* admin, uint64_t* pages, uint32_t* blocks_per_page) {
  run_one(admin, &(struct command){.opcode_and_id = IDENTIFY, .nsid = 1, .prp1 = page_at(ANSWER)});
  const uint8_t* const answer = (const uint8_t*)page_at(ANSWER);
  uint64_t blocks;
  uint32_t format;
  memcpy(&blocks, answer, sizeof blocks);
  memcpy(&format, answer + 128 + 4 * (answer[26] & 0xf), sizeof format);
  *blocks_per_page = PAGE >> (format >> 16 & 0xff);
  *pages = blocks / *blocks_per_page;
}

static void put_read(struct queue* queue, unsigned id, uint64_t page, uint32_t blocks_per_page) {
  const uint64_t block = page * blocks_per_page;
  put(queue, &(struct command){.opcode_and_id = id << 16 | READ,
                               .nsid = 1,
                               .prp1 = page_at(BUFFERS + id),
                               .dword10 = (uint32_t)block,
                               .dword11 = (uint32_t)(block >> 32),
                               .dword12 = blocks_per_page - 1});
}

/* Nanoseconds of a run of random reads with `depth` in flight. */
static double run_reads(struct queue* queue, unsigned depth, uint64_t pages, uint32_t blocks_per_page) {
  uint64_t random = 88172645463325252u; /* Marsaglia's xorshift */
  unsigned sent = 0;
  const double begin = now_ns();
  for (; sent < depth; sent++) put_read(queue, sent, sent % pages, blocks_per_page);
  ring(queue);
  for (unsigned done = 0; done < READS_PER_RUN; done++) {
    const unsigned id = wait_for_one(queue);
    *queue->head_doorbell = queue->head;
    if (sent == READS_PER_RUN) continue;
    random ^= random << 13, random ^= random >> 7, random ^= random << 17;
    put_read(queue, id, random % pages, blocks_per_page);
    ring(queue);
    sent++;
  }
  return now_ns() - begin;
}

static double doorbell_to_completion(struct queue* queue, uint32_t blocks_per_page) {
  double total = 0;
  for (unsigned i = 0; i < READS_PER_RUN; i++) {
    put_read(queue, 0, i % MOST_IN_FLIGHT, blocks_per_page);
    const double begin = now_ns();
    ring(queue);
    wait_for_one(queue);
    total += now_ns() - begin;
    *queue->head_doorbell = queue->head;
  }
  return total / READS_PER_RUN;
}

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: nvme_calls BDF\n");
    return 2;
  }
  int container, device;
  open_device(argv[1], &container, &device);
  memory = mmap(NULL, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) die("mmap");
  map_memory(container, memory, page_at(0), (uint64_t)PAGES * PAGE);
  bar = map_bar0(device);

  struct queue admin, io = start(&admin);
  uint64_t pages;
  uint32_t blocks_per_page;
  identify(&admin, &pages, &blocks_per_page);
  double latency[RUNS], one[RUNS], many[RUNS];
  for (unsigned r = 0; r < RUNS; r++) {
    latency[r] = doorbell_to_completion(&io, blocks_per_page);
    one[r] = READS_PER_RUN * 1e9 / run_reads(&io, 1, pages, blocks_per_page);
    many[r] = READS_PER_RUN * 1e9 / run_reads(&io, MOST_IN_FLIGHT, pages, blocks_per_page);
  }
  print_median("doorbell_ns", latency);
  print_median("iops_1", one);
  print_median("iops_32", many);
  return 0;
}
