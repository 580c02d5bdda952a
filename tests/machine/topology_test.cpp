// SPDX-License-Identifier: BSD-3-Clause
#include "machine/topology.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace softiommu {
namespace {

using Kind = BridgeSpec::Kind;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Bdf at(std::string_view text) { return *Bdf::parse(text); }

class TopologyTest : public ::testing::Test {
 protected:
  BridgeSpec& bridge(std::string_view bdf, Kind kind, std::uint8_t bus, bool acs = true) {
    return spec_.bridges.emplace_back(BridgeSpec{at(bdf), kind, bus, acs, {}});
  }
  FunctionSpec& device(std::string_view bdf) {
    return spec_.functions.emplace_back(FunctionSpec{at(bdf), "test-device", {}, Options({}), {}, true});
  }
  const FunctionSpec& function(std::string_view bdf) const {
    return *std::ranges::find(spec_.functions, at(bdf), &FunctionSpec::bdf);
  }
  Topology topology() const { return Topology(spec_); }
  // Each group as its addresses, e.g. "0000:00:01.0 0000:00:02.0".
  std::vector<std::string> groups() const {
    std::vector<std::string> texts;
    for (const IsolationGroup& group : topology().isolation_groups()) {
      std::string text;
      for (const std::size_t i : group.functions) text += (text.empty() ? "" : " ") + spec_.functions[i].bdf.text();
      texts.push_back(text);
    }
    return texts;
  }
  IsolationGroup only_group() const { return topology().isolation_groups().at(0); }

  MachineSpec spec_;
};

TEST_F(TopologyTest, DevicesOnTheRootBusAreAlone) {
  device("00:02.0");
  device("00:01.0");
  EXPECT_THAT(groups(), ElementsAre("0000:00:01.0", "0000:00:02.0"));
  EXPECT_EQ(only_group().reason, "alone");
}

TEST_F(TopologyTest, ABridgeWithAcsKeepsItsDeviceApart) {
  bridge("00:1c.0", Kind::root_port, 1);
  device("01:00.0");
  device("00:01.0");
  EXPECT_THAT(groups(), ElementsAre("0000:00:01.0", "0000:01:00.0"));
  EXPECT_THAT(topology().isolation_groups().at(1).bridges, IsEmpty());
}

TEST_F(TopologyTest, ARootPortWithoutAcsJoinsAllBelowItAndItself) {
  bridge("00:1c.0", Kind::root_port, 1, false);
  bridge("01:00.0", Kind::switch_upstream, 2);
  bridge("02:00.0", Kind::switch_downstream, 3);
  bridge("02:01.0", Kind::switch_downstream, 4);
  device("03:00.0");
  device("04:00.0");
  EXPECT_THAT(groups(), ElementsAre("0000:03:00.0 0000:04:00.0"));
  EXPECT_THAT(only_group().reason, AllOf(HasSubstr("0000:00:1c.0"), HasSubstr("root port without ACS")));
  EXPECT_THAT(only_group().bridges, ElementsAre(at("00:1c.0"), at("01:00.0"), at("02:00.0"), at("02:01.0")));
}

TEST_F(TopologyTest, ADownstreamPortWithoutAcsHoldsOnlyWhatIsBelowIt) {
  bridge("00:1c.0", Kind::root_port, 1);
  bridge("01:00.0", Kind::switch_upstream, 2);
  bridge("02:00.0", Kind::switch_downstream, 3, false);
  bridge("02:01.0", Kind::switch_downstream, 4);
  device("03:00.0");
  device("03:00.1");
  device("04:00.0");
  EXPECT_THAT(groups(), ElementsAre("0000:03:00.0 0000:03:00.1", "0000:04:00.0"));
  EXPECT_THAT(only_group().reason, HasSubstr("0000:02:00.0, a switch downstream port without ACS"));
}

TEST_F(TopologyTest, DownstreamPortsThatAreFunctionsOfOneDeviceWithoutAcsJoinTheirBuses) {
  bridge("00:1c.0", Kind::root_port, 1);
  bridge("01:00.0", Kind::switch_upstream, 2);
  bridge("02:00.0", Kind::switch_downstream, 3, false);
  bridge("02:00.1", Kind::switch_downstream, 4, false);
  device("03:00.0");
  device("04:00.0");
  EXPECT_THAT(groups(), ElementsAre("0000:03:00.0 0000:04:00.0"));
  EXPECT_THAT(only_group().reason, HasSubstr("0000:02:00, a multifunction device without ACS"));
}

TEST_F(TopologyTest, AnUpstreamPortOwesNoAcs) {
  bridge("00:1c.0", Kind::root_port, 1);
  bridge("01:00.0", Kind::switch_upstream, 2, false);
  bridge("02:00.0", Kind::switch_downstream, 3);
  bridge("02:01.0", Kind::switch_downstream, 4);
  device("03:00.0");
  device("04:00.0");
  EXPECT_THAT(groups(), ElementsAre("0000:03:00.0", "0000:04:00.0"));
}

TEST_F(TopologyTest, APcieToPciBridgeJoinsAllBelowItUnderOneId) {
  bridge("00:1c.0", Kind::root_port, 1);
  bridge("01:00.0", Kind::pcie_to_pci, 2);
  device("02:03.0");
  device("02:04.0");
  EXPECT_THAT(groups(), ElementsAre("0000:02:03.0 0000:02:04.0"));
  EXPECT_THAT(only_group().reason, AllOf(HasSubstr("0000:01:00.0, a PCIe-to-PCI bridge"), HasSubstr("0000:02:00.0")));
  EXPECT_THAT(topology().stream_ids(function("02:03.0")), ElementsAre(0x0218, 0x0200));
  EXPECT_EQ(topology().requester(function("02:03.0")), 0x0200);
}

TEST_F(TopologyTest, FunctionsWithoutAcsAreTogetherAndThoseWithAreNot) {
  device("00:05.0").acs = false;
  device("00:05.1").acs = true;
  device("00:05.2").acs = false;
  EXPECT_THAT(groups(), ElementsAre("0000:00:05.0 0000:00:05.2", "0000:00:05.1"));
  EXPECT_THAT(only_group().reason, HasSubstr("functions of 0000:00:05, a multifunction device without ACS"));
}

TEST_F(TopologyTest, MissingAcsDoesNotJoinDifferentDevices) {
  device("00:05.0").acs = false;
  device("00:06.0").acs = false;
  EXPECT_THAT(groups(), ElementsAre("0000:00:05.0", "0000:00:06.0"));
}

TEST_F(TopologyTest, ADmaAliasJoinsTheFunctionWhoseNumberIsUsed) {
  device("00:07.0").dma_alias_devfns = {8 << 3};
  device("00:08.0");
  EXPECT_THAT(groups(), ElementsAre("0000:00:07.0 0000:00:08.0"));
  EXPECT_THAT(only_group().reason, HasSubstr("0000:00:07.0 also sends as 0000:00:08.0"));
  EXPECT_THAT(topology().stream_ids(function("00:07.0")), ElementsAre(0x0038, 0x0040));
}

TEST_F(TopologyTest, AnAliasThatNobodyHasIsOnlyAnId) {
  device("00:07.0").dma_alias_devfns = {7 << 3 | 1};
  EXPECT_EQ(only_group().reason, "alone");
  EXPECT_THAT(topology().stream_ids(function("00:07.0")), ElementsAre(0x0038, 0x0039));
  EXPECT_EQ(topology().requester(function("00:07.0")), 0x0038);
}

TEST_F(TopologyTest, RulesChainIntoOneGroupThatNamesEachReason) {
  device("00:05.0").acs = false;
  device("00:05.1").acs = false;
  device("00:06.0").dma_alias_devfns = {5 << 3 | 1};
  EXPECT_THAT(groups(), ElementsAre("0000:00:05.0 0000:00:05.1 0000:00:06.0"));
  EXPECT_THAT(only_group().reason, AllOf(HasSubstr("multifunction"), HasSubstr("; "), HasSubstr("dma_aliases")));
}

TEST_F(TopologyTest, SegmentsAreApart) {
  device("0000:00:05.0").acs = false;
  device("0001:00:05.0").acs = false;
  bridge("0000:00:1c.0", Kind::root_port, 1, false);
  device("0001:01:00.0");
  EXPECT_EQ(groups().size(), 3u);
  EXPECT_EQ(topology().bridge_above(at("0001:01:00.0")), nullptr);
}

TEST_F(TopologyTest, ADeviceWithoutAChoiceIsBehindTheIommuOfTheBridgeAbove) {
  spec_.units = {{"first", "", Options({})}, {"second", "", Options({})}};
  bridge("00:1c.0", Kind::root_port, 1).unit = "second";
  device("00:01.0");
  device("01:00.0");
  device("00:02.0").unit = "none";
  EXPECT_EQ(topology().unit_of(function("00:01.0")), "first");
  EXPECT_EQ(topology().unit_of(function("01:00.0")), "second");
  EXPECT_EQ(topology().unit_of(function("00:02.0")), "");
}

TEST_F(TopologyTest, ABridgeForwardsUpToTheHighestBusBelowIt) {
  bridge("00:1c.0", Kind::root_port, 1);
  bridge("01:00.0", Kind::switch_upstream, 2);
  bridge("02:00.0", Kind::switch_downstream, 5);
  EXPECT_EQ(topology().subordinate_bus(spec_.bridges[0]), 5);
  EXPECT_EQ(topology().subordinate_bus(spec_.bridges[2]), 5);
}

}  // namespace
}  // namespace softiommu
