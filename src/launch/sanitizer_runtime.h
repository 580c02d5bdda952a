// SPDX-License-Identifier: BSD-3-Clause
// Which sanitizer runtime a program needs before every other library.
//
// gcc's runtimes (and clang's with -shared-libsan) are libraries that refuse, or miss their interceptors, when a
// preloaded library comes first: the launcher, and the shim before each exec, name them first in LD_PRELOAD. A runtime
// inside the program comes first by itself. For the launcher and the shim: no libstdc++, no allocation.
#pragma once

#include <elf.h>
#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

namespace softiommu::launch {

struct FileBytes {
  const unsigned char* bytes = nullptr;
  size_t size = 0;
};

// libubsan is not among them: it takes nothing over.
inline bool is_sanitizer_runtime(const char* name) {
  static constexpr const char* kNames[] = {"libasan.so", "libtsan.so", "liblsan.so", "libhwasan.so", "libclang_rt.asan",
                                           "libclang_rt.tsan", "libclang_rt.hwasan"};
  for (const char* known : kNames) {
    if (strncmp(name, known, strlen(known)) == 0) return true;
  }
  return false;
}

namespace elf {

template <class T>
const T* table(FileBytes file, uint64_t offset, uint64_t count) {
  if (offset % alignof(T) != 0 || offset > file.size || count > (file.size - offset) / sizeof(T)) return nullptr;
  return reinterpret_cast<const T*>(file.bytes + offset);
}

inline uint64_t offset_of(const Elf64_Phdr* parts, unsigned count, uint64_t address) {
  for (unsigned i = 0; i < count; ++i) {
    if (parts[i].p_type == PT_LOAD && address >= parts[i].p_vaddr && address - parts[i].p_vaddr < parts[i].p_filesz)
      return parts[i].p_offset + (address - parts[i].p_vaddr);
  }
  return ~uint64_t{0};
}

inline const char* text(FileBytes file, uint64_t offset) {
  if (offset >= file.size) return nullptr;
  const auto* const begin = reinterpret_cast<const char*>(file.bytes + offset);
  return memchr(begin, '\0', file.size - offset) != nullptr ? begin : nullptr;
}

}  // namespace elf

// Its name as the program's file has it, nullptr: none (or not a 64-bit program).
inline const char* sanitizer_runtime_of(FileBytes file) {
  const auto* header = elf::table<Elf64_Ehdr>(file, 0, 1);
  if (header == nullptr || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_ident[EI_CLASS] != ELFCLASS64)
    return nullptr;
  const unsigned count = header->e_phnum;
  const auto* parts = elf::table<Elf64_Phdr>(file, header->e_phoff, count);
  if (parts == nullptr) return nullptr;
  const Elf64_Phdr* dynamic = nullptr;
  for (unsigned i = 0; i < count; ++i)
    if (parts[i].p_type == PT_DYNAMIC) dynamic = &parts[i];
  if (dynamic == nullptr) return nullptr;
  const uint64_t entries = dynamic->p_filesz / sizeof(Elf64_Dyn);
  const auto* entry = elf::table<Elf64_Dyn>(file, dynamic->p_offset, entries);
  if (entry == nullptr) return nullptr;
  uint64_t strings = ~uint64_t{0};
  for (uint64_t i = 0; i < entries; ++i)
    if (entry[i].d_tag == DT_STRTAB) strings = elf::offset_of(parts, count, entry[i].d_un.d_ptr);
  if (strings >= file.size) return nullptr;
  for (uint64_t i = 0; i < entries && entry[i].d_tag != DT_NULL; ++i) {
    if (entry[i].d_tag != DT_NEEDED || entry[i].d_un.d_val >= file.size) continue;
    const char* name = elf::text(file, strings + entry[i].d_un.d_val);
    if (name != nullptr && is_sanitizer_runtime(name)) return name;
  }
  return nullptr;
}

// The interpreter that a script names in its first line; false: it is no script, or the name is too long.
inline bool interpreter_of(FileBytes file, char (&path)[PATH_MAX]) {
  if (file.size < 3 || file.bytes[0] != '#' || file.bytes[1] != '!') return false;
  size_t at = 2, length = 0;
  while (at < file.size && file.bytes[at] == ' ') ++at;
  for (; at < file.size && strchr(" \t\r\n", file.bytes[at]) == nullptr; ++at) {
    if (length == sizeof path - 1) return false;
    path[length++] = static_cast<char>(file.bytes[at]);
  }
  path[length] = '\0';
  return length != 0;
}

// Calls visit(path) for each place where execvp() looks for `file`, until it answers true.
template <class Visit>
bool visit_path(const char* file, const char* search, Visit&& visit) {
  if (strchr(file, '/') != nullptr) return visit(file);
  char path[PATH_MAX];
  const size_t name = strlen(file) + 1;
  for (const char* folder = search != nullptr ? search : "/bin:/usr/bin";;) {
    const char* end = strchrnul(folder, ':');
    const auto length = static_cast<size_t>(end - folder);
    if (length + 1 + name <= sizeof path) {
      memcpy(path, folder, length);
      path[length] = '/';
      memcpy(path + length + (length != 0 ? 1 : 0), file, name);
      if (visit(path)) return true;
    }
    if (*end == '\0') return false;
    folder = end + 1;
  }
}

// LD_PRELOAD for a program that needs `runtime` (nullptr: none) first, in `out`: what stands before `shim` in `value`
// is a runtime that we named for another program, or the user's. False: `value` is right as it is, or does not fit.
inline bool runtime_first(const char* value, const char* shim, const char* runtime, char* out, size_t room) {
  const char* ours = strstr(value, shim);
  if (ours == nullptr) return false;
  while (ours != value && ours[-1] != ':') --ours;
  const auto before = static_cast<size_t>(ours - value);
  if (before != 0 && !is_sanitizer_runtime(value)) return false;  // the user's choice
  const size_t wanted = runtime == nullptr ? 0 : strlen(runtime) + 1;
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

}  // namespace softiommu::launch
