// SPDX-License-Identifier: BSD-3-Clause
#include "launch/engine/symbols.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <optional>
#include <span>

namespace softiommu::launch {
namespace {

// A file in memory. What lies past its end reads as nothing.
class FileView {
 public:
  explicit FileView(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    struct stat info{};
    if (::fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0) {
      const auto size = static_cast<std::size_t>(info.st_size);
      void* const pages = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
      if (pages != MAP_FAILED) bytes_ = {static_cast<const std::byte*>(pages), size};
    }
    ::close(fd);
  }
  ~FileView() {
    if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  }
  FileView(const FileView&) = delete;
  FileView& operator=(const FileView&) = delete;

  template <class T>
  std::span<const T> array(std::uint64_t offset, std::uint64_t count) const {
    if (offset > bytes_.size() || count > (bytes_.size() - offset) / sizeof(T) || offset % alignof(T) != 0) return {};
    return {reinterpret_cast<const T*>(bytes_.data() + offset), static_cast<std::size_t>(count)};
  }
  // The text that begins at `offset`, if it ends in the file.
  const char* text(std::uint64_t offset) const {
    if (offset >= bytes_.size()) return nullptr;
    const auto* const begin = reinterpret_cast<const char*>(bytes_.data() + offset);
    return std::memchr(begin, '\0', bytes_.size() - static_cast<std::size_t>(offset)) != nullptr ? begin : nullptr;
  }

 private:
  std::span<const std::byte> bytes_;
};

std::optional<std::uint64_t> address_of(const FileView& file, const Elf64_Ehdr& header, std::uint64_t offset) {
  for (const Elf64_Phdr& part : file.array<Elf64_Phdr>(header.e_phoff, header.e_phnum)) {
    if (part.p_type == PT_LOAD && offset >= part.p_offset && offset - part.p_offset < part.p_filesz)
      return part.p_vaddr + (offset - part.p_offset);
  }
  return std::nullopt;
}

std::string search(const FileView& file, std::span<const Elf64_Shdr> sections, const Elf64_Shdr& table,
                   std::uint64_t address) {
  if (table.sh_link >= sections.size()) return {};
  for (const Elf64_Sym& symbol : file.array<Elf64_Sym>(table.sh_offset, table.sh_size / sizeof(Elf64_Sym))) {
    const bool here = ELF64_ST_TYPE(symbol.st_info) == STT_FUNC && symbol.st_shndx != SHN_UNDEF &&
                      address >= symbol.st_value && address - symbol.st_value < symbol.st_size;
    if (!here) continue;
    if (const char* const name = file.text(sections[table.sh_link].sh_offset + symbol.st_name))
      return fmt::format("{}+{:#x}", name, address - symbol.st_value);
  }
  return {};
}

}  // namespace

std::string symbol_at(const std::string& path, std::uint64_t offset) {
  const FileView file(path);
  const auto headers = file.array<Elf64_Ehdr>(0, 1);
  if (headers.empty() || std::memcmp(headers[0].e_ident, ELFMAG, SELFMAG) != 0 ||
      headers[0].e_ident[EI_CLASS] != ELFCLASS64) {
    return {};
  }
  const auto address = address_of(file, headers[0], offset);
  const auto sections = file.array<Elf64_Shdr>(headers[0].e_shoff, headers[0].e_shnum);
  if (!address) return {};
  for (const Elf64_Word kind :
       {Elf64_Word{SHT_SYMTAB}, Elf64_Word{SHT_DYNSYM}}) {  // a stripped file has the second one only
    for (const Elf64_Shdr& section : sections) {
      if (section.sh_type != kind) continue;
      if (std::string name = search(file, sections, section, *address); !name.empty()) return name;
    }
  }
  return {};
}

}  // namespace softiommu::launch
