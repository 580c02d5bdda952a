// SPDX-License-Identifier: BSD-3-Clause
// How every fallible call answers: a value, or an errno with one sentence for people.
//
// `code` is the errno that a caller of the real device would see: it is contract, and tests assert it.
// `why` is one literal sentence for people: never parsed, never compared.
// Nothing throws across a module edge; `without_throwing` turns a failed allocation into ENOMEM there.
#pragma once

#include <cerrno>
#include <expected>
#include <new>
#include <utility>

namespace softiommu {

struct [[nodiscard]] Error {
  int code;
  const char* why;
};

template <typename T = void>
using Result = std::expected<T, Error>;

constexpr std::unexpected<Error> fail(int code, const char* why) { return std::unexpected(Error{code, why}); }

template <typename T, typename E>
constexpr T take(std::expected<T, E>&& result) {
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

// Runs `action`, which answers a Result; std::bad_alloc on the way becomes ENOMEM.
template <typename Action>
auto without_throwing(Action&& action) noexcept -> decltype(action()) {
  try {
    return std::forward<Action>(action)();
  } catch (const std::bad_alloc&) {
    return fail(ENOMEM, "out of memory");
  }
}

}  // namespace softiommu

// Yields the value, or returns the error from the enclosing function. One per statement.
#define TRY(...)                                  \
  __extension__({                                 \
    auto try_result = (__VA_ARGS__);              \
    if (!try_result) [[unlikely]]                 \
      return std::unexpected(try_result.error()); \
    ::softiommu::take(std::move(try_result));     \
  })
