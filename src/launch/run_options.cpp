// SPDX-License-Identifier: BSD-3-Clause
#include "launch/run_options.h"

#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <string_view>

namespace softiommu::launch {
namespace {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using OwnedFile = std::unique_ptr<std::FILE, CloseFile>;

struct Flag {
  std::string_view key;
  bool RunOptions::* value;
};
constexpr Flag kFlags[] = {
    {"allow_unsafe_interrupts", &RunOptions::allow_unsafe_interrupts},
    {"paranoid", &RunOptions::paranoid},
    {"linux_rules", &RunOptions::linux_rules},
    {"explain", &RunOptions::explain},
    {"trace", &RunOptions::trace},
    {"selftest", &RunOptions::selftest},
};
struct Text {
  std::string_view key;
  std::string RunOptions::* value;
};
constexpr Text kTexts[] = {{"machine_name", &RunOptions::machine_name},
                           {"memlock", &RunOptions::memlock},
                           {"fail", &RunOptions::fail},
                           {"dma_sanitizer", &RunOptions::dma_sanitizer}};

}  // namespace

Result<> write_text(const std::string& path, const std::string& text) {
  const OwnedFile file(std::fopen(path.c_str(), "we"));
  if (!file) return fail(errno, "a file of the run cannot be created");
  if (std::fwrite(text.data(), 1, text.size(), file.get()) != text.size() || std::fflush(file.get()) != 0) {
    return fail(EIO, "a file of the run cannot be written");
  }
  return {};
}

Result<std::string> read_text(const std::string& path) {
  const OwnedFile file(std::fopen(path.c_str(), "re"));
  if (!file) return fail(errno, "a file of the run cannot be opened");
  constexpr std::size_t kMostBytes = std::size_t{64} << 20;  // an endless file is none of ours
  std::string text;
  char part[4096];
  for (std::size_t got; (got = std::fread(part, 1, sizeof part, file.get())) > 0;) {
    text.append(part, got);
    if (text.size() > kMostBytes) return fail(EFBIG, "a file of the run is too large");
  }
  if (std::ferror(file.get()) != 0) return fail(errno, "a file of the run cannot be read");
  return text;
}

Result<> RunOptions::save(const std::string& run_dir) const {
  std::string text;
  for (const Text& row : kTexts) text += fmt::format("{}={}\n", row.key, this->*row.value);
  for (const Flag& row : kFlags) text += fmt::format("{}={}\n", row.key, this->*row.value ? 1 : 0);
  return write_text(run_dir + "/options", text);
}

Result<RunOptions> RunOptions::load(const std::string& run_dir) {
  const std::string text = TRY(read_text(run_dir + "/options"));
  RunOptions options;
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    const std::size_t equals = line.find('=');
    if (equals == std::string_view::npos) continue;
    const std::string_view key = line.substr(0, equals), value = line.substr(equals + 1);
    for (const Text& row : kTexts) {
      if (row.key == key) options.*row.value = value;
    }
    for (const Flag& row : kFlags) {
      if (row.key == key) options.*row.value = value == "1";
    }
  }
  return options;
}

}  // namespace softiommu::launch
