// SPDX-License-Identifier: BSD-3-Clause
// Machine files with random damage: each is read or refused with file:line:column and a sentence, and what is read can
// be built.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <string>
#include <vector>

#include "fuzz_run.h"
#include "machine/machine.h"
#include "machine/spec.h"

namespace softiommu::test {
namespace {

using namespace std::chrono_literals;

std::vector<std::string> machine_files() {
  std::vector<std::string> texts{std::string(default_machine_toml())};
  for (const auto& entry : std::filesystem::directory_iterator(SOFTIOMMU_SOURCE_DIR "/machines")) {
    std::ifstream file(entry.path());
    texts.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return texts;
}

constexpr std::array<std::string_view, 24> kPieces{"[[device]]\n",
                                                   "[[iommu]]\n",
                                                   "[[bridge]]\n",
                                                   "[machine]\n",
                                                   "=",
                                                   "\"",
                                                   "[",
                                                   "]",
                                                   "{",
                                                   "}",
                                                   "\n",
                                                   "-1",
                                                   "0xffffffffffffffff",
                                                   "99999999999999999999",
                                                   "1e400",
                                                   "nan",
                                                   "true",
                                                   "''",
                                                   "\"0000:00:1f.7\"",
                                                   "\\u0000",
                                                   "\xc3\x28",
                                                   "model = \"edu\"\n",
                                                   "bus = 0\n",
                                                   "iommu = \"none\"\n"};

void damage(std::string& text, Choice& choice) {
  const std::size_t at = choice.below(text.size() + 1);
  const std::size_t length = std::min<std::size_t>(choice.below(20), text.size() - at);
  switch (choice.below(6)) {
    case 0:
      text.erase(at, length);
      break;
    case 1:
      text.insert(at, choice.of(kPieces));
      break;
    case 2:
      if (at < text.size()) text[at] = static_cast<char>(choice.any());
      break;
    case 3:
      text.insert(choice.below(text.size() + 1), text.substr(at, choice.below(200)));
      break;
    case 4:
      if (at < text.size()) text[at] = static_cast<char>('0' + choice.below(10));
      break;
    default:
      text.resize(at);
      break;
  }
}

TEST(HostileMachineFile, IsReadOrRefusedWithItsPlace) {
  Choice choice(fuzz_seed());
  const auto texts = machine_files();
  const std::regex place("hostile\\.toml:[0-9]+:[0-9]+");
  const auto end = std::chrono::steady_clock::now() + fuzz_seconds(2s);
  for (unsigned read = 0, refused = 0; std::chrono::steady_clock::now() < end || refused == 0 || read == 0;) {
    std::string text = texts[choice.below(texts.size())];
    for (std::uint64_t count = choice.below(4); count != 0; --count) damage(text, choice);
    const auto spec = parse_machine(text, "hostile.toml");
    if (!spec) {
      ++refused;
      ASSERT_TRUE(std::regex_match(spec.error().where, place)) << spec.error().where << "\n" << text;
      ASSERT_FALSE(spec.error().what.empty()) << text;
      continue;
    }
    if (++read % 16 != 1) continue;
    MachineOptions options;
    options.time = Executor::Time::virtual_time;
    const auto machine = Machine::create(*spec, options);
    ASSERT_TRUE(machine || machine.error().code == ENOMEM) << machine.error().why << "\n" << text;
  }
}

}  // namespace
}  // namespace softiommu::test
