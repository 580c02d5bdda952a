// SPDX-License-Identifier: BSD-3-Clause
#include "machine/spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "fake_hardware.h"
#include "machine/machine.h"

namespace softiommu {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

const std::filesystem::path kSource = SOFTIOMMU_SOURCE_DIR;

std::expected<MachineSpec, SpecError> parse(std::string_view toml) {
  static const UnitModel units[] = {test::unit_model()};
  static const DeviceModel devices[] = {test::device_model()};
  return parse_machine(toml, "m.toml", units, devices);
}

MachineSpec good(std::string_view toml) {
  auto spec = parse(toml);
  if (spec) return *std::move(spec);
  ADD_FAILURE() << spec.error().where << ": " << spec.error().what;
  return {};
}

// "m.toml:2:1: what is wrong", or "accepted".
std::string complaint(std::string_view toml) {
  const auto spec = parse(toml);
  return spec ? "accepted" : spec.error().where + ": " + spec.error().what;
}

std::string read_file(const std::filesystem::path& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

constexpr std::string_view kUnit = "[[iommu]]\nname = 'a'\nmodel = 'test-iommu'\n";
std::string with_unit(std::string_view rest) {
  return std::string(kUnit) + std::string(rest);
}  // rest begins on line 4
std::string device(std::string_view address, std::string_view more = "") {
  return "[[device]]\naddress = '" + std::string(address) + "'\nmodel = 'test-device'\n" + std::string(more) + "\n";
}
std::string bridge(std::string_view address, std::string_view kind, int bus, std::string_view more = "") {
  return "[[bridge]]\naddress = '" + std::string(address) + "'\nkind = '" + std::string(kind) +
         "'\nbus = " + std::to_string(bus) + "\n" + std::string(more) + "\n";
}

TEST(MachineFile, AnEmptyFileIsAMachineWithTheDefaults) {
  const MachineSpec spec = good("");
  EXPECT_EQ(spec.memory.top, MemorySpec{}.top);
  EXPECT_TRUE(spec.isolated_msi);
  EXPECT_TRUE(spec.cache_coherent);
  EXPECT_EQ(spec.device_latency_ns, 100'000u);
  EXPECT_TRUE(spec.units.empty() && spec.functions.empty());
}

TEST(MachineFile, MachineAndMemoryKeysArriveInTheSpec) {
  const MachineSpec spec = good(
      "[machine]\nname = 'odd'\nisolated_msi = false\ncache_coherent = false\ndevice_latency_us = 5\n"
      "[memory]\ntop = '64G'\ntable_arena = 268435456\nfragmented = true\n");
  EXPECT_EQ(spec.name, "odd");
  EXPECT_FALSE(spec.isolated_msi);
  EXPECT_FALSE(spec.cache_coherent);
  EXPECT_EQ(spec.device_latency_ns, 5'000u);
  EXPECT_EQ(spec.memory.top, 64 * kGiB);
  EXPECT_EQ(spec.memory.table_arena, 256 * kMiB);
  EXPECT_TRUE(spec.memory.fragmented);
}

TEST(MachineFile, IsAsciiOutsideOfCommentLines) {
  EXPECT_TRUE(parse_machine("# caf\xc3\xa9\n[machine]\nname = 'x'\n", "file"));
  const auto refused = parse_machine("[machine]\nname = 'caf\xc3\xa9'\n", "file");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().where, "file:2:12");
}

TEST(MachineFile, AHeaderThatBeginsWithNoKeyIsAnError) {
  EXPECT_THAT(complaint("[=]\n"), StartsWith("m.toml:1:2: "));
  EXPECT_THAT(complaint("\n[[{]]\n"), StartsWith("m.toml:2:3: "));
}

TEST(MachineFile, EveryKindOfModelOptionIsRead) {
  const Options options =
      good(with_unit("width = 48\nsnoop = true\nwindow = '64K'\nlevels = [3, 5]\nstage = 'both'\nlabel = 'x'\n"))
          .units.at(0)
          .options;
  EXPECT_EQ(options["width"], 48u);
  EXPECT_TRUE(options.flag("snoop"));
  EXPECT_EQ(options["window"], 64 * kKiB);
  EXPECT_EQ(options["levels"], 1u << 3 | 1u << 5);
  EXPECT_EQ(options["stage"], 2u);
  EXPECT_EQ(options.text("label"), "x");
}

TEST(MachineFile, AbsentModelOptionsHaveTheirFallback) {
  const Options options = good(kUnit).units.at(0).options;
  EXPECT_EQ(options["width"], 39u);
  EXPECT_EQ(options["levels"], 0b1100u);
  EXPECT_EQ(options.text("label"), "plain");
}

TEST(MachineFile, AChoiceThatIsANumberMayBeWrittenAsOne) {
  EXPECT_EQ(good(with_unit("stage = 1\n")).units.at(0).options["stage"], 0u);
  EXPECT_EQ(good(with_unit("stage = '1'\n")).units.at(0).options["stage"], 0u);
  EXPECT_THAT(complaint(with_unit("stage = 3\n")), StartsWith("m.toml:4:9: stage cannot be \"3\""));
}

TEST(MachineFile, BridgesAndDevicesArriveInTheSpec) {
  const MachineSpec spec = good(
      with_unit(bridge("00:1c.0", "root-port", 1, "acs = false\niommu = 'a'") +
                device("0000:01:00.0", "queues = 4\nacs = false\ndma_aliases = ['00.1', '1f.7']\niommu = 'none'")));
  EXPECT_EQ(spec.bridges.at(0).secondary_bus, 1);
  EXPECT_FALSE(spec.bridges.at(0).acs);
  EXPECT_EQ(spec.bridges.at(0).unit, "a");
  const FunctionSpec& function = spec.functions.at(0);
  EXPECT_EQ(function.bdf.text(), "0000:01:00.0");
  EXPECT_EQ(function.options["queues"], 4u);
  EXPECT_EQ(function.unit, "none");
  EXPECT_FALSE(function.acs);
  EXPECT_THAT(function.dma_alias_devfns, ElementsAre(0x01, 0xff));
}

// Syntax and keys

TEST(MachineFileErrors, BadSyntaxIsShownWhereItIs) {
  EXPECT_THAT(complaint("[machine]\nname = \n"), StartsWith("m.toml:2:"));
}

TEST(MachineFileErrors, AKeyWrittenTwiceIsShown) {
  EXPECT_THAT(complaint("[machine]\nname = 'a'\nname = 'b'\n"), StartsWith("m.toml:3:"));
}

TEST(MachineFileErrors, AnUnknownSectionNamesTheNearest) {
  EXPECT_EQ(complaint("[[devise]]\n"), "m.toml:1:3: there is no section \"devise\"; did you mean \"device\"?");
}

TEST(MachineFileErrors, AnUnknownKeyNamesTheNearest) {
  EXPECT_EQ(complaint("[machine]\nisolated_msl = true\n"),
            "m.toml:2:1: [machine] has no key \"isolated_msl\"; did you mean \"isolated_msi\"?");
}

TEST(MachineFileErrors, AKeyLikeNoOtherGetsTheWholeList) {
  EXPECT_EQ(complaint("[memory]\nnumber_of_dimms = 2\n"),
            "m.toml:2:1: [memory] has no key \"number_of_dimms\"; there are \"top\", \"table_arena\", \"fragmented\"");
}

TEST(MachineFileErrors, AKeyOfAnotherModelIsUnknown) {
  EXPECT_THAT(complaint(with_unit("queues = 1\n")), StartsWith("m.toml:4:1: [[iommu]] has no key \"queues\""));
}

TEST(MachineFileErrors, AMissingKeyIsNamed) {
  EXPECT_EQ(complaint("[[bridge]]\naddress = '00:1c.0'\nkind = 'root-port'\n"),
            "m.toml:1:1: [[bridge]] needs the key bus: an integer, 1 to 255");
}

TEST(MachineFileErrors, AMissingModelListsTheModels) {
  EXPECT_THAT(complaint("[[device]]\naddress = '00:01.0'\n"),
              AllOf(StartsWith("m.toml:1:1: [[device]] needs a model"), HasSubstr("\"edu\"")));
}

TEST(MachineFileErrors, AMisspeltModelKeyIsTheErrorNotItsAbsence) {
  EXPECT_THAT(complaint("[[device]]\nmodle = 'edu'\n"), EndsWith("no key \"modle\"; did you mean \"model\"?"));
}

TEST(MachineFileErrors, AnUnknownModelNamesTheNearest) {
  EXPECT_EQ(complaint("[[iommu]]\nname = 'a'\nmodel = 'intel-vdt'\n"),
            "m.toml:3:9: there is no model \"intel-vdt\"; did you mean \"intel-vtd\"?");
}

TEST(MachineFileErrors, OneBracketWhereTwoBelongIsExplained) {
  EXPECT_THAT(complaint("[iommu]\nname = 'a'\n"), AllOf(StartsWith("m.toml:1:1: "), HasSubstr("[[iommu]]")));
  EXPECT_THAT(complaint("[[machine]]\nname = 'a'\n"), EndsWith("written [machine]"));
  EXPECT_THAT(complaint("bridge = [1]\n"), AllOf(StartsWith("m.toml:1:11: "), HasSubstr("[[bridge]]")));
}

// Values

TEST(MachineFileErrors, AWrongTypeSaysWhatTheKeyTakes) {
  EXPECT_EQ(complaint("[machine]\nisolated_msi = 'yes'\n"),
            "m.toml:2:16: isolated_msi takes true or false, not a string");
  EXPECT_THAT(complaint("[machine]\nname = 3\n"), EndsWith("name takes a string, not an integer"));
  EXPECT_THAT(complaint("[machine]\ndevice_latency_us = 1.5\n"), EndsWith("not a fraction"));
  EXPECT_THAT(complaint("[machine]\ndevice_latency_us = 2024-01-01\n"), EndsWith("not a date or time"));
  EXPECT_THAT(complaint(with_unit("levels = 3\n")),
              EndsWith("levels takes a list of integers, each 2 to 5, not an integer"));
  EXPECT_THAT(complaint(with_unit("stage = true\n")), EndsWith("stage takes one of 1, 2, \"both\", not true or false"));
}

TEST(MachineFileErrors, ANumberOutOfRangeShowsTheRange) {
  EXPECT_EQ(complaint(with_unit("width = 64\n")), "m.toml:4:9: width takes an integer, 30 to 57, not 64");
  EXPECT_EQ(complaint(with_unit("width = -1\n")), "m.toml:4:9: width takes an integer, 30 to 57, not -1");
  EXPECT_EQ(complaint(with_unit("levels = [3, 6]\n")),
            "m.toml:4:14: levels takes a list of integers, each 2 to 5, not 6");
}

TEST(MachineFileErrors, ASizeOutOfRangeOrUnreadableShowsWhatASizeIs) {
  EXPECT_EQ(complaint(with_unit("window = '2G'\n")),
            "m.toml:4:10: window takes a size, \"4K\" to \"1G\" (or a number of bytes), not 2G");
  EXPECT_THAT(complaint(with_unit("window = '2X'\n")),
              EndsWith("not \"2X\": write digits and then nothing, K, M, G or T"));
  EXPECT_THAT(complaint(with_unit("window = '99999999999P'\n")), HasSubstr("takes a size"));
  EXPECT_THAT(complaint(with_unit("window = ''\n")), HasSubstr("takes a size"));
}

TEST(MachineFileErrors, AListWithChoicesShowsThem) {
  EXPECT_EQ(complaint(with_unit("pages = [12, 13]\n")),
            "m.toml:4:14: pages takes a list of integers out of 12, 14, 16, not 13");
}

TEST(MachineFileErrors, WhatAModelRefusesIsShownAtItsKey) {
  EXPECT_EQ(complaint(with_unit("snoop = true\nwidth = 31\n")), "m.toml:5:9: width: must not be 31");
}

TEST(MachineFileErrors, AnUnknownChoiceNamesTheNearest) {
  EXPECT_EQ(complaint(bridge("00:1c.0", "rootport", 1)),
            "m.toml:3:8: kind cannot be \"rootport\"; did you mean \"root-port\"?");
}

TEST(MachineFileErrors, ABadAddressShowsAGoodOne) {
  for (const char* bad : {"", "00:20.0", "00:01.8", "zz:01.0", "00:01", "0000:00:01.0x", "1:2:3:4.0"})
    EXPECT_THAT(complaint(device(bad)),
                AllOf(StartsWith("m.toml:2:11: "), HasSubstr("is no PCI address"), HasSubstr("\"0000:00:1c.0\"")))
        << bad;
}

TEST(MachineFileErrors, ABadAliasShowsAGoodOne) {
  for (const char* bad : {"1.0", "20.0", "00:05.1", "05.8", ""})
    EXPECT_THAT(complaint(device("00:01.0", "dma_aliases = ['02.0', '" + std::string(bad) + "']")),
                AllOf(StartsWith("m.toml:4:24: "), HasSubstr("is no alias")))
        << bad;
}

// Names, addresses, buses

TEST(MachineFileErrors, ANameIsUniqueAndAWord) {
  EXPECT_EQ(complaint(with_unit(kUnit)), "m.toml:5:8: there is an IOMMU \"a\" already: names are unique");
  EXPECT_THAT(complaint("[[iommu]]\nname = 'none'\nmodel = 'test-iommu'\n"),
              StartsWith("m.toml:2:8: an IOMMU cannot be called \"none\""));
  EXPECT_THAT(complaint("[[iommu]]\nname = 'a b'\nmodel = 'test-iommu'\n"), HasSubstr("is no name for an IOMMU"));
}

TEST(MachineFileErrors, AnUnknownIommuNamesTheNearest) {
  EXPECT_EQ(complaint("[[iommu]]\nname = 'dmar0'\nmodel = 'test-iommu'\n" + device("00:01.0", "iommu = 'dmar1'")),
            "m.toml:7:9: there is no IOMMU \"dmar1\"; did you mean \"dmar0\"?");
  EXPECT_THAT(complaint(bridge("00:1c.0", "root-port", 1, "iommu = 'x'")),
              StartsWith("m.toml:5:9: there is no IOMMU \"x\""));
}

TEST(MachineFileErrors, AnAddressIsUniqueAmongDevicesAndBridges) {
  EXPECT_EQ(complaint(device("00:01.0") + device("0000:00:01.0")),
            "m.toml:6:11: something is at 0000:00:01.0 already: addresses are unique");
  EXPECT_THAT(complaint(bridge("00:1c.0", "root-port", 1) + device("00:1c.0")),
              StartsWith("m.toml:7:11: something is at 0000:00:1c.0"));
}

TEST(MachineFileErrors, ABusThatNoBridgeMakesIsShown) {
  EXPECT_EQ(complaint(device("10:00.0")),
            "m.toml:2:11: 0000:10:00.0 is on bus 16 (0x10), which no bridge makes: add a [[bridge]] with bus = 16, or "
            "use bus 00");
  EXPECT_THAT(complaint(bridge("05:00.0", "switch-upstream", 6)), HasSubstr("which no bridge makes"));
}

TEST(MachineFileErrors, BusNumbersGrowDownwardsAndAreUnique) {
  EXPECT_THAT(complaint(bridge("00:1c.0", "root-port", 3) + bridge("03:00.0", "switch-upstream", 2)),
              AllOf(StartsWith("m.toml:9:7: bus 2 is not above"), EndsWith("use 4 to 255")));
  EXPECT_THAT(complaint(bridge("00:1c.0", "root-port", 1) + bridge("00:1d.0", "root-port", 1)),
              StartsWith("m.toml:9:7: bus 1 is made by 0000:00:1c.0 already"));
}

TEST(MachineFileErrors, BusRangesOfNeighboursDoNotOverlap) {
  EXPECT_THAT(
      complaint(bridge("00:1c.0", "root-port", 1) + bridge("00:1d.0", "root-port", 2) +
                bridge("01:00.0", "switch-upstream", 3)),
      AllOf(StartsWith("m.toml:4:7: 0000:00:1c.0 forwards buses 1 to 3, but bus 2"), HasSubstr("0000:00:1d.0")));
}

TEST(MachineFileErrors, EachKindOfBridgeHasItsPlace) {
  EXPECT_THAT(complaint(bridge("00:1c.0", "switch-upstream", 1)),
              AllOf(StartsWith("m.toml:3:8: "), HasSubstr("on a root bus")));
  EXPECT_THAT(complaint(bridge("00:1c.0", "switch-downstream", 1)), HasSubstr("cannot be at 0000:00:1c.0"));
  const std::string port = bridge("00:1c.0", "root-port", 1);
  EXPECT_THAT(complaint(port + bridge("01:00.0", "root-port", 2)), EndsWith("root ports are on bus 00"));
  EXPECT_THAT(complaint(port + bridge("01:00.0", "switch-downstream", 2)),
              HasSubstr("below 0000:00:1c.0, a root port"));
  EXPECT_THAT(complaint(port + bridge("01:00.0", "switch-upstream", 2) + bridge("02:00.0", "pcie-to-pci", 3)),
              HasSubstr("a PCIe-to-PCI bridge cannot be at 0000:02:00.0"));
  EXPECT_EQ(complaint(port + bridge("01:00.0", "switch-upstream", 2) + bridge("02:05.0", "switch-downstream", 3)),
            "accepted");
}

TEST(MachineFileErrors, ADeviceIsNotInsideASwitch) {
  EXPECT_THAT(
      complaint(bridge("00:1c.0", "root-port", 1) + bridge("01:00.0", "switch-upstream", 2) + device("02:00.0")),
      HasSubstr("bus 2 is inside the switch at 0000:01:00.0"));
}

TEST(MachineFileErrors, AnExpressLinkHasOneDevice) {
  EXPECT_THAT(complaint(bridge("00:1c.0", "root-port", 1) + device("01:02.0")),
              EndsWith("is a PCI Express link with one device: its number is 00, not 02"));
  EXPECT_EQ(complaint(bridge("00:1c.0", "pcie-to-pci", 1) + device("01:02.0")), "accepted");
}

TEST(MachineFileErrors, AMultifunctionDeviceHasFunctionZero) {
  EXPECT_THAT(complaint(device("00:01.1")), AllOf(StartsWith("m.toml:2:11: "), EndsWith("add 0000:00:01.0")));
  EXPECT_EQ(complaint(device("00:01.1") + device("00:01.0")), "accepted");
}

TEST(MachineFileErrors, APcieToPciBridgeHasNoAcs) {
  EXPECT_THAT(complaint(bridge("00:1c.0", "pcie-to-pci", 1, "acs = true")),
              StartsWith("m.toml:5:7: a PCIe-to-PCI bridge has no ACS"));
}

TEST(MachineFileErrors, AnIsolationSetHasOneKindOfIommu) {
  const std::string behind = bridge("00:1c.0", "pcie-to-pci", 1) + device("01:01.0", "iommu = 'a'");
  EXPECT_THAT(complaint(with_unit(behind + device("01:02.0", "iommu = 'none'"))),
              AllOf(StartsWith("m.toml:16:9: 0000:01:02.0 is behind no IOMMU"),
                    HasSubstr("0000:01:01.0, which is behind \"a\" (test-iommu)")));
  EXPECT_EQ(complaint(with_unit(behind + device("01:02.0"))), "accepted");
}

TEST(MachineFileErrors, AnIommuServesOneSegment) {
  EXPECT_THAT(complaint(with_unit(device("0000:00:01.0") + device("0001:00:01.0"))),
              EndsWith("which serves segment 0000: give each segment an IOMMU of its own"));
}

TEST(MachineFileErrors, TheTableArenaFitsIntoMemory) {
  EXPECT_THAT(complaint("[memory]\ntop = '8G'\ntable_arena = '8G'\n"),
              StartsWith("m.toml:3:15: table_arena must be smaller than top (8G)"));
}

// Files

TEST(MachineFiles, AFileThatCannotBeReadSaysWhy) {
  EXPECT_EQ(load_machine("/no/such/file").error().where, "/no/such/file");
  EXPECT_THAT(load_machine("/no/such/file").error().what, HasSubstr("No such file"));
  EXPECT_THAT(load_machine("/").error().what, HasSubstr("cannot be read: "));
}

TEST(MachineFiles, AnEndlessFileIsRefused) {
  EXPECT_THAT(load_machine("/dev/zero").error().what, HasSubstr("larger than 1M"));
}

TEST(MachineFiles, TheDefaultMachineIsAMachine) {
  const auto spec = parse_machine(default_machine_toml(), "default");
  ASSERT_TRUE(spec) << spec.error().where << ": " << spec.error().what;
  EXPECT_EQ(spec->units.size(), 1u);
  EXPECT_EQ(spec->functions.size(), 5u);
}

class ShippedMachine : public ::testing::TestWithParam<const char*> {};

TEST_P(ShippedMachine, IsAMachineThatCanBeBuilt) {
  const auto spec = load_machine(kSource / "machines" / GetParam());
  ASSERT_TRUE(spec) << spec.error().where << ": " << spec.error().what;
  const auto machine = Machine::create(*spec, {.time = Executor::Time::virtual_time});
  ASSERT_TRUE(machine) << machine.error().why;
  EXPECT_EQ((*machine)->functions().size(), spec->functions.size());
}

INSTANTIATE_TEST_SUITE_P(All, ShippedMachine,
                         ::testing::Values("two-vtd-sharing.toml", "intel-scalable.toml", "two-vtd-different.toml",
                                           "smmuv3.toml", "arm-server-smmuv2.toml", "virtio-guest.toml", "mixed.toml",
                                           "no-msi-isolation.toml", "groups.toml"));

// UPDATE_DOCS=1 rewrites the file first.
TEST(MachineFileDocs, ListExactlyTheKeysThatTheParserKnows) {
  constexpr std::string_view kBegin = "<!-- reference begin -->\n", kEnd = "<!-- reference end -->\n";
  const std::filesystem::path path = kSource / "docs/machine-file.md";
  const std::string page = read_file(path);
  const std::size_t begin = page.find(kBegin), end = page.find(kEnd);
  ASSERT_TRUE(begin != std::string::npos && end != std::string::npos);
  const std::string wanted =
      page.substr(0, begin + kBegin.size()) + std::string(machine_file_reference()) + page.substr(end);
  if (std::getenv("UPDATE_DOCS")) std::ofstream(path) << wanted;
  EXPECT_EQ(read_file(path), wanted) << "run this test once with UPDATE_DOCS=1";
}

}  // namespace
}  // namespace softiommu
