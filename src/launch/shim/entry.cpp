// SPDX-License-Identifier: BSD-3-Clause
#include "launch/shim/entry.h"

#include <elf.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch/shim/shim.h"

namespace softiommu::shim {
namespace {

constexpr int kMostScripts = 4;  // Linux's depth of interpreters
constexpr char kGlibcLinker[] = "/ld-linux", kShim[] = "libsoftiommu-shim.so";

// A file's bytes, as far as they are asked for.
class FileView {
 public:
  FileView(int dirfd, const char* path) {
    const bool is_open = path[0] == '\0';
    const long fd = is_open ? dirfd : raw(SYS_openat, dirfd, word(path), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return;
    map(fd);
    if (!is_open) raw(SYS_close, fd);
  }
  ~FileView() {
    if (size_ != 0) raw(SYS_munmap, word(bytes_), static_cast<long>(size_));
  }
  FileView(const FileView&) = delete;
  FileView& operator=(const FileView&) = delete;

  const char* text() const { return reinterpret_cast<const char*>(bytes_); }
  size_t size() const { return size_; }
  template <class T>
  const T* table(uint64_t offset, uint64_t count) const {
    if (offset % alignof(T) != 0 || offset > size_ || count > (size_ - offset) / sizeof(T)) return nullptr;
    return reinterpret_cast<const T*>(bytes_ + offset);
  }
  // nullptr: it does not end within the file.
  const char* string(uint64_t offset) const {
    if (offset >= size_) return nullptr;
    return memchr(text() + offset, '\0', size_ - offset) != nullptr ? text() + offset : nullptr;
  }

 private:
  void map(long fd) {
    struct stat status;
    if (raw(SYS_fstat, fd, word(&status)) < 0 || !S_ISREG(status.st_mode) || status.st_size <= 0) return;
    const long pages = raw(SYS_mmap, 0, status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (pages < 0 && pages > -4096) return;
    bytes_ = reinterpret_cast<const unsigned char*>(pages);
    size_ = static_cast<size_t>(status.st_size);
  }
  const unsigned char* bytes_ = nullptr;
  size_t size_ = 0;
};

// The parts of a 64-bit program for this machine.
struct Parts {
  explicit Parts(const FileView& file) {
    const auto* head = file.table<Elf64_Ehdr>(0, 1);
    if (head == nullptr || memcmp(head->e_ident, ELFMAG, SELFMAG) != 0 || head->e_ident[EI_CLASS] != ELFCLASS64 ||
        head->e_machine != EM_X86_64 || (head->e_type != ET_EXEC && head->e_type != ET_DYN)) {
      return;
    }
    first = file.table<Elf64_Phdr>(head->e_phoff, head->e_phnum);
    count = first == nullptr ? 0 : head->e_phnum;
  }
  const Elf64_Phdr* find(uint32_t type) const {
    for (unsigned i = 0; i < count; ++i)
      if (first[i].p_type == type) return &first[i];
    return nullptr;
  }
  uint64_t offset_of(uint64_t address) const {
    for (unsigned i = 0; i < count; ++i) {
      if (first[i].p_type == PT_LOAD && address >= first[i].p_vaddr && address - first[i].p_vaddr < first[i].p_filesz)
        return first[i].p_offset + (address - first[i].p_vaddr);
    }
    return ~uint64_t{0};
  }
  const Elf64_Phdr* first = nullptr;
  unsigned count = 0;
};

// libubsan is not among them: it takes nothing over.
bool is_sanitizer_runtime(const char* name) {
  static constexpr const char* kNames[] = {"libasan.so",       "libtsan.so",       "liblsan.so",        "libhwasan.so",
                                           "libclang_rt.asan", "libclang_rt.tsan", "libclang_rt.hwasan"};
  for (const char* known : kNames) {
    if (strncmp(name, known, strlen(known)) == 0) return true;
  }
  return false;
}

// As the program's file names it; nullptr: none.
const char* sanitizer_runtime_of(const FileView& file, const Parts& parts) {
  const Elf64_Phdr* dynamic = parts.find(PT_DYNAMIC);
  if (dynamic == nullptr) return nullptr;
  const uint64_t count = dynamic->p_filesz / sizeof(Elf64_Dyn);
  const auto* entries = file.table<Elf64_Dyn>(dynamic->p_offset, count);
  if (entries == nullptr) return nullptr;
  uint64_t strings = ~uint64_t{0};
  for (uint64_t i = 0; i < count; ++i)
    if (entries[i].d_tag == DT_STRTAB) strings = parts.offset_of(entries[i].d_un.d_ptr);
  if (strings >= file.size()) return nullptr;
  for (uint64_t i = 0; i < count && entries[i].d_tag != DT_NULL; ++i) {
    if (entries[i].d_tag != DT_NEEDED || entries[i].d_un.d_val >= file.size()) continue;
    const char* name = file.string(strings + entries[i].d_un.d_val);
    if (name != nullptr && strlen(name) <= NAME_MAX && is_sanitizer_runtime(name)) return name;
  }
  return nullptr;
}

// The dynamic linker itself, called by its name, is a program without one that knows LD_PRELOAD.
bool is_for_glibc(const FileView& file, const Parts& parts, const char* path) {
  const Elf64_Phdr* part = parts.find(PT_INTERP);
  if (part != nullptr) {
    const char* linker = file.string(part->p_offset);
    return linker != nullptr && strstr(linker, kGlibcLinker) != nullptr;
  }
  const char* slash = strrchr(path, '/');
  return strncmp(slash == nullptr ? path : slash + 1, kGlibcLinker + 1, sizeof kGlibcLinker - 2) == 0;
}

// valgrind's tools are static, and load the program and what is preloaded into it by themselves.
bool is_of_valgrind(const char* path) {
  static constexpr char kPreloaded[] = "/vgpreload_core-amd64-linux.so";
  char beside[PATH_MAX];
  const char* slash = strrchr(path, '/');
  const auto folder = static_cast<size_t>(slash == nullptr ? 0 : slash - path);
  if (folder == 0 || folder + sizeof kPreloaded > sizeof beside) return false;
  memcpy(beside, path, folder);
  strcpy(beside + folder, kPreloaded);
  return raw(SYS_faccessat, AT_FDCWD, word(beside), F_OK) == 0;
}

// "#! /bin/sh -e": /bin/sh. False: not a script.
bool interpreter_of(const FileView& file, char (&path)[PATH_MAX]) {
  if (file.size() < 3 || memcmp(file.text(), "#!", 2) != 0) return false;
  size_t at = 2, length = 0;
  const auto is = [&](const char* any) {
    return at < file.size() && memchr(any, file.text()[at], strlen(any)) != nullptr;
  };
  while (is(" \t")) ++at;
  for (; at < file.size() && !is(" \t\r\n"); ++at) {
    if (length == sizeof path - 1) return false;
    path[length++] = file.text()[at];
  }
  path[length] = '\0';
  return length != 0;
}

bool is_executable(int dirfd, const char* path) { return raw(SYS_faccessat, dirfd, word(path), X_OK) == 0; }

}  // namespace

Needs needs_of(int dirfd, const char* path) {
  Needs needs;
  char interpreter[PATH_MAX];
  for (int depth = 0; path != nullptr && depth <= kMostScripts; ++depth) {
    if (path[0] != '\0' && !is_executable(dirfd, path)) break;
    const FileView file(dirfd, path);
    if (interpreter_of(file, interpreter)) {
      dirfd = AT_FDCWD;
      path = interpreter;
      continue;
    }
    const Parts parts(file);
    if (parts.count == 0) break;
    needs.supervisor = !is_for_glibc(file, parts, path) && !is_of_valgrind(path);
    if (const char* name = sanitizer_runtime_of(file, parts)) strcpy(needs.runtime, name);
    break;
  }
  return needs;
}

bool find_in_path(const char* file, char (&found)[PATH_MAX]) {
  if (file == nullptr || file[0] == '\0' || strlen(file) >= PATH_MAX) return false;
  strcpy(found, file);
  if (strchr(file, '/') != nullptr) return is_executable(AT_FDCWD, file);
  const char* folders = getenv("PATH");
  for (const char* folder = folders != nullptr ? folders : "/bin:/usr/bin";;) {
    const char* end = strchrnul(folder, ':');
    const auto bytes = static_cast<size_t>(end - folder);
    if (bytes + strlen(file) + 2 < PATH_MAX) {
      memcpy(found, folder, bytes);
      strcpy(found + bytes, bytes == 0 ? "./" : "/");
      strcat(found, file);
      if (is_executable(AT_FDCWD, found)) return true;
    }
    if (*end == '\0') return false;
    folder = end + 1;
  }
}

bool runtime_first(const char* value, const char* runtime, char* out, size_t room) {
  const char* ours = strstr(value, kShim);
  if (ours == nullptr) return false;
  while (ours != value && ours[-1] != ':') --ours;
  const auto before = static_cast<size_t>(ours - value);
  if (before != 0 && !is_sanitizer_runtime(value)) return false;  // the user's choice
  const size_t wanted = runtime[0] == '\0' ? 0 : strlen(runtime) + 1;
  if (wanted == before && (before == 0 || strncmp(value, runtime, before - 1) == 0)) return false;
  const size_t rest = strlen(ours) + 1;
  if (wanted + rest > room) return false;
  if (wanted != 0) {
    memcpy(out, runtime, wanted - 1);
    out[wanted - 1] = ':';
  }
  memcpy(out + wanted, ours, rest);
  return true;
}

}  // namespace softiommu::shim
