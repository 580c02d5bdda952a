// SPDX-License-Identifier: BSD-3-Clause
// One call of an iommufd command: the structure as the program gave it, and the way back.
#pragma once

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <type_traits>
#include <vector>

#include "base/fault.h"
#include "base/file.h"
#include "base/program.h"
#include "base/result.h"

namespace softiommu::iommufd {

class Call {
 public:
  static constexpr std::size_t kMost = 128;

  Call(Program& program, std::uint64_t argument)
      : whoever_calls_(program), program_(program.caller()), argument_(argument) {}

  Program& program() const { return program_; }
  // For files that the call makes: others may call them.
  Program& whoever_calls() const { return whoever_calls_; }
  // What the call answers if it succeeds: 0, unless a handler has more to say.
  long value() const { return value_; }
  void set_value(long value) { value_ = value; }

  // The command's structure has `bytes`, of which the program must have `minimum`; what it has not is 0.
  // EFAULT: not readable; EINVAL: too short; E2BIG: what we do not know is not 0.
  Result<> fetch(std::size_t minimum, std::size_t bytes) {
    TRY(fetch_least(minimum));
    known_bytes_ = std::min<std::size_t>(user_bytes_, bytes);
    for (std::uint64_t at = bytes; at < user_bytes_;) {
      std::array<std::uint8_t, kMost> rest;
      const std::size_t part = std::min<std::size_t>(user_bytes_ - at, rest.size());
      TRY(program_.copy_in(rest.data(), argument_ + at, part));
      if (std::any_of(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(part),
                      [](auto byte) { return byte != 0; }))
        return fail(E2BIG, "the structure has fields that are not known");
      at += part;
    }
    if (known_bytes_ == minimum) return {};
    return program_.copy_in(&buffer_[minimum], argument_ + minimum, known_bytes_ - minimum);
  }

  template <typename T>
  T request() const {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= kMost);
    T value;
    std::memcpy(&value, buffer_.data(), sizeof value);
    return value;
  }
  // For what cannot be taken back: proves, before it is done, that the answer can be written, by writing the request
  // over itself; an answer that is no different is not written again. EFAULT.
  Result<> prove_response() {
    TRY(program_.copy_out(argument_, buffer_.data(), known_bytes_));
    proven_ = true;
    return {};
  }
  // Writes the answer over the program's structure, as far as that reaches.
  template <typename T>
  Result<> respond(const T& answer) const {
    const std::size_t bytes = std::min<std::size_t>(user_bytes_, sizeof answer);
    if (!proven_) return program_.copy_out(argument_, &answer, bytes);
    if (std::memcmp(&answer, buffer_.data(), bytes) == 0) return {};
    const fault::Paused proven;
    return program_.copy_out(argument_, &answer, bytes);
  }
  // Puts a file into the program for a call whose answer is then written: taken back if that fails.
  template <typename Answer>
  Result<> respond_with_file(Answer& answer, std::uint32_t Answer::* descriptor, std::shared_ptr<File> file) const {
    const int installed = TRY(program_.install(std::move(file), O_CLOEXEC));
    answer.*descriptor = static_cast<std::uint32_t>(installed);
    const Result<> responded = respond(answer);
    if (!responded) program_.take_back(installed);
    return responded;
  }
  template <typename T>
  Result<std::vector<T>> fetch_array(std::uint64_t user, std::size_t count) const {
    std::vector<T> values;
    constexpr std::size_t kPiece = 256;  // the program names the count: memory grows with what is really there
    while (values.size() < count) {
      const std::size_t from = values.size(), part = std::min(kPiece, count - from);
      values.resize(from + part);
      TRY(program_.copy_in(&values[from], user + from * sizeof(T), part * sizeof(T)));
    }
    return values;
  }

 private:
  // With its size, which says how much there is: of a structure that is too short not even that may be readable.
  Result<> fetch_least(std::size_t minimum) {
    std::uint32_t size = 0;
    const Result<> fetched = program_.copy_in(buffer_.data(), argument_, minimum);
    if (!fetched) TRY(program_.copy_in(buffer_.data(), argument_, sizeof size));
    std::memcpy(&size, buffer_.data(), sizeof size);
    user_bytes_ = size;
    return size < minimum ? fail(EINVAL, "the structure is too short") : fetched;
  }

  Program &whoever_calls_, &program_;
  std::uint64_t argument_;
  std::size_t user_bytes_ = 0, known_bytes_ = 0;
  bool proven_ = false;
  long value_ = 0;
  std::array<std::byte, kMost> buffer_{};
};

}  // namespace softiommu::iommufd
