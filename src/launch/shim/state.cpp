// SPDX-License-Identifier: BSD-3-Clause
// The shim's state, and loading the engine at the first open of one of our files.
#include <dlfcn.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launch/shim/entry.h"
#include "launch/shim/shim.h"

namespace softiommu::shim {

constinit thread_local SoftiommuThread this_thread __attribute__((tls_model("initial-exec"))) = {};
uint64_t owned_bits[SOFTIOMMU_MAX_DESCRIPTORS / 64];
uint64_t hidden_bits[SOFTIOMMU_MAX_DESCRIPTORS / 64];
const SoftiommuEngine* loaded_engine = nullptr;
char run_dir[PATH_MAX];
bool redirecting = false;
bool fault_injection = false;

namespace {

SoftiommuThread* thread_record() { return &this_thread; }

const SoftiommuShim services = {SOFTIOMMU_ABI_VERSION, owned_bits, hidden_bits, thread_record, run_dir};

__attribute__((constructor)) void read_environment() {
  const char* dir = getenv("SOFTIOMMU_RUN");
  if (strcmp(program_invocation_short_name, kSupervisor) == 0) return;  // which does itself what we do for others
  if (dir == nullptr || strlen(dir) >= sizeof run_dir) return;
  strcpy(run_dir, dir);
  redirecting = getenv("SOFTIOMMU_VIEW_IS_REAL") == nullptr;
  char knobs[PATH_MAX];
  fault_injection = real_place("/sys/kernel/debug", knobs) && raw(SYS_faccessat, AT_FDCWD, word(knobs), 0) == 0;
  find_inherited_attributes();
}

void complain(const char* text) {
  raw(SYS_write, 2, word("softiommu: "), 11);
  raw(SYS_write, 2, word(text), static_cast<long>(strlen(text)));
  raw(SYS_write, 2, word("\n"), 1);
}

const SoftiommuEngine* load() {
  const Scope scope;
  char path[PATH_MAX];
  if (!beside_shim("libsoftiommu-engine.so", path)) return nullptr;
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    complain(dlerror());
    return nullptr;
  }
  auto entry = reinterpret_cast<SoftiommuEngineEntry>(dlsym(library, SOFTIOMMU_ENGINE_ENTRY));
  const SoftiommuEngine* made = entry == nullptr ? nullptr : entry(&services);
  if (made == nullptr || made->version != SOFTIOMMU_ABI_VERSION) {
    complain("the engine does not belong to this shim");
    return nullptr;
  }
  return made;
}

}  // namespace

bool beside_shim(const char* name, char (&path)[PATH_MAX]) {
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&read_environment), &info) == 0 || info.dli_fname == nullptr) return false;
  const char* slash = strrchr(info.dli_fname, '/');
  const size_t folder = slash == nullptr ? 0 : static_cast<size_t>(slash + 1 - info.dli_fname);
  const size_t bytes = strlen(name) + 1;
  if (folder + bytes > sizeof path) return false;
  memcpy(path, info.dli_fname, folder);
  memcpy(path + folder, name, bytes);
  return true;
}

long link_of(int fd, char* out, size_t room) {
  char link[40];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  return raw(SYS_readlinkat, AT_FDCWD, word(link), word(out), static_cast<long>(room));
}

long observed_process() { return raw(SYS_getpid); }

long observed_folder(int dirfd, char (&out)[PATH_MAX]) {
  if (dirfd == AT_FDCWD) return raw(SYS_getcwd, word(out), sizeof out) - 1;
  return link_of(dirfd, out, sizeof out - 1);
}

void* next_symbol(const char* name) {
  const int saved = errno;
  void* found = dlsym(RTLD_NEXT, name);
  errno = saved;
  return found;
}

const SoftiommuEngine* load_engine() {
  enum : int { kUntried, kLoading, kTried };
  static int state = kUntried;
  if (engine() == nullptr && in_vfork_child()) {
    complain("a child of vfork can open a device file only after it has executed a program");
    return nullptr;
  }
  int expected = kUntried;
  if (__atomic_compare_exchange_n(&state, &expected, kLoading, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
    __atomic_store_n(&loaded_engine, load(), __ATOMIC_RELEASE);
    __atomic_store_n(&state, kTried, __ATOMIC_RELEASE);
  }
  while (__atomic_load_n(&state, __ATOMIC_ACQUIRE) != kTried) sched_yield();
  return engine();
}

}  // namespace softiommu::shim
