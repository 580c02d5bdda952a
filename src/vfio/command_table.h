// SPDX-License-Identifier: BSD-3-Clause
// ioctl commands as rows: name, number, least size, handler. Dispatch, size checks and tracing follow from the table.
//
// The dispatcher copies in the fixed part of the caller's structure before any lock is taken and checks its argsz,
// which every VFIO structure begins with. Handlers copy out themselves: what is written back differs from call to call.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>

#include "base/fault.h"
#include "base/program.h"
#include "base/result.h"
#include "base/trace.h"
#include "vfio/abi.h"

namespace softiommu::vfio {

// One call: the argument as the program gave it and, for rows with a least size, the structure behind it.
class Call {
 public:
  static constexpr std::size_t kMost = 64;

  Call(Program& program, std::uint64_t argument) : program_(program), argument_(argument) {}

  Program& program() const { return program_; }
  std::uint64_t argument() const { return argument_; }

  // EFAULT: not readable; EINVAL: argsz says that the structure is too short.
  Result<> fetch(std::size_t minimum) {
    TRY(program_.copy_in(head_.data(), argument_, minimum));
    std::uint32_t argsz;
    std::memcpy(&argsz, head_.data(), sizeof argsz);
    if (argsz < minimum) return fail(EINVAL, "argsz is smaller than the structure");
    return {};
  }

  // What was fetched; fields beyond it are 0.
  template <typename T>
  T request() const {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= kMost);
    T value;
    std::memcpy(&value, head_.data(), sizeof value);
    return value;
  }
  // More of the structure, from `offset`.
  template <typename T>
  Result<T> fetch_at(std::size_t offset) const {
    static_assert(std::is_trivially_copyable_v<T>);
    T value;
    TRY(program_.copy_in(&value, argument_ + offset, sizeof value));
    return value;
  }
  // For what cannot be taken back: proves, before it is done, that the answer can be written, by writing the request
  // over itself; an answer that is no different is not written again. EFAULT.
  Result<> prove_answer(std::size_t bytes) {
    TRY(program_.copy_out(argument_, head_.data(), bytes));
    proven_ = true;
    return {};
  }
  // The first `bytes` of `value` over the program's structure.
  template <typename T>
  Result<> answer(const T& value, std::size_t bytes = sizeof(T)) const {
    static_assert(std::is_trivially_copyable_v<T>);
    if (!proven_) return program_.copy_out(argument_, &value, bytes);
    if (std::memcmp(&value, head_.data(), bytes) == 0) return {};
    const fault::Paused proven;
    return program_.copy_out(argument_, &value, bytes);
  }

 private:
  Program& program_;
  std::uint64_t argument_;
  bool proven_ = false;
  std::array<std::byte, kMost> head_{};
};

template <class Object>
struct Command {
  std::string_view name;
  unsigned number;
  std::size_t minimum;  // bytes that the caller's structure must have; 0: the argument is not a structure
  Result<long> (*run)(Object&, Call&);
};

// A row for a member function.
template <auto handle, class Object>
constexpr Command<Object> row(std::string_view name, unsigned number, std::size_t minimum) {
  return {name, number, minimum, [](Object& object, Call& call) -> Result<long> { return (object.*handle)(call); }};
}

template <class Object, std::size_t N>
class CommandTable {
 public:
  consteval explicit CommandTable(const Command<Object> (&rows)[N]) {
    for (std::size_t i = 0; i < N; ++i) {
      rows_[i] = rows[i];
      index_[rows[i].number - abi::command(0)] = static_cast<std::uint8_t>(i + 1);
    }
  }

  // The row with this number; nullptr: the kind of file does not know it.
  const Command<Object>* find(unsigned number) const {
    const unsigned n = number - abi::command(0);
    return n < index_.size() && index_[n] != 0 ? &rows_[index_[n] - 1U] : nullptr;
  }

  // As ioctl answers: a value >= 0 or a negative errno. ENOTTY: no such command.
  long dispatch(Object& object, Program& program, std::string_view track, unsigned number,
                std::uint64_t argument) const {
    const Command<Object>* const command = find(number);
    if (command == nullptr) return -ENOTTY;
    if (trace::on() || fault::armed()) [[unlikely]]
      return observed(*command, object, program, track, argument);
    return serve(*command, object, program, argument);
  }

 private:
  static long serve(const Command<Object>& command, Object& object, Program& program, std::uint64_t argument) {
    Call call(program, argument);
    if (command.minimum != 0) {
      if (const auto fetched = call.fetch(command.minimum); !fetched) return -fetched.error().code;
    }
    try {
      const Result<long> answer = command.run(object, call);
      return answer ? *answer : -answer.error().code;
    } catch (const std::bad_alloc&) {
      return -ENOMEM;
    }
  }
  // With what is told of a call, and what may make it fail.
  static long observed(const Command<Object>& command, Object& object, Program& program, std::string_view track,
                       std::uint64_t argument) {
    const fault::Call fallible;
    const std::uint64_t begin = trace::now_ns();
    const long answer = serve(command, object, program, argument);
    if (!trace::on()) return answer;
    trace::span(track, command.name, begin, {{"argument", argument}, {"result", static_cast<std::uint64_t>(answer)}});
    return answer;
  }

  std::array<Command<Object>, N> rows_{};
  std::array<std::uint8_t, 32> index_{};  // by number; 0: none
};

}  // namespace softiommu::vfio
