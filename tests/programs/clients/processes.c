/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Descriptors of a device in several processes, as on Linux: inherited by fork, kept over exec, sent over a socket;
 * what they stand for lives until the last of them is closed. Each case opens the device in a process of its own and
 * proves with the edu device's copies that DMA reaches the right pages.
 *
 * usage: processes BDF [CASE]
 */
#define _GNU_SOURCE
#include "client.h"

#include <signal.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define OLD_IOVA 0x1000000u
#define NEW_IOVA 0x2000000u
#define SECONDS 30

extern char** environ;
static const char* bdf;
static char* self;

static uint8_t* pages(int sharing) {
  uint8_t* memory = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, sharing | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  return memory;
}

/* Opened, with four private pages at OLD_IOVA that hold `value`. */
static struct client open_with(uint8_t value) {
  struct client c = open_client(bdf);
  uint8_t* memory = pages(MAP_PRIVATE);
  memset(memory, value, 4 * PAGE);
  CHECK(map_dma(&c, memory, OLD_IOVA, 4 * PAGE) == 0);
  return c;
}

/* Does the device see `value` in the memory that whoever opened it mapped at OLD_IOVA? Seen through memory of ours. */
static int device_works(const struct client* c, uint8_t value, uint64_t iova) {
  uint8_t* window = pages(MAP_PRIVATE);
  window[PAGE] = 77; /* beside what the device writes */
  CHECK(map_dma(c, window, iova, PAGE) == 0);
  edu_transfer(c, OLD_IOVA + PAGE, EDU_BUFFER, PAGE, 0);
  edu_transfer(c, EDU_BUFFER, iova, PAGE, 1);
  int right = window[PAGE] == 77;
  for (unsigned i = 0; i < PAGE; i++) right = right && window[i] == value;
  CHECK(unmap_dma(c, iova, PAGE) == 0);
  munmap(window, 4 * PAGE);
  return right;
}

static void close_client(const struct client* c) {
  CHECK(close(c->device) == 0 && close(c->group) == 0 && close(c->container) == 0);
}

static pid_t start(void) {
  fflush(stdout);
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) alarm(SECONDS);
  return pid;
}
static void say(int fd, char what) { CHECK(write(fd, &what, 1) == 1); }
static char hear(int fd) {
  char what = 0;
  while (read(fd, &what, 1) < 0 && errno == EINTR) continue;
  return what;
}
static void until_orphan(pid_t parent) {
  while (getppid() == parent) usleep(1000);
}

/* Can another process have the group? The release after a process's end is not immediate. */
static int can_open(void) {
  for (int i = 0; i < 500; i++) {
    pid_t pid = start();
    if (pid == 0) {
      char path[128], link[256];
      snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/iommu_group", bdf);
      ssize_t length = readlink(path, link, sizeof link - 1);
      CHECK(length > 0);
      link[length] = '\0';
      snprintf(path, sizeof path, "/dev/vfio/%s", strrchr(link, '/') + 1);
      _exit(open(path, O_RDWR) >= 0 ? 0 : errno == EBUSY ? 1 : 2);
    }
    const int status = status_of(pid);
    CHECK(status == 0 || status == 1 << 8);
    if (status == 0) return 1;
    usleep(2000);
    if (i > 3 && getenv("BUSY_EXPECTED") != NULL) return 0;
  }
  return 0;
}

/* ---- cases: each runs in a process of its own ----------------------------------------------------------------- */

static void both_use_it(void) {
  struct client c = open_with(0x21);
  pid_t child = start();
  if (child == 0) {
    for (int i = 0; i < 20; i++) CHECK(read32(&c, EDU_ID) == 0x010000ed);
    CHECK(device_works(&c, 0x21, NEW_IOVA));
    _exit(0);
  }
  CHECK(status_of(child) == 0);
  CHECK(device_works(&c, 0x21, NEW_IOVA));
}

static void childs_memory_stays_pinned(void) {
  struct client c = open_with(0x22);
  pid_t child = start();
  if (child == 0) {
    uint8_t* memory = pages(MAP_PRIVATE);
    memset(memory, 0x23, 4 * PAGE);
    CHECK(unmap_dma(&c, OLD_IOVA, 4 * PAGE) == 0);
    CHECK(map_dma(&c, memory, OLD_IOVA, 4 * PAGE) == 0);
    munmap(memory, 4 * PAGE);
    _exit(0);
  }
  CHECK(status_of(child) == 0);
  CHECK(device_works(&c, 0x23, NEW_IOVA));
}

static void shared_memory_is_shared(void) {
  struct client c = open_with(0x24);
  uint8_t* window = pages(MAP_SHARED);
  pid_t child = start();
  if (child == 0) {
    CHECK(map_dma(&c, window, NEW_IOVA, 4 * PAGE) == 0);
    edu_transfer(&c, OLD_IOVA, EDU_BUFFER, PAGE, 0);
    edu_transfer(&c, EDU_BUFFER, NEW_IOVA + PAGE, PAGE, 1);
    _exit(0);
  }
  CHECK(status_of(child) == 0);
  CHECK(window[PAGE] == 0x24 && window[2 * PAGE - 1] == 0x24 && window[2 * PAGE] == 0);
}

static void child_outlives_parent(void) {
  struct client c = open_with(0x25);
  const pid_t parent = getpid();
  if (start() == 0) {
    until_orphan(parent);
    CHECK(read32(&c, EDU_ID) == 0x010000ed);
    CHECK(device_works(&c, 0x25, NEW_IOVA));
    setenv("BUSY_EXPECTED", "1", 1);
    CHECK(!can_open());
    unsetenv("BUSY_EXPECTED");
    close_client(&c);
    munmap((void*)c.bar, c.bar_size);
    CHECK(can_open());
    _exit(0);
  }
  exit(0);
}

static void daemon_with_dma_going_on(void) {
  struct client c = open_with(0x26);
  write64(&c, EDU_DMA_SOURCE, OLD_IOVA + PAGE);
  write64(&c, EDU_DMA_TARGET, EDU_BUFFER);
  write64(&c, EDU_DMA_COUNT, PAGE);
  write64(&c, EDU_DMA_COMMAND, EDU_DMA_START);
  CHECK(daemon(1, 1) == 0);
  alarm(SECONDS);
  while ((read64(&c, EDU_DMA_COMMAND) & EDU_DMA_START) != 0) usleep(20);
  CHECK(device_works(&c, 0x26, NEW_IOVA));
}

static void keep_over_exec(struct client* c) {
  const int all[] = {c->container, c->group, c->device};
  for (int i = 0; i < 3; i++) CHECK(fcntl(all[i], F_SETFD, 0) == 0);
}
static char** continue_arguments(const struct client* c, unsigned value) {
  static char text[6][32];
  static char* arguments[10];
  const uint64_t numbers[] = {(uint64_t)c->container, (uint64_t)c->group, (uint64_t)c->device,
                              c->bar_offset,          c->bar_size,        value};
  arguments[0] = self;
  arguments[1] = (char*)bdf;
  arguments[2] = "--continue";
  for (int i = 0; i < 6; i++) {
    snprintf(text[i], sizeof text[i], "%llu", (unsigned long long)numbers[i]);
    arguments[3 + i] = text[i];
  }
  return arguments;
}

static void exec_in_place(void) {
  struct client c = open_with(0x27);
  keep_over_exec(&c);
  CHECK_FAILS(execl("/nonexistent/program", "program", NULL), ENOENT);
  CHECK(device_works(&c, 0x27, NEW_IOVA));
  execv("/proc/self/exe", continue_arguments(&c, 0x27));
  CHECK(0);
}

static void spawned_child(void) {
  struct client c = open_with(0x28);
  keep_over_exec(&c);
  pid_t pid;
  CHECK(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, continue_arguments(&c, 0x28), environ) == 0);
  CHECK(status_of(pid) == 0);
}

/* Our memory until it ends: what it does to its descriptors is done to its own. */
static void child_of_vfork(void) {
  volatile int seen = 0;
  pid_t child = vfork();
  CHECK(child >= 0);
  if (child == 0) {
    seen = 1;
    _exit(0);
  }
  CHECK(status_of(child) == 0 && seen == 1);
  struct client c = open_with(0x2a);
  child = vfork();
  CHECK(child >= 0);
  if (child == 0) {
    close(c.device);
    close(c.group);
    dup2(c.container, 1);
    _exit(close(c.container));
  }
  CHECK(status_of(child) == 0);
  CHECK(device_works(&c, 0x2a, NEW_IOVA));
}

/* POSIX lets it do nothing of the kind; where it is refused, its parent has lost nothing. */
static void child_of_vfork_opens(void) {
  pid_t child = vfork();
  CHECK(child >= 0);
  if (child == 0) _exit(open("/dev/vfio/vfio", O_RDWR) >= 0 || errno == ENODEV ? 0 : 1);
  CHECK(status_of(child) == 0);
  struct client c = open_with(0x2b);
  CHECK(device_works(&c, 0x2b, NEW_IOVA));
}

static void exec_closes_the_rest(void) {
  pid_t child = start();
  if (child == 0) {
    struct client c = open_with(0x29);
    CHECK(c.device >= 0);
    execl("/proc/self/exe", self, bdf, "--can-open", NULL);
  }
  CHECK(status_of(child) == 0);
}

/* The program after exec: old descriptors, new memory, and a device that still has the old pages. */
static void go_on(char** numbers) {
  alarm(SECONDS);
  struct client c = {.container = atoi(numbers[0]), .group = atoi(numbers[1]), .device = atoi(numbers[2])};
  c.bar_offset = strtoull(numbers[3], NULL, 0);
  c.bar_size = strtoull(numbers[4], NULL, 0);
  c.bar = mmap(NULL, c.bar_size, PROT_READ | PROT_WRITE, MAP_SHARED, c.device, (off_t)c.bar_offset);
  CHECK(c.bar != MAP_FAILED);
  CHECK(ioctl(c.container, VFIO_GET_API_VERSION) == VFIO_API_VERSION);
  CHECK(read32(&c, EDU_ID) == 0x010000ed);
  CHECK(device_works(&c, (uint8_t)atoi(numbers[5]), NEW_IOVA));
}

union room {
  struct cmsghdr header;
  char bytes[CMSG_SPACE(3 * sizeof(int))];
};
static struct msghdr message(union room* room, struct iovec* part) {
  struct msghdr made = {.msg_iov = part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof *room};
  return made;
}

static void sent_over_a_socket(void) {
  int ends[2];
  uint8_t value = 0;
  union room room = {0};
  struct iovec part = {&value, 1};
  struct msghdr sent = message(&room, &part);
  int descriptors[3];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  const pid_t receiver = start();
  if (receiver != 0) { /* the one that opens the device, and ends */
    struct client c = open_with(0x2a);
    const int all[3] = {c.container, c.group, c.device};
    struct cmsghdr* control = CMSG_FIRSTHDR(&sent);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(sizeof all);
    memcpy(CMSG_DATA(control), all, sizeof all);
    CHECK(sendmsg(ends[0], &sent, 0) == 1);
    CHECK(hear(ends[0]) == 'y');
    return;
  }
  const pid_t parent = getppid();
  CHECK(recvmsg(ends[1], &sent, MSG_CMSG_CLOEXEC) == 1);
  memcpy(descriptors, CMSG_DATA(CMSG_FIRSTHDR(&sent)), sizeof descriptors);
  struct client c = {.container = descriptors[0], .group = descriptors[1], .device = descriptors[2]};
  const int again = ioctl(c.group, VFIO_GROUP_GET_DEVICE_FD, bdf);
  CHECK(again >= 0 && again != c.device && (fcntl(again, F_GETFD) & FD_CLOEXEC) != 0);
  struct vfio_region_info bar = {.argsz = sizeof bar, .index = VFIO_PCI_BAR0_REGION_INDEX};
  CHECK(ioctl(again, VFIO_DEVICE_GET_REGION_INFO, &bar) == 0);
  c.bar = mmap(NULL, bar.size, PROT_READ | PROT_WRITE, MAP_SHARED, again, (off_t)bar.offset);
  CHECK(c.bar != MAP_FAILED);
  CHECK(device_works(&c, 0x2a, NEW_IOVA));
  say(ends[1], 'y');
  until_orphan(parent);
  CHECK(device_works(&c, 0x2a, NEW_IOVA));
  CHECK(dup2(ends[1], again) == again);
  CHECK(device_works(&c, 0x2a, NEW_IOVA));
  _exit(0);
}

static void killed_owner(void) {
  int up[2];
  CHECK(pipe(up) == 0);
  pid_t owner = start();
  if (owner == 0) {
    struct client c = open_with(0x2b);
    if (start() == 0) {
      const pid_t parent = getppid();
      CHECK(device_works(&c, 0x2b, NEW_IOVA));
      say(up[1], 'y');
      until_orphan(parent);
      if (getenv("SUPERVISED") != NULL) { /* as on Linux: the machine is another process's */
        CHECK(device_works(&c, 0x2b, NEW_IOVA));
      } else {
        struct vfio_device_info info = {.argsz = sizeof info};
        CHECK_FAILS(ioctl(c.device, VFIO_DEVICE_GET_INFO, &info), ENODEV);
        CHECK_FAILS(ioctl(c.container, VFIO_GET_API_VERSION), ENODEV);
        CHECK(read32(&c, EDU_ID) == 0xffffffff);
      }
      say(up[1], 'z');
      _exit(0);
    }
    pause();
  }
  close(up[1]);
  CHECK(hear(up[0]) == 'y');
  CHECK(kill(owner, SIGKILL) == 0);
  status_of(owner);
  CHECK(hear(up[0]) == 'z');
}

static void released_when_all_have_closed(void) {
  int go[2];
  CHECK(pipe(go) == 0);
  struct client c = open_with(0x2c);
  pid_t child = start();
  if (child == 0) {
    hear(go[0]);
    CHECK(close_range((unsigned)c.container, (unsigned)c.device, 0) == 0);
    munmap((void*)c.bar, c.bar_size);
    pause();
  }
  munmap((void*)c.bar, c.bar_size);
  close_client(&c);
  setenv("BUSY_EXPECTED", "1", 1);
  CHECK(!can_open());
  unsetenv("BUSY_EXPECTED");
  say(go[1], 'g');
  CHECK(can_open());
  kill(child, SIGKILL);
  status_of(child);
}

static void interrupts_reach_the_child(void) {
  struct client c = open_with(0x2d);
  pid_t child = start();
  if (child == 0) {
    const int event = interrupt_event(&c, VFIO_PCI_MSI_IRQ_INDEX);
    write32(&c, 0x60, 1); /* raise */
    uint64_t count = 0;
    CHECK(read(event, &count, sizeof count) == sizeof count && count == 1);
    _exit(0);
  }
  CHECK(status_of(child) == 0);
}

/* An iommufd: what linux/iommufd.h says, which is newer than distributions. */
struct ioas_alloc {
  uint32_t size, flags, id;
};
struct ioas_map {
  uint32_t size, flags, id, reserved;
  uint64_t user, length, iova;
};
struct device_bind {
  uint32_t argsz, flags;
  int32_t iommufd;
  uint32_t id;
};
struct device_attach {
  uint32_t argsz, flags, id;
};
#define IOAS_ALLOC _IO(';', 0x81)
#define IOAS_MAP _IO(';', 0x85)
#define DEVICE_BIND _IO(';', 118)
#define DEVICE_ATTACH _IO(';', 119)
#define MAP_ALL 7u /* at this IOVA, readable, writable */

struct modern {
  struct client c;
  int iommufd;
  uint32_t ioas;
};
static struct modern open_modern(void) {
  struct modern m = {.c = {.container = -1, .group = -1}};
  char path[128], name[64] = "";
  for (unsigned i = 0; i < 64 && name[0] == '\0'; i++) {
    snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/vfio-dev/vfio%u", bdf, i);
    if (access(path, F_OK) == 0) snprintf(name, sizeof name, "/dev/vfio/devices/vfio%u", i);
  }
  struct ioas_alloc made = {.size = sizeof made};
  CHECK((m.iommufd = open("/dev/iommu", O_RDWR)) >= 0);
  CHECK(ioctl(m.iommufd, IOAS_ALLOC, &made) == 0);
  m.ioas = made.id;
  CHECK((m.c.device = open(name, O_RDWR)) >= 0);
  struct device_bind bind = {.argsz = sizeof bind, .iommufd = m.iommufd};
  CHECK(ioctl(m.c.device, DEVICE_BIND, &bind) == 0);
  return m;
}
static int map_modern(const struct modern* m, void* memory, uint64_t iova) {
  struct ioas_map map = {
      .size = sizeof map, .flags = MAP_ALL, .id = m->ioas, .user = (uintptr_t)memory, .length = 4 * PAGE, .iova = iova};
  return ioctl(m->iommufd, IOAS_MAP, &map);
}
static int attach_modern(const struct modern* m) {
  struct device_attach attach = {.argsz = sizeof attach, .id = m->ioas};
  return ioctl(m->c.device, DEVICE_ATTACH, &attach);
}
static void start_modern(struct modern* m) {
  struct vfio_region_info config = {.argsz = sizeof config, .index = VFIO_PCI_CONFIG_REGION_INDEX};
  struct vfio_region_info bar = {.argsz = sizeof bar, .index = VFIO_PCI_BAR0_REGION_INDEX};
  CHECK(ioctl(m->c.device, VFIO_DEVICE_GET_REGION_INFO, &config) == 0);
  CHECK(ioctl(m->c.device, VFIO_DEVICE_GET_REGION_INFO, &bar) == 0);
  m->c.config_offset = config.offset;
  set_command(&m->c, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
  m->c.bar = mmap(NULL, bar.size, PROT_READ | PROT_WRITE, MAP_SHARED, m->c.device, (off_t)bar.offset);
  CHECK(m->c.bar != MAP_FAILED);
}

/* Memory that a child mapped is pinned when a device is attached: that of the living child, with what it holds then. */
static void attach_pins_a_childs_memory(int sharing, uint8_t value) {
  int up[2], down[2];
  CHECK(pipe(up) == 0 && pipe(down) == 0);
  struct modern m = open_modern();
  uint8_t *inherited = pages(MAP_SHARED), *window = pages(MAP_PRIVATE);
  pid_t child = start();
  if (child == 0) {
    close(down[1]);
    uint8_t* memory = sharing == MAP_SHARED ? inherited : pages(sharing);
    CHECK(map_modern(&m, memory, OLD_IOVA) == 0);
    memset(memory, value, 4 * PAGE);
    say(up[1], 'm');
    hear(down[0]);
    _exit(0);
  }
  CHECK(hear(up[0]) == 'm');
  CHECK(attach_modern(&m) == 0);
  say(down[1], 'e');
  CHECK(status_of(child) == 0);
  start_modern(&m);
  CHECK(map_modern(&m, window, NEW_IOVA) == 0);
  edu_transfer(&m.c, OLD_IOVA + PAGE, EDU_BUFFER, PAGE, 0);
  edu_transfer(&m.c, EDU_BUFFER, NEW_IOVA, PAGE, 1);
  CHECK(window[0] == value && window[PAGE - 1] == value && window[PAGE] == 0);
}
static void attach_pins_shared_memory(void) { attach_pins_a_childs_memory(MAP_SHARED, 0x31); }
static void attach_pins_private_memory(void) { attach_pins_a_childs_memory(MAP_PRIVATE, 0x32); }

static void memory_of_an_ended_child_cannot_be_pinned(void) {
  struct modern m = open_modern();
  uint8_t* memory = pages(MAP_SHARED);
  pid_t child = start();
  if (child == 0) _exit(map_modern(&m, memory, OLD_IOVA) == 0 ? 0 : 1);
  CHECK(status_of(child) == 0);
  CHECK_FAILS(attach_modern(&m), EFAULT);
}

/* The number in a line of /proc/PID/status, in KiB. */
static long status_of_process(pid_t pid, const char* name) {
  char path[64], line[256];
  long value = -1;
  snprintf(path, sizeof path, "/proc/%d/status", pid);
  FILE* file = fopen(path, "r");
  CHECK(file != NULL);
  while (fgets(line, sizeof line, file) != NULL) {
    if (strncmp(line, name, strlen(name)) == 0) value = strtol(line + strlen(name) + 1, NULL, 10);
  }
  fclose(file);
  return value;
}

static void status_shows_what_is_locked(void) {
  const pid_t parent = getpid();
  CHECK(status_of_process(parent, "VmLck") == 0);
  struct client c = open_with(0x2e);
  CHECK(status_of_process(parent, "VmLck") == 16);
  CHECK(status_of_process(parent, "Pid") == parent);
  pid_t child = start();
  if (child == 0) {
    CHECK(status_of_process(parent, "VmLck") == 16);
    CHECK(status_of_process(getpid(), "VmLck") == 0);
    CHECK(unmap_dma(&c, OLD_IOVA, 4 * PAGE) == 0);
    CHECK(status_of_process(parent, "VmLck") == 0);
    _exit(0);
  }
  CHECK(status_of(child) == 0);
}

static const struct {
  const char* name;
  void (*run)(void);
} cases[] = {
    {"both_use_it", both_use_it},
    {"childs_memory_stays_pinned", childs_memory_stays_pinned},
    {"shared_memory_is_shared", shared_memory_is_shared},
    {"child_outlives_parent", child_outlives_parent},
    {"daemon_with_dma_going_on", daemon_with_dma_going_on},
    {"exec_in_place", exec_in_place},
    {"spawned_child", spawned_child},
    {"exec_closes_the_rest", exec_closes_the_rest},
    {"child_of_vfork", child_of_vfork},
    {"child_of_vfork_opens", child_of_vfork_opens},
    {"sent_over_a_socket", sent_over_a_socket},
    {"killed_owner", killed_owner},
    {"released_when_all_have_closed", released_when_all_have_closed},
    {"attach_pins_shared_memory", attach_pins_shared_memory},
    {"attach_pins_private_memory", attach_pins_private_memory},
    {"memory_of_an_ended_child", memory_of_an_ended_child_cannot_be_pinned},
    {"status_shows_what_is_locked", status_shows_what_is_locked},
    {"interrupts_reach_the_child", interrupts_reach_the_child},
};

/* All processes of a case hold the writing end of a pipe: the case has ended when they have. A failed check says so
 * there, also in a process whose status nobody sees. Afterwards the group is free. */
static int run_case(void (*run)(void)) {
  int held[2];
  char number[16];
  CHECK(pipe(held) == 0);
  snprintf(number, sizeof number, "%d", held[1]);
  setenv("TELL_FAILURE", number, 1);
  pid_t pid = start();
  if (pid == 0) {
    close(held[0]);
    run();
    exit(0);
  }
  close(held[1]);
  int failed = status_of(pid) != 0;
  char byte;
  while (read(held[0], &byte, 1) > 0) failed = 1;
  close(held[0]);
  unsetenv("TELL_FAILURE");
  return failed || !can_open();
}

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  self = getenv("CONTINUES_AS") != NULL ? getenv("CONTINUES_AS") : argv[0]; /* what is executed */
  bdf = argv[1];
  if (argc == 9 && strcmp(argv[2], "--continue") == 0) return go_on(argv + 3), 0;
  if (argc == 3 && strcmp(argv[2], "--can-open") == 0) return can_open() ? 0 : 1;
  int failed = 0;
  for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    if (argc == 3 && strcmp(argv[2], cases[i].name) != 0) continue;
    const double from = seconds();
    const int bad = run_case(cases[i].run);
    printf("processes: %-30s %s (%.0f ms)\n", cases[i].name, bad ? "FAILED" : "ok", (seconds() - from) * 1e3);
    failed |= bad;
  }
  return failed;
}
