// SPDX-License-Identifier: BSD-3-Clause
#include "core/switching.h"

#include <exception>
#include <ranges>

#include "base/fault.h"
#include "base/log.h"
#include "core/bus_of.h"
#include "core/device.h"

namespace softiommu {

namespace {

constexpr Reason kOutOfMemory{"memory for the attach"};

// A driver's own exceptions end here.
template <typename Call>
AttachResult<> ask(Driver& driver, Call&& call) noexcept {
  try {
    return call();
  } catch (const std::bad_alloc&) {
    return driver_says(AttachFailure::no_memory, kOutOfMemory);
  } catch (const std::exception& e) {
    log::error("driver {} is broken: it threw \"{}\"", driver.name(), e.what());
  } catch (...) {
    log::error("driver {} is broken: it threw", driver.name());
  }
  return driver_says(AttachFailure::no_device, {"exception"});
}

// For the calls that cannot fail.
template <typename Call>
void tell(Driver& driver, const char* what, Call&& call) noexcept {
  try {
    call();
  } catch (...) {
    log::error("driver {} is broken: {} threw", driver.name(), what);
  }
}

AttachResult<> mistake(Driver& driver, const char* what, const AttachError& answer) {
  log::error("driver {} is broken: {} answered incompatible ({}: domain {:#x}, device {:#x})", driver.name(), what,
             answer.reason.property, answer.reason.domain_value, answer.reason.device_value);
  return driver_says(AttachFailure::no_device, answer.reason);
}

bool is_incompatible(const AttachResult<>& answer) {
  return !answer && answer.error().failure == AttachFailure::incompatible;
}

AttachResult<> prepare(Driver& driver, std::span<Switch> changes, Judgement judgement) {
  if (!fault::pass("core.prepare")) return driver_says(AttachFailure::no_memory, {"fault point core.prepare"});
  auto answer = ask(driver, [&] { return driver.prepare(changes); });
  if (judgement.enforce && judgement.fresh && is_incompatible(answer))
    return mistake(driver, "prepare of a domain made for the group", answer.error());
  return answer;
}

AttachResult<> commit(Driver& driver, Switch& change, Judgement judgement) {
  if (!fault::pass("core.commit")) return driver_says(AttachFailure::no_memory, {"fault point core.commit"});
  auto answer = ask(driver, [&] { return driver.commit(change); });
  if (judgement.enforce && is_incompatible(answer)) return mistake(driver, "commit", answer.error());
  return answer;
}

// False: the hardware refuses.
bool undo(Driver& driver, Switch& change) {
  if (!fault::pass("core.undo")) return false;
  bool undone = false;
  tell(driver, "undo", [&] { undone = driver.undo(change); });
  return undone;
}

void report_blocked(const Driver& driver, const Switch& change) {
  log::error("{} {}: the {} IOMMU refused the way back after a failed attach: the device is blocked",
             bus_of(*change.device), change.device->name(), driver.name());
}

}  // namespace

void block_device(Driver& driver, Device& device) noexcept {
  tell(driver, "block", [&] { driver.block(device); });
}

SwitchAnswer try_switch(Driver& driver, std::span<Switch> changes, Judgement judgement) noexcept {
  if (auto prepared = prepare(driver, changes, judgement); !prepared) return {prepared};
  std::size_t committed = 0;
  AttachResult<> answer;
  for (Switch& change : changes) {
    answer = commit(driver, change, judgement);
    if (!answer) break;
    ++committed;
  }
  if (answer) {
    tell(driver, "finish", [&] { driver.finish(changes); });
    return {answer};
  }
  bool device_blocked = changes[committed].blocked;
  if (device_blocked) report_blocked(driver, changes[committed]);
  for (Switch& change : changes.first(committed) | std::views::reverse) {
    if (undo(driver, change)) continue;
    block_device(driver, *change.device);
    device_blocked = true;
    report_blocked(driver, change);
  }
  tell(driver, "abandon", [&] { driver.abandon(changes); });
  return {answer, device_blocked};
}

Forced force_switch(Driver& driver, std::span<Switch> changes) noexcept {
  const fault::Paused must_succeed;
  if (!ask(driver, [&] { return driver.prepare(changes); })) return Forced::not_prepared;
  bool all = true;
  for (Switch& change : changes) {
    if (ask(driver, [&] { return driver.commit(change); })) continue;
    all = false;
    block_device(driver, *change.device);
    log::error("{} {}: the {} IOMMU refused a switch that must succeed: the device is blocked", bus_of(*change.device),
               change.device->name(), driver.name());
  }
  tell(driver, "finish", [&] { driver.finish(changes); });
  return all ? Forced::done : Forced::some_blocked;
}

}  // namespace softiommu
