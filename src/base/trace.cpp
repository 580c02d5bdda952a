// SPDX-License-Identifier: BSD-3-Clause
#include "base/trace.h"

#include <fmt/format.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <deque>
#include <map>
#include <mutex>
#include <vector>

namespace softiommu::trace {

namespace detail {
constinit std::atomic<bool> enabled{false};
}

namespace {

struct Record {
  std::uint64_t begin_ns;
  std::uint64_t duration_ns;  // 0: an instant
  std::string track, name;
  std::string args;  // the inside of a JSON object
};

struct Ring {
  std::mutex mutex;
  std::deque<Record> records;
  std::size_t capacity = 0;
  std::uint64_t dropped = 0;
};

// Made at first use and never destroyed: events may come while the program exits.
Ring& ring() {
  static Ring* const instance = new Ring;
  return *instance;
}

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte == '"' || byte == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20) {
      out += fmt::format("\\u{:04x}", byte);
    } else {
      out += c;
    }
  }
  out += '"';
}

// Addresses are read in hexadecimal; JSON has no such numbers, so values are strings.
std::string json_args(std::initializer_list<Arg> args) {
  std::string out;
  for (const Arg& arg : args) {
    if (!out.empty()) out += ',';
    append_json_string(out, arg.name);
    out += ':';
    if (const auto* number = std::get_if<std::uint64_t>(&arg.value))
      out += fmt::format("\"{:#x}\"", *number);
    else
      append_json_string(out, std::get<std::string_view>(arg.value));
  }
  return out;
}

void record(std::string_view track, std::string_view name, std::uint64_t begin_ns, std::uint64_t duration_ns,
            std::initializer_list<Arg> args) noexcept {
  if (!on()) return;
  try {
    Record entry{begin_ns, duration_ns, std::string(track), std::string(name), json_args(args)};
    Ring& r = ring();
    std::scoped_lock lock(r.mutex);
    if (r.records.size() >= r.capacity) {
      r.records.pop_front();
      ++r.dropped;
    }
    r.records.push_back(std::move(entry));
  } catch (...) {
    // Out of memory: this record is lost, the program under test is not.
  }
}

}  // namespace

std::uint64_t now_ns() noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(now.tv_nsec);
}

void start(std::size_t capacity) {
  Ring& r = ring();
  std::scoped_lock lock(r.mutex);
  r.records.clear();
  r.capacity = capacity > 0 ? capacity : 1;
  r.dropped = 0;
  detail::enabled.store(true);
}

void stop() noexcept { detail::enabled.store(false); }

void event(std::string_view track, std::string_view name, std::initializer_list<Arg> args) noexcept {
  record(track, name, now_ns(), 0, args);
}

void span(std::string_view track, std::string_view name, std::uint64_t begin_ns,
          std::initializer_list<Arg> args) noexcept {
  const std::uint64_t end = now_ns();
  record(track, name, begin_ns, end > begin_ns ? end - begin_ns : 1, args);
}

Result<> write_chrome_json(const std::string& path) {
  return without_throwing([&]() -> Result<> {
    std::string out = "{\"traceEvents\":[\n";
    const int pid = getpid();
    Ring& r = ring();
    {
      std::scoped_lock lock(r.mutex);
      std::map<std::string, int> threads;  // a track is a "thread" of the trace
      for (const Record& record : r.records) {
        const auto [track, fresh] = threads.try_emplace(record.track, static_cast<int>(threads.size()) + 1);
        if (fresh) {
          out +=
              fmt::format(R"({{"ph":"M","name":"thread_name","pid":{},"tid":{},"args":{{"name":)", pid, track->second);
          append_json_string(out, record.track);
          out += "}},\n";
        }
        out += "{\"name\":";
        append_json_string(out, record.name);
        const double begin_us = static_cast<double>(record.begin_ns) / 1000.0;
        if (record.duration_ns == 0)
          out += fmt::format(R"(,"ph":"i","s":"t","ts":{:.3f})", begin_us);
        else
          out += fmt::format(R"(,"ph":"X","ts":{:.3f},"dur":{:.3f})", begin_us,
                             static_cast<double>(record.duration_ns) / 1000.0);
        out += fmt::format(",\"pid\":{},\"tid\":{},\"args\":{{{}}}}},\n", pid, track->second, record.args);
      }
      out += fmt::format(R"({{"ph":"M","name":"process_labels","pid":{},"args":{{"labels":"dropped {}"}}}})", pid,
                         r.dropped);
    }
    out += "\n]}\n";
    std::FILE* file = std::fopen(path.c_str(), "we");
    if (file == nullptr) return fail(EIO, "the trace file cannot be opened");
    const bool written = std::fwrite(out.data(), 1, out.size(), file) == out.size();
    if (std::fclose(file) != 0 || !written) return fail(EIO, "the trace file cannot be written");
    return {};
  });
}

}  // namespace softiommu::trace
