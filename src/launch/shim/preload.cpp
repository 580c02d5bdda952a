// SPDX-License-Identifier: BSD-3-Clause
// LD_PRELOAD of the next image: the runtime of a sanitizer stands before us for programs that need it, and only for
// them.
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch/sanitizer_runtime.h"
#include "launch/shim/preload.h"
#include "launch/shim/shim.h"

namespace softiommu::shim {
namespace {

constexpr char kVariable[] = "LD_PRELOAD=", kShim[] = "libsoftiommu-shim.so";

class MappedFile {
 public:
  MappedFile(int dirfd, const char* path) {
    const long fd = raw(SYS_openat, dirfd, word(path), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    view(fd);
    raw(SYS_close, fd);
  }
  explicit MappedFile(int fd) { view(fd); }
  ~MappedFile() {
    if (file_.size != 0) raw(SYS_munmap, word(file_.bytes), static_cast<long>(file_.size));
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  launch::FileBytes bytes() const { return file_; }

 private:
  void view(long fd) {
    struct stat status;
    if (raw(SYS_fstat, fd, word(&status)) < 0 || !S_ISREG(status.st_mode) || status.st_size <= 0) return;
    const long pages = raw(SYS_mmap, 0, status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (pages < 0 && pages > -4096) return;
    file_ = {reinterpret_cast<const unsigned char*>(pages), static_cast<size_t>(status.st_size)};
  }
  launch::FileBytes file_;
};

}  // namespace

NextEnvironment::NextEnvironment(char* const* environment) : given_(environment) {}

// Only an environment that names us is changed.
bool NextEnvironment::names_us() {
  if (run_dir[0] == '\0' || inside() || given_ == nullptr) return false;
  for (count_ = 0; given_[count_] != nullptr; ++count_) {
    if (starts_with(given_[count_], kVariable)) at_ = count_;
  }
  return at_ != kNone && count_ < kMost;
}

void NextEnvironment::judge(launch::FileBytes program) {
  char interpreter[PATH_MAX];
  if (launch::interpreter_of(program, interpreter)) {
    const MappedFile file(AT_FDCWD, interpreter);
    return put(launch::sanitizer_runtime_of(file.bytes()));
  }
  put(launch::sanitizer_runtime_of(program));
}

void NextEnvironment::put(const char* runtime) {
  constexpr size_t kName = sizeof kVariable - 1;
  if (!launch::runtime_first(given_[at_] + kName, kShim, runtime, value_ + kName, sizeof value_ - kName)) return;
  memcpy(value_, kVariable, kName);
  memcpy(words_, given_, (count_ + 1) * sizeof *words_);
  words_[at_] = value_;
  changed_ = true;
}

char* const* NextEnvironment::for_program(int dirfd, const char* path) {
  if (path != nullptr && names_us()) {
    const MappedFile file(dirfd, path);
    judge(file.bytes());
  }
  return get();
}

char* const* NextEnvironment::for_descriptor(int fd) {
  if (names_us()) {
    const MappedFile file(fd);
    judge(file.bytes());
  }
  return get();
}

char* const* NextEnvironment::for_name(const char* file) {
  if (file == nullptr || !names_us()) return get();
  launch::visit_path(file, getenv("PATH"), [&](const char* path) {
    if (raw(SYS_faccessat, AT_FDCWD, word(path), X_OK) < 0) return false;
    const MappedFile program(AT_FDCWD, path);
    judge(program.bytes());
    return true;
  });
  return get();
}

}  // namespace softiommu::shim
