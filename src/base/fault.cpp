// SPDX-License-Identifier: BSD-3-Clause
#include "base/fault.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

namespace softiommu::fault {

namespace {

// What was passed, in order of first passing. Names are literals: compared by what they say, kept by pointer.
constexpr std::size_t kMostPoints = 256;
struct Entry {
  std::atomic<const char*> name{nullptr};
  std::atomic<std::uint64_t> passes{0}, failures{0};
};
constinit std::array<Entry, kMostPoints> entries;

// A thread's countdown. `left` reaches 0 when it strikes; the slot stays the thread's until it is armed with 0.
constexpr std::size_t kMostThreads = 64;
struct Countdown {
  std::atomic<pid_t> thread{0};
  std::atomic<std::uint64_t> left{0};
};
constinit std::array<Countdown, kMostThreads> countdowns;

constexpr std::uint64_t kAlways = ~std::uint64_t{0};
constexpr std::size_t kMostRules = 16, kMostName = 63;

struct Rule {
  char glob[kMostName + 1] = {};
  std::uint64_t nth = 0;              // only this one of those that match; 0: each
  std::uint64_t threshold = kAlways;  // of 2^64: how probable it is
  std::uint64_t seed = 0;
  bool anywhere = false;  // outside of calls, too
  bool never = false;     // only to have points counted

  bool matches(const char* point) const;
  // What becomes of the nth that matched depends on nothing but the rule and n.
  bool chosen(std::uint64_t n) const;
};
constinit std::array<Rule, kMostRules> rules;
constinit std::array<std::atomic<std::uint64_t>, kMostRules> matched;
constinit std::atomic<std::size_t> rule_count{0};

struct ThreadState {
  unsigned calls = 0, paused = 0;
};
constinit thread_local ThreadState this_thread;

pid_t own_thread() noexcept { return static_cast<pid_t>(::syscall(SYS_gettid)); }

bool glob_matches(const char* glob, const char* text) {
  if (*glob == '\0') return *text == '\0';
  if (*glob == '*') return glob_matches(glob + 1, text) || (*text != '\0' && glob_matches(glob, text + 1));
  return *text != '\0' && (*glob == '?' || *glob == *text) && glob_matches(glob + 1, text + 1);
}

// The finaliser of SplitMix64.
std::uint64_t mix(std::uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

bool Rule::matches(const char* point) const {
  return (anywhere || this_thread.calls != 0) && glob_matches(glob, point);
}

bool Rule::chosen(std::uint64_t n) const {
  constexpr std::uint64_t kGolden = 0x9e3779b97f4a7c15u;
  if (never || (nth != 0 && n != nth)) return false;
  return threshold == kAlways || mix(seed + n * kGolden) < threshold;
}

// nullptr: there are more names than we keep; they can fail all the same.
Entry* entry_of(const char* point) noexcept {
  for (Entry& entry : entries) {
    const char* name = entry.name.load(std::memory_order_acquire);
    if (name == nullptr && entry.name.compare_exchange_strong(name, point, std::memory_order_acq_rel)) return &entry;
    if (name == point || std::strcmp(name, point) == 0) return &entry;
  }
  return nullptr;
}

Countdown* countdown_of(pid_t thread) noexcept {
  for (Countdown& countdown : countdowns)
    if (countdown.thread.load(std::memory_order_acquire) == thread) return &countdown;
  return nullptr;
}

bool countdown_ends() noexcept {
  Countdown* const countdown = countdown_of(own_thread());
  if (countdown == nullptr) return false;
  const std::uint64_t left = countdown->left.load(std::memory_order_relaxed);
  if (left == 0) return false;
  countdown->left.store(left - 1, std::memory_order_relaxed);
  return left == 1;
}

bool a_rule_strikes(const char* point) noexcept {
  bool strikes = false;
  const std::size_t count = rule_count.load(std::memory_order_acquire);
  for (std::size_t i = 0; i < count; ++i) {
    if (rules[i].matches(point)) strikes |= rules[i].chosen(matched[i].fetch_add(1, std::memory_order_relaxed) + 1);
  }
  return strikes;
}

void arm() { detail::armed.store(true, std::memory_order_relaxed); }

template <typename Number>
Result<> parse_number(std::string_view text, Number& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc{} || end != text.data() + text.size()) return fail(EINVAL, "not a number");
  return {};
}

Result<> set_glob(Rule& rule, std::string_view glob) {
  constexpr std::string_view kKnown = "abcdefghijklmnopqrstuvwxyz0123456789_.*?";
  if (glob.empty() || glob.size() > kMostName) return fail(EINVAL, "a point's name has 1 to 63 characters");
  if (glob.find_first_not_of(kKnown) != std::string_view::npos) return fail(EINVAL, "no point has such a name");
  *std::ranges::copy(glob, rule.glob).out = '\0';
  return {};
}

Result<> set_probability(Rule& rule, std::string_view text) {
  double probability = 0;
  TRY(parse_number(text, probability));
  if (!(probability >= 0 && probability <= 1)) return fail(EINVAL, "a probability is between 0 and 1");
  constexpr double kAll = 18446744073709551616.0;  // 2^64
  rule.threshold = probability >= 1 ? kAlways : static_cast<std::uint64_t>(probability * kAll);
  return {};
}

Result<> set_part(Rule& rule, std::string_view key, std::string_view value) {
  if (key == "point") return set_glob(rule, value);
  if (key == "probability") return set_probability(rule, value);
  if (key == "seed") return parse_number(value, rule.seed);
  return fail(EINVAL, "the parts of a rule are point, probability and seed");
}

Result<Rule> parse_rule(std::string_view text) {
  Rule rule;
  rule.glob[0] = '*';
  if (text == "list") {
    rule.never = true;
    return rule;
  }
  if (text.starts_with("nth=")) {
    TRY(parse_number(text.substr(4), rule.nth));
    if (rule.nth == 0) return fail(EINVAL, "points are counted from 1");
    return rule;
  }
  if (!text.starts_with("point=")) return fail(EINVAL, "a rule is nth=K, point=GLOB[,probability=P][,seed=S] or list");
  for (std::size_t end = 0; end != std::string_view::npos;) {
    end = text.find(',');
    const std::string_view part = text.substr(0, end);
    const std::size_t equals = std::min(part.find('='), part.size());
    TRY(set_part(rule, part.substr(0, equals), part.substr(std::min(equals + 1, part.size()))));
    text.remove_prefix(std::min(end, text.size() - 1) + 1);
  }
  return rule;
}

Result<> add(const Rule& rule) {
  const std::size_t at = rule_count.load(std::memory_order_relaxed);
  if (at == kMostRules) return fail(ENOSPC, "too many rules");
  rules[at] = rule;
  matched[at].store(0, std::memory_order_relaxed);
  rule_count.store(at + 1, std::memory_order_release);
  arm();
  return {};
}

}  // namespace

namespace detail {

constinit std::atomic<bool> armed{false};

bool should_fail(const char* point) noexcept {
  if (this_thread.paused != 0) return false;
  const bool ends = countdown_ends(), struck_by_rule = a_rule_strikes(point);
  Entry* const entry = entry_of(point);
  if (entry != nullptr) {
    entry->passes.fetch_add(1, std::memory_order_relaxed);
    if (ends || struck_by_rule) entry->failures.fetch_add(1, std::memory_order_relaxed);
  }
  return ends || struck_by_rule;
}

bool heap_should_fail() noexcept { return this_thread.calls != 0 && should_fail(kHeap); }

void enter_call() noexcept { ++this_thread.calls; }
void leave_call() noexcept { --this_thread.calls; }
void pause() noexcept { ++this_thread.paused; }
void resume() noexcept { --this_thread.paused; }

}  // namespace detail

Result<> arm_thread(pid_t thread, std::uint64_t nth) {
  Countdown* countdown = countdown_of(thread);
  for (std::size_t i = 0; countdown == nullptr && nth != 0 && i < kMostThreads; ++i) {
    pid_t nobody = 0;
    if (countdowns[i].thread.compare_exchange_strong(nobody, thread)) countdown = &countdowns[i];
  }
  if (countdown == nullptr) return nth == 0 ? Result<>{} : fail(ENOMEM, "countdowns of too many threads are armed");
  countdown->left.store(nth, std::memory_order_relaxed);
  if (nth == 0) countdown->thread.store(0, std::memory_order_release);
  if (nth != 0) arm();
  return {};
}

std::uint64_t left_of_thread(pid_t thread) {
  const Countdown* const countdown = countdown_of(thread);
  return countdown == nullptr ? 0 : countdown->left.load(std::memory_order_relaxed);
}

void fail_nth(std::uint64_t nth) { (void)arm_thread(own_thread(), nth); }

bool struck() {
  const Countdown* const countdown = countdown_of(own_thread());
  return countdown != nullptr && countdown->left.load(std::memory_order_relaxed) == 0;
}

Result<> add_rule(std::string_view text) { return add(TRY(parse_rule(text))); }

Result<> check_rule(std::string_view text) {
  TRY(parse_rule(text));
  return {};
}

void fail_point(std::string_view point, std::uint64_t nth) {
  Rule rule;
  rule.anywhere = true;
  rule.nth = nth;
  if (set_glob(rule, point)) (void)add(rule);
}

void disarm() {
  detail::armed.store(false, std::memory_order_relaxed);
  rule_count.store(0, std::memory_order_release);
  for (Countdown& countdown : countdowns) {
    countdown.left.store(0, std::memory_order_relaxed);
    countdown.thread.store(0, std::memory_order_release);
  }
  for (Entry& entry : entries) {
    entry.name.store(nullptr, std::memory_order_relaxed);
    entry.passes.store(0, std::memory_order_relaxed);
    entry.failures.store(0, std::memory_order_relaxed);
  }
}

std::vector<Passed> passed() {
  std::vector<Passed> all;
  for (const Entry& entry : entries) {
    const char* const name = entry.name.load(std::memory_order_acquire);
    if (name == nullptr) break;
    all.push_back({name, entry.passes.load(std::memory_order_relaxed), entry.failures.load(std::memory_order_relaxed)});
  }
  return all;
}

std::vector<std::string> seen() {
  std::vector<std::string> names;
  for (Passed& point : passed()) names.push_back(std::move(point.point));
  return names;
}

}  // namespace softiommu::fault
