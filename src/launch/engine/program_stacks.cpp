// SPDX-License-Identifier: BSD-3-Clause
#include "launch/engine/program_stacks.h"

#include <fmt/format.h>
#include <unwind.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "launch/engine/mappings.h"
#include "launch/engine/symbols.h"

namespace softiommu::launch {
namespace {

struct Walk {
  std::array<std::uintptr_t, 48> frames;
  std::size_t count = 0;
};

_Unwind_Reason_Code add_frame(_Unwind_Context* context, void* raw_walk) {
  auto& walk = *static_cast<Walk*>(raw_walk);
  const std::uintptr_t address = _Unwind_GetIP(context);
  if (address == 0 || walk.count == walk.frames.size()) return _URC_END_OF_STACK;
  walk.frames[walk.count++] = address;
  return _URC_NO_REASON;
}

std::string_view base_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

bool is_ours(std::string_view module) { return module.starts_with("libsoftiommu-") && module.ends_with(".so"); }

// Where a module begins in the process: what tools like addr2line take addresses relative to.
std::uintptr_t base_of(const std::vector<Mapping>& maps, const std::string& path) {
  const auto first = std::ranges::find(maps, path, &Mapping::path);
  return first == maps.end() ? 0 : first->first - first->offset;
}

}  // namespace

StackId ProgramStacks::take() noexcept {
  if (elsewhere_()) return kNone;
  Walk walk;
  _Unwind_Backtrace(add_frame, &walk);
  try {
    Frames frames(walk.frames.begin(), walk.frames.begin() + static_cast<std::ptrdiff_t>(walk.count));
    const MutexLock lock(mutex_);
    if (stacks_.size() >= kMostStacks && !ids_.contains(frames)) return kNone;
    const auto [at, is_new] = ids_.try_emplace(std::move(frames), static_cast<StackId>(stacks_.size() + 1));
    if (is_new) stacks_.push_back(&at->first);
    return at->second;
  } catch (...) {
    return kNone;
  }
}

std::string ProgramStacks::describe(StackId stack) const {
  Frames frames;
  {
    const MutexLock lock(mutex_);
    if (stack == kNone || stack > stacks_.size()) return {};
    frames = *stacks_[stack - 1];
  }
  const std::vector<Mapping> maps = parse_mappings(own_maps());
  std::string text;
  std::size_t number = 0;
  for (const std::uintptr_t after : frames) {
    const std::uintptr_t address = after - 1;  // inside of the call
    const auto module =
        std::ranges::find_if(maps, [&](const Mapping& m) { return m.first <= address && address <= m.last; });
    if (module == maps.end() || module->path.empty()) {
      text += fmt::format("    #{} {:#x}\n", number++, after);
    } else if (!is_ours(base_name(module->path))) {
      const std::string name = symbol_at(module->path, address - module->first + module->offset);
      text += fmt::format("    #{} {}{}{}+{:#x}\n", number++, name, name.empty() ? "" : " in ", base_name(module->path),
                          address - base_of(maps, module->path));
      if (name.starts_with("main+")) break;  // what called it is the same in every program
    }
    if (number == kMostTold) break;
  }
  if (!text.empty()) text.pop_back();
  return text;
}

}  // namespace softiommu::launch
