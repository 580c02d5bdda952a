// SPDX-License-Identifier: BSD-3-Clause
// The hostile client's process as a Program: any address may be passed, bad ones are EFAULT. All threads use it at
// once.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "base/file.h"
#include "base/program.h"
#include "fuzz_run.h"
#include "machine/memory.h"

namespace softiommu::test {

// The memory that calls and devices may touch: writable pages, then read-only ones, then inaccessible ones. Its bytes
// change under everybody's hands, so they are read and written by guarded copies only.
class Arena {
 public:
  static constexpr std::uint64_t kBytes = std::uint64_t{16} << 20;
  static constexpr std::uint64_t kReadOnly = kBytes / 4 * 3;  // from here on
  static constexpr std::uint64_t kAbsent = kBytes / 8 * 7;

  Arena();
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  std::uint64_t first() const { return first_; }
  bool holds(std::uint64_t user, std::uint64_t bytes) const;
  bool accessible(std::uint64_t user, std::uint64_t bytes, bool write) const;
  // An address of the kind that programs pass by mistake or malice.
  std::uint64_t hostile_address(Choice& choice) const;
  // The program unmaps pages that a device may be using, and maps new ones.
  void replace(Memory& memory, std::uint64_t offset, std::uint64_t bytes) const;

 private:
  std::uint64_t first_;  // aligned to 2 MiB, so that large pages come into being
};

class HostileProgram final : public Program {
 public:
  // Not a number that the process's own descriptors reach.
  static constexpr int kFirstDescriptor = 1'000'000;

  HostileProgram();
  ~HostileProgram() override;

  Result<> copy_in(void* to, std::uint64_t user, std::size_t bytes) override;
  Result<> copy_out(std::uint64_t user, const void* from, std::size_t bytes) override;
  Result<> check_pinnable(std::uint64_t user, std::uint64_t bytes, bool write) override;
  Result<int> install(std::shared_ptr<File> file, int flags) override;
  void take_back(int descriptor) override { close(descriptor); }
  Result<std::shared_ptr<File>> file_of(int descriptor) override;
  Result<std::unique_ptr<FileMapping>> map_file(const FilePart& part) override;
  Result<int> take_eventfd(int descriptor) override;

  const Arena& arena() const { return arena_; }
  const std::array<int, 6>& eventfds() const { return eventfds_; }
  // A random open descriptor, perhaps of a kind ("/dev/vfio/vfio": its path begins with it); -1: none.
  int pick(Choice& choice, std::string_view path = {});
  std::shared_ptr<File> get(int descriptor);  // nullptr: closed meanwhile
  std::size_t open_count();
  void close(int descriptor);
  void close_all();

 private:
  Arena arena_;
  std::array<int, 6> eventfds_{};
  std::mutex mutex_;
  int next_ = kFirstDescriptor;
  std::map<int, std::shared_ptr<File>> files_;
};

}  // namespace softiommu::test
