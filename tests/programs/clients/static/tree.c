/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a supervised program must find as it would be without a supervisor: its children and their ends, job control,
 * signals, threads, exec of other programs, filters of its own; and descriptors and mappings in unusual places.
 *
 * usage: tree BDF [CASE]   with PEER naming a dynamic program that takes BDF (vfio_dma)
 */
#define _GNU_SOURCE
#include "../client.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

#define IOVA UINT64_C(0x400000)

extern char** environ;
static const char* bdf;
static char* self;

static uint8_t* fresh_memory(void) {
  uint8_t* memory = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  return memory;
}

static void close_all(const struct client* c) {
  CHECK(munmap((void*)c->bar, c->bar_size) == 0);
  CHECK(close(c->device) == 0 && close(c->group) == 0 && close(c->container) == 0);
}

/* The device copies the first page of `memory` onto the second. */
static void copy_by_device(const struct client* c, uint8_t* memory, uint8_t value) {
  memset(memory, value, PAGE);
  edu_transfer(c, IOVA, EDU_BUFFER, PAGE, 0);
  edu_transfer(c, EDU_BUFFER, IOVA + PAGE, PAGE, 1);
  for (unsigned i = 0; i < PAGE; i++) CHECK(memory[PAGE + i] == value);
}

static void ends_are_seen(void) {
  pid_t pid = fork();
  if (pid == 0) _exit(42);
  int status = status_of(pid);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 42);
  pid = fork();
  if (pid == 0) {
    signal(SIGABRT, SIG_DFL);
    abort();
  }
  status = status_of(pid);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
  CHECK_FAILS(waitpid(-1, &status, 0), ECHILD); /* no child that was not made here */
  CHECK(getppid() != 1 && getpid() == syscall(SYS_getpid));
}

static void stops_and_goes_on(void) {
  pid_t pid = fork();
  if (pid == 0) {
    for (;;) pause();
  }
  int status;
  CHECK(kill(pid, SIGSTOP) == 0);
  CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
  CHECK(kill(pid, SIGCONT) == 0);
  CHECK(waitpid(pid, &status, WCONTINUED) == pid && WIFCONTINUED(status));
  CHECK(kill(pid, SIGTERM) == 0);
  status = status_of(pid);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

static void closed_is_free_at_once(void) {
  for (int i = 0; i < 30; i++) {
    struct client c = open_client(bdf);
    uint8_t* memory = fresh_memory();
    CHECK(map_dma(&c, memory, IOVA, 2 * PAGE) == 0);
    close_all(&c);
    munmap(memory, 2 * PAGE);
  }
}

static void a_childs_end_frees(void) {
  for (int i = 0; i < 10; i++) {
    pid_t pid = fork();
    if (pid == 0) {
      open_client(bdf);
      _exit(0);
    }
    CHECK(status_of(pid) == 0);
  }
}

static void fork_gives_private_memory(void) {
  struct client c = open_client(bdf);
  uint8_t* memory = fresh_memory();
  CHECK(map_dma(&c, memory, IOVA, 2 * PAGE) == 0);
  copy_by_device(&c, memory, 0x11);
  pid_t pid = fork();
  if (pid == 0) {
    CHECK(memory[0] == 0x11 && memory[PAGE] == 0x11);
    memset(memory, 0x22, 2 * PAGE);
    CHECK((read32(&c, EDU_ID) & 0xff) == 0xed); /* the BAR is the child's, too */
    edu_transfer(&c, EDU_BUFFER, IOVA, PAGE, 1);
    CHECK(memory[0] == 0x22);
    _exit(0);
  }
  CHECK(status_of(pid) == 0);
  CHECK(memory[0] == 0x11 && memory[PAGE] == 0x11);
  CHECK(madvise(memory, 2 * PAGE, MADV_FREE) == 0);
  copy_by_device(&c, memory, 0x33);
  close_all(&c);
}

struct poller {
  const struct client* c;
  unsigned wrong;
};

static void* poll_liveness(void* argument) {
  struct poller* p = argument;
  for (int i = 0; i < 300; i++) p->wrong += (read32(p->c, EDU_ID) & 0xff) != 0xed;
  return NULL;
}

static void* write_heap(void* argument) {
  volatile uint32_t* word = argument;
  for (uint32_t i = 1; i <= 2000000; i++) *word = i;
  return NULL;
}

static void threads_access_registers(void) {
  struct client c = open_client(bdf);
  struct poller p[3];
  pthread_t thread[3];
  for (int i = 0; i < 3; i++) {
    p[i] = (struct poller){&c, 0};
    CHECK(pthread_create(&thread[i], NULL, poll_liveness, &p[i]) == 0);
  }
  for (int i = 0; i < 3; i++) CHECK(pthread_join(thread[i], NULL) == 0 && p[i].wrong == 0);
  close_all(&c);
}

static void* end_the_process(void* unused) {
  usleep(2000);
  _exit(0);
  return unused;
}

/* The first thread is in a call of which we make others when the process ends. */
static void an_end_in_the_middle_of_a_call(void) {
  for (int i = 0; i < 10; i++) {
    const pid_t pid = fork();
    if (pid != 0) {
      CHECK(status_of(pid) == 0);
      continue;
    }
    struct client c = open_client(bdf);
    uint8_t* memory = fresh_memory();
    pthread_t thread;
    CHECK(map_dma(&c, memory, IOVA, 2 * PAGE) == 0);
    CHECK(pthread_create(&thread, NULL, end_the_process, NULL) == 0);
    for (;;) madvise(memory, 2 * PAGE, MADV_DONTNEED);
  }
}

static void no_write_is_lost_while_memory_moves(void) {
  struct client c = open_client(bdf);
  pthread_t thread;
  for (int i = 0; i < 5; i++) {
    uint8_t* memory = fresh_memory();
    CHECK(pthread_create(&thread, NULL, write_heap, memory) == 0);
    usleep(500);
    CHECK(map_dma(&c, memory, IOVA, 2 * PAGE) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(*(uint32_t*)memory == 2000000);
    CHECK(unmap_dma(&c, IOVA, 2 * PAGE) == 0);
    munmap(memory, 2 * PAGE);
  }
  close_all(&c);
}

/* Memory that was a device's once, and has become a memory file for it. */
static uint8_t *moved_memory(const struct client *c) {
  uint8_t *memory = fresh_memory();
  memset(memory, 7, 2 * PAGE);
  CHECK(map_dma(c, memory, IOVA, 2 * PAGE) == 0 && unmap_dma(c, IOVA, 2 * PAGE) == 0);
  return memory;
}

static void moved_memory_is_as_private_memory(void) {
  const struct client c = open_client(bdf);
  uint8_t *memory = moved_memory(&c);
  CHECK(memory[PAGE] == 7 && madvise(memory + PAGE, PAGE, MADV_DONTNEED) == 0);
  CHECK(memory[PAGE - 1] == 7 && memory[PAGE] == 0);
  /* what lies there later is nothing of it */
  const int file = memfd_create("other", MFD_CLOEXEC);
  CHECK(file >= 0 && ftruncate(file, 2 * PAGE) == 0);
  CHECK(mmap(memory, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) == memory);
  memory[0] = 9;
  CHECK(madvise(memory, 2 * PAGE, MADV_DONTNEED) == 0 && memory[0] == 9);
  /* and it is itself elsewhere */
  memory = mremap(moved_memory(&c), 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, memory);
  CHECK(memory != MAP_FAILED && memory[0] == 7);
  const pid_t pid = fork();
  if (pid == 0) {
    memory[0] = 8;
    _exit(0);
  }
  CHECK(status_of(pid) == 0 && memory[0] == 7);
  memory = mremap(memory, 2 * PAGE, 512 * PAGE, MREMAP_MAYMOVE);
  CHECK(memory != MAP_FAILED && memory[0] == 7);
  memset(memory, 1, 512 * PAGE);
  close_all(&c);
}

static volatile sig_atomic_t alarms;
static void on_alarm(int signal) {
  (void)signal;
  alarms++;
}

static void alarms_come_through(void) {
  struct client c = open_client(bdf);
  uint8_t* memory = fresh_memory();
  struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
  CHECK(sigaction(SIGALRM, &action, NULL) == 0);
  const struct itimerval often = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
  CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
  for (int i = 0; i < 100; i++) {
    CHECK(map_dma(&c, memory, IOVA, 2 * PAGE) == 0);
    CHECK((read32(&c, EDU_ID) & 0xff) == 0xed);
    CHECK(unmap_dma(&c, IOVA, 2 * PAGE) == 0);
  }
  CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
  CHECK(alarms > 0);
  close_all(&c);
}

static int use_stack(int pages) {
  volatile char page[4096];
  page[0] = (char)pages;
  return pages > 0 ? use_stack(pages - 1) + page[0] : page[0];
}

static void a_stack_with_dma_grows(void) {
  struct client c = open_client(bdf);
  _Alignas(4096) uint8_t memory[2 * PAGE];
  CHECK(map_dma(&c, memory, IOVA, 2 * PAGE) == 0);
  copy_by_device(&c, memory, 0x66);
  (void)use_stack(1000);
  copy_by_device(&c, memory, 0x77);
  close_all(&c);
}

/* Handles get low numbers where no high ones are allowed. */
static void few_descriptors(void) {
  const struct rlimit few = {100, 100};
  CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
  struct client c = open_client(bdf);
  CHECK(c.device < 100 && (read32(&c, EDU_ID) & 0xff) == 0xed);
  close_all(&c);
}

static sigjmp_buf back;
static siginfo_t seen;
static void on_fault(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)context;
  seen = *info;
  siglongjmp(back, 1);
}

static void own_faults_are_its_own(void) {
  struct client c = open_client(bdf);
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
  CHECK(sigaction(SIGSEGV, &action, NULL) == 0 && sigaction(SIGBUS, &action, NULL) == 0);
  volatile int* nowhere = (volatile int*)8;
  if (sigsetjmp(back, 1) == 0) {
    *nowhere = 1;
    CHECK(0);
  }
  CHECK(seen.si_signo == SIGSEGV && seen.si_addr == (void*)8);
  set_command(&c, PCI_COMMAND_MASTER); /* the device does not decode its memory */
  if (sigsetjmp(back, 1) == 0) {
    (void)read32(&c, EDU_ID);
    CHECK(0);
  }
  CHECK(seen.si_signo == SIGBUS && seen.si_addr == (void*)c.bar);
  set_command(&c, PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
  CHECK((read32(&c, EDU_ID) & 0xff) == 0xed);
  close_all(&c);
}

static void vector_accesses(void) {
  struct client c = open_client(bdf);
  const uint64_t written[2] = {0x1122334455667788, 0x99aabbccddeeff00}; /* source and target of the DMA engine */
  uint64_t found[2] = {0, 0};
  uint8_t* bar = (uint8_t*)c.bar;
  __asm__ volatile("movdqu (%0), %%xmm1\n movdqu %%xmm1, 0x80(%1)" : : "r"(written), "r"(bar) : "xmm1", "memory");
  __asm__ volatile("movdqu 0x80(%1), %%xmm1\n movdqu %%xmm1, (%0)" : : "r"(found), "r"(bar) : "xmm1", "memory");
  CHECK(found[0] == written[0] && found[1] == written[1]);
  const uint32_t value = 0x0f0f0f0f;
  __asm__ volatile("movd %1, %%xmm2\n movd %%xmm2, 4(%0)" : : "r"(bar), "r"(value) : "xmm2", "memory");
  CHECK(read32(&c, EDU_LIVENESS) == ~value);
  uint32_t words[2] = {0, 0}, *to = words;
  const uint8_t* from = bar;
  unsigned long count = 2;
  __asm__ volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
  CHECK((words[0] & 0xff) == 0xed && words[1] == ~value);
  close_all(&c);
}

static void unusual_places(void) {
  struct client c = open_client(bdf);
  CHECK(dup2(c.device, 5) == 5);
  uint16_t vendor;
  CHECK(pread(5, &vendor, 2, (off_t)c.config_offset) == 2 && vendor == 0x1234);
  void* place = mmap(NULL, c.bar_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  volatile uint32_t* fixed =
      mmap(place, c.bar_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, 5, (off_t)c.bar_offset);
  CHECK(fixed == place && (fixed[0] & 0xff) == 0xed);
  CHECK(munmap(place, c.bar_size) == 0 && close(5) == 0);
  struct stat status;
  CHECK(fstat(c.device, &status) == 0 && !S_ISSOCK(status.st_mode));
  CHECK((fcntl(c.group, F_GETFL) & O_ACCMODE) == O_RDWR);
  const int again = fcntl(c.container, F_DUPFD_CLOEXEC, 0);
  CHECK(again >= 0 && ioctl(again, VFIO_GET_API_VERSION) == VFIO_API_VERSION && close(again) == 0);
  close_all(&c);
  c = open_client(bdf); /* the mapping at the fixed place did not keep it */
  close_all(&c);
}

/* A filter of its own, which forbids one call and allows the rest. */
static void own_filter(void) {
  struct client c = open_client(bdf);
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_uname, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 55),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const struct sock_fprog program = {sizeof code / sizeof code[0], code};
  CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
  char name[1024];
  CHECK_FAILS(syscall(SYS_uname, name), 55);
  uint8_t* memory = fresh_memory();
  CHECK(map_dma(&c, memory, IOVA, 2 * PAGE) == 0);
  copy_by_device(&c, memory, 0x44);
  close_all(&c);
}

/* One that allows what such a program needs and kills it for all else: nothing is done in its name. */
static void strict_filter(void) {
  static const unsigned allowed[] = {SYS_ioctl,           SYS_mmap,           SYS_munmap,  SYS_write,
                                     SYS_exit_group,      SYS_close,          SYS_pread64, SYS_pwrite64,
                                     SYS_clock_nanosleep, SYS_rt_sigprocmask, SYS_brk};
  enum { COUNT = sizeof allowed / sizeof allowed[0] };
  struct sock_filter code[COUNT + 3] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
  for (unsigned i = 0; i < COUNT; i++)
    code[i + 1] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[i], (uint8_t)(COUNT - i), 0);
  code[COUNT + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
  code[COUNT + 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  const struct sock_fprog program = {COUNT + 3, code};
  struct client c = open_client(bdf);
  CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0);
  uint8_t* memory = fresh_memory();
  CHECK(map_dma(&c, memory, IOVA, 2 * PAGE) == 0);
  copy_by_device(&c, memory, 0x55);
  CHECK(close(c.device) == 0);
  CHECK((c.device = ioctl(c.group, VFIO_GROUP_GET_DEVICE_FD, bdf)) >= 0);
  close_all(&c);
  _exit(0);
}

static void other_programs(void) {
  char* const dynamic[] = {getenv("PEER"), (char*)bdf, NULL};
  pid_t pid;
  CHECK(dynamic[0] != NULL);
  CHECK(posix_spawn(&pid, dynamic[0], NULL, NULL, dynamic, environ) == 0);
  CHECK(status_of(pid) == 0);
  char command[1024]; /* a dynamic shell that starts a static and a dynamic program */
  snprintf(command, sizeof command, "%s %s ends_are_seen >/dev/null && %s %s", self, bdf, dynamic[0], bdf);
  CHECK(system(command) == 0);
  const struct client c = open_client(bdf); /* held here: busy for others */
  snprintf(command, sizeof command, "%s %s >/dev/null 2>&1", dynamic[0], bdf);
  CHECK(system(command) != 0);
  close_all(&c);
}

static void sent_over_a_socket(void) {
  int ends[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  pid_t pid = fork();
  char byte = 'x', space[CMSG_SPACE(sizeof(int))] = {0};
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
  if (pid == 0) {
    int device;
    CHECK(recvmsg(ends[1], &message, 0) == 1 && CMSG_FIRSTHDR(&message) != NULL);
    memcpy(&device, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof device);
    struct vfio_region_info config = {.argsz = sizeof config, .index = VFIO_PCI_CONFIG_REGION_INDEX};
    CHECK(ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &config) == 0);
    uint16_t vendor;
    CHECK(pread(device, &vendor, 2, (off_t)config.offset) == 2 && vendor == 0x1234);
    _exit(0);
  }
  const struct client c = open_client(bdf);
  struct cmsghdr* head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET, head->cmsg_type = SCM_RIGHTS, head->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(head), &c.device, sizeof(int));
  CHECK(sendmsg(ends[0], &message, 0) == 1);
  CHECK(status_of(pid) == 0);
  close_all(&c);
}

static void paths_lead_into_the_view(void) {
  char path[256], link[256];
  struct stat status;
  snprintf(path, sizeof path, "/sys/bus/pci/devices/%s", bdf);
  CHECK(chdir(path) == 0 && getcwd(link, sizeof link) != NULL);
  CHECK(strncmp(link, "/sys/", 5) == 0 && strstr(link, bdf) != NULL);
  CHECK(access("vendor", R_OK) == 0 && access("/dev/vfio/no", F_OK) != 0 && errno == ENOENT);
  CHECK(stat("/dev/vfio/vfio", &status) == 0 && S_ISCHR(status.st_mode));
  const int folder = open("/sys/bus/pci/devices", O_RDONLY | O_DIRECTORY);
  CHECK(folder >= 0 && fstatat(folder, bdf, &status, 0) == 0 && S_ISDIR(status.st_mode));
  snprintf(path, sizeof path, "/proc/self/fd/%d", folder);
  const ssize_t bytes = readlink(path, link, sizeof link - 1);
  CHECK(bytes > 0);
  link[bytes] = '\0';
  CHECK(strcmp(link, "/sys/bus/pci/devices") == 0);
  CHECK(stat("/etc/hostname", &status) == 0 || errno == ENOENT);
  CHECK(chdir("/") == 0);
}

static void is_a_plain_attribute(const struct stat *status) {
  CHECK(S_ISREG(status->st_mode) && (status->st_mode & 07000) == 0 && status->st_size == 4096);
}

static void attributes_show_no_mark(void) {
  char path[256];
  struct stat status;
  struct statx more;
  snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/driver_override", bdf);
  CHECK(stat(path, &status) == 0);
  is_a_plain_attribute(&status);
  CHECK(statx(AT_FDCWD, path, 0, STATX_BASIC_STATS, &more) == 0);
  CHECK((more.stx_mode & 07000) == 0 && more.stx_size == 4096);
  const int file = open(path, O_RDONLY);
  CHECK(file >= 0 && syscall(SYS_newfstatat, file, "", &status, AT_EMPTY_PATH) == 0);
  is_a_plain_attribute(&status);
  *strrchr(path, '/') = '\0';
  CHECK(chdir(path) == 0 && stat("driver_override", &status) == 0);
  is_a_plain_attribute(&status);
  CHECK(close(file) == 0 && chdir("/") == 0);
}

static const struct {
  const char* name;
  void (*run)(void);
} cases[] = {
    {"ends_are_seen", ends_are_seen},
    {"stops_and_goes_on", stops_and_goes_on},
    {"closed_is_free_at_once", closed_is_free_at_once},
    {"a_childs_end_frees", a_childs_end_frees},
    {"fork_gives_private_memory", fork_gives_private_memory},
    {"threads_access_registers", threads_access_registers},
    {"an_end_in_the_middle_of_a_call", an_end_in_the_middle_of_a_call},
    {"no_write_is_lost_while_memory_moves", no_write_is_lost_while_memory_moves},
    {"moved_memory_is_as_private_memory", moved_memory_is_as_private_memory},
    {"alarms_come_through", alarms_come_through},
    {"a_stack_with_dma_grows", a_stack_with_dma_grows},
    {"few_descriptors", few_descriptors},
    {"own_faults_are_its_own", own_faults_are_its_own},
    {"vector_accesses", vector_accesses},
    {"unusual_places", unusual_places},
    {"own_filter", own_filter},
    {"strict_filter", strict_filter},
    {"other_programs", other_programs},
    {"sent_over_a_socket", sent_over_a_socket},
    {"paths_lead_into_the_view", paths_lead_into_the_view},
    {"attributes_show_no_mark", attributes_show_no_mark},
};

/* Each case in a process of its own. */
int main(int argc, char** argv) {
  if (argc < 2) return 2;
  self = argv[0];
  bdf = argv[1];
  int failed = 0;
  for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    if (argc == 3 && strcmp(argv[2], cases[i].name) != 0) continue;
    fflush(stdout);
    const pid_t pid = fork();
    if (pid == 0) {
      alarm(60);
      cases[i].run();
      exit(0);
    }
    const int bad = status_of(pid) != 0;
    printf("tree: %-36s %s\n", cases[i].name, bad ? "FAILED" : "ok");
    failed |= bad;
  }
  return failed;
}
