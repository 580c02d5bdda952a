// SPDX-License-Identifier: BSD-3-Clause
#include "vfio/vf_token.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace softiommu::vfio {

namespace {

// Is this place of the text a dash?
bool is_dash(std::size_t at) {
  constexpr std::array<std::size_t, 4> kDashes{8, 13, 18, 23};
  return std::ranges::find(kDashes, at) != kDashes.end();
}

}  // namespace

std::optional<Uuid> parse_uuid(std::string_view text) {
  if (text.size() != kUuidLength) return std::nullopt;
  Uuid uuid;
  std::size_t at = 0;
  for (std::byte& byte : uuid) {
    if (is_dash(at) && text[at++] != '-') return std::nullopt;
    unsigned char value = 0;
    const char* const end = text.data() + at + 2;
    const auto [rest, error] = std::from_chars(text.data() + at, end, value, 16);
    if (error != std::errc{} || rest != end) return std::nullopt;
    byte = std::byte{value};
    at += 2;
  }
  return uuid;
}

std::string text_of(const Uuid& uuid) {
  std::string text;
  for (const std::byte byte : uuid) {
    if (is_dash(text.size())) text += '-';
    text += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
  }
  return text;
}

void VfToken::set(const Uuid& token) {
  follow(token);
  if (told_) told_(token);
}

void VfToken::follow(const Uuid& token) {
  const MutexLock lock(mutex_);
  token_ = token;
}

Result<> VfToken::match_locked(const std::optional<Uuid>& given) const {
  if (!given) return fail(EACCES, "a VF token is required");
  if (*given != token_) return fail(EACCES, "not the VF token");
  return {};
}

Result<> VfToken::match_virtual(const std::optional<Uuid>& given) const {
  const MutexLock lock(mutex_);
  return match_locked(given);
}

Result<> VfToken::match_physical(const std::optional<Uuid>& given) {
  {
    const MutexLock lock(mutex_);
    if (users_ != 0) return match_locked(given);
    if (!given) return {};
    token_ = *given;
  }
  if (told_) told_(*given);
  return {};
}

void VfToken::begin_use() {
  const MutexLock lock(mutex_);
  ++users_;
}

void VfToken::end_use() {
  const MutexLock lock(mutex_);
  --users_;
}

}  // namespace softiommu::vfio
