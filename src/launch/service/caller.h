// SPDX-License-Identifier: BSD-3-Clause
// The calling program, as files see it: the process that the engine lives in, or the one whose call is being served on
// this thread.
#pragma once

#include <memory>

#include "base/program.h"

namespace softiommu::launch {

class Caller final : public Program {
 public:
  explicit Caller(std::shared_ptr<Program> self) : self_(std::move(self)) {}

  Program& caller() override { return served_ != nullptr ? *served_ : *self_; }

  Result<> copy_in(void* to, std::uint64_t user, std::size_t bytes) override {
    return caller().copy_in(to, user, bytes);
  }
  Result<> copy_out(std::uint64_t user, const void* from, std::size_t bytes) override {
    return caller().copy_out(user, from, bytes);
  }
  Result<> check_pinnable(std::uint64_t user, std::uint64_t bytes, bool write) override {
    return caller().check_pinnable(user, bytes, write);
  }
  Result<ProgramMemory> borrow(std::uint64_t user, std::uint64_t bytes, bool write) override {
    return caller().borrow(user, bytes, write);
  }
  Result<PhysAddr> registers_at(std::uint64_t user, std::uint64_t bytes, bool write) override {
    return caller().registers_at(user, bytes, write);
  }
  void will_pin(std::uint64_t user, std::uint64_t bytes) override { caller().will_pin(user, bytes); }
  Result<int> install(std::shared_ptr<File> file, int flags) override {
    return caller().install(std::move(file), flags);
  }
  void take_back(int descriptor) override { caller().take_back(descriptor); }
  Result<std::shared_ptr<File>> file_of(int descriptor) override { return caller().file_of(descriptor); }
  Result<std::unique_ptr<FileMapping>> map_file(const FilePart& part) override { return caller().map_file(part); }
  Result<int> take_eventfd(int descriptor) override { return caller().take_eventfd(descriptor); }

  // This thread serves a call of `program` as long as this lives.
  class Serving {
   public:
    explicit Serving(Program& program) { served_ = &program; }
    ~Serving() { served_ = nullptr; }
    Serving(const Serving&) = delete;
    Serving& operator=(const Serving&) = delete;
  };

 private:
  static thread_local Program* served_;
  const std::shared_ptr<Program> self_;
};

}  // namespace softiommu::launch
