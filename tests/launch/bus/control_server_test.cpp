// SPDX-License-Identifier: BSD-3-Clause
// Who writes, who follows, and when a write is answered.
#include "launch/bus/control_server.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <utility>

#include "bus_fixture.h"

namespace softiommu::launch {
namespace {

using Verb = ControlHead::Verb;
using namespace std::chrono_literals;

const std::string kUnbind = "/sys/bus/pci/drivers/vfio-pci/unbind", kBind = "/sys/bus/pci/drivers/vfio-pci/bind";

// A process that speaks to the server, which is served by the test's own thread.
class Peer {
 public:
  Peer(ControlServer& server, const std::string& run_dir) : server_(server), fd_(*connect_control(run_dir)) {}
  ~Peer() { leave(); }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  void leave() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
    server_.serve_for(5ms);
  }
  void send(Verb verb, std::string_view text = {}, std::uint64_t number = 0, int result = 0) {
    send_control(fd_, {.verb = verb, .result = result, .number = number}, text);
    server_.serve_for(5ms);
  }
  void store(const std::string& file, const std::string& data) { send(Verb::kStore, file + '\0' + data); }
  bool hears_something() {
    server_.serve_for(5ms);
    pollfd entry{fd_, POLLIN, 0};
    return ::poll(&entry, 1, 0) == 1;
  }
  ControlPacket hear() { return hears_something() ? receive_control(fd_).value_or(ControlPacket{}) : ControlPacket{}; }
  int answer() {
    const ControlPacket packet = hear();
    return packet.head.verb == Verb::kAnswer ? packet.head.result : -1000;
  }

 private:
  ControlServer& server_;
  int fd_;
};

class ControlServerTest : public BusFixture {
 protected:
  ControlServerTest() : server_(*ControlServer::create(folder_, *system_)) {}
  std::unique_ptr<ControlServer> server_;
};

TEST_F(ControlServerTest, AWriteIsAnsweredWithItsLengthOrAnErrno) {
  Peer shell(*server_, folder_);
  shell.store(kUnbind, "0000:00:04.0\n");
  EXPECT_EQ(shell.answer(), 13);
  shell.store(kUnbind, "0000:00:04.0\n");
  EXPECT_EQ(shell.answer(), -ENODEV);
}

TEST_F(ControlServerTest, AnEngineHearsWhatWasChangedBeforeItCame) {
  Peer shell(*server_, folder_), engine(*server_, folder_);
  shell.store(kUnbind, "0000:00:04.0");
  EXPECT_EQ(shell.answer(), 12);
  engine.send(Verb::kHello);
  EXPECT_EQ(engine.hear().text, "unbind vfio-pci 0000:00:04.0");
  EXPECT_EQ(engine.hear().head.verb, Verb::kReady);
}

TEST_F(ControlServerTest, WhatWasUndoneIsNotTold) {
  Peer shell(*server_, folder_), engine(*server_, folder_);
  shell.store(kUnbind, "0000:00:04.0");
  shell.store(kBind, "0000:00:04.0");
  shell.store("/sys/devices/pci0000:00/0000:00:04.0/reset", "1");
  engine.send(Verb::kHello);
  EXPECT_EQ(engine.hear().head.verb, Verb::kReady);
}

TEST_F(ControlServerTest, AWriteIsAnsweredWhenEveryEngineHasFollowed) {
  Peer shell(*server_, folder_), first(*server_, folder_), second(*server_, folder_);
  for (Peer* const engine : {&first, &second}) engine->send(Verb::kHello), engine->hear();
  shell.store(kUnbind, "0000:00:04.0");
  first.send(Verb::kAnswer, {}, first.hear().head.number);
  EXPECT_FALSE(shell.hears_something());
  second.send(Verb::kAnswer, {}, second.hear().head.number);
  EXPECT_EQ(shell.answer(), 12);
}

TEST_F(ControlServerTest, AnEngineThatEndsHoldsNobodyUp) {
  Peer shell(*server_, folder_), engine(*server_, folder_);
  engine.send(Verb::kHello), engine.hear();
  shell.store(kUnbind, "0000:00:04.0");
  EXPECT_FALSE(shell.hears_something());
  engine.leave();
  EXPECT_EQ(shell.answer(), 12);
}

TEST_F(ControlServerTest, WritesWaitForTheirTurnButUnplugDoesNot) {
  Peer shell(*server_, folder_), other(*server_, folder_), hand(*server_, folder_), engine(*server_, folder_);
  engine.send(Verb::kHello), engine.hear();
  shell.store(kUnbind, "0000:00:04.0");
  const std::uint64_t held = engine.hear().head.number;
  other.store("/sys/bus/pci/rescan", "1");
  EXPECT_FALSE(engine.hears_something()) << "the rescan waits for the unbind";
  hand.send(Verb::kCommand, "unplug 0000:00:04.0");
  EXPECT_EQ(engine.hear().text, "unplug 0000:00:04.0");
  engine.send(Verb::kAnswer, {}, held);
  EXPECT_EQ(shell.answer(), 12);
}

TEST_F(ControlServerTest, WhatOneEngineCannotFollowIsTakenBack) {
  Peer shell(*server_, folder_), engine(*server_, folder_);
  shell.store("/sys/devices/pci0000:00/0000:00:05.0/driver_override", "nvme");
  EXPECT_EQ(shell.answer(), 4);
  shell.store(kUnbind, "0000:00:05.0");
  EXPECT_EQ(shell.answer(), 12);
  engine.send(Verb::kHello), engine.hear(), engine.hear();
  shell.store("/sys/bus/pci/drivers/nvme/bind", "0000:00:05.0");
  engine.send(Verb::kAnswer, {}, engine.hear().head.number, -EBUSY);
  EXPECT_EQ(shell.answer(), -EBUSY);
  EXPECT_FALSE(fs::exists(view_ + "/sys/bus/pci/drivers/nvme/0000:00:05.0"));
}

TEST_F(ControlServerTest, AWriteThatNobodySawTakesEffectToo) {
  const std::string bdf = "0000:00:05.0";
  const auto write_past_us = [&](const std::string& file, const std::string& text) {
    EXPECT_TRUE(write_text(view_ + file, text));
    server_->serve_for(5ms);
  };
  write_past_us("/sys/bus/pci/devices/" + bdf + "/driver_override", "nvme\n");
  write_past_us(kUnbind, bdf + "\n");
  EXPECT_FALSE(fs::exists(view_ + "/sys/bus/pci/drivers/vfio-pci/" + bdf));
  EXPECT_EQ(read_text(view_ + kUnbind), "") << "the file itself holds nothing";
  write_past_us("/sys/bus/pci/drivers_probe", bdf);
  EXPECT_TRUE(fs::exists(view_ + "/sys/bus/pci/drivers/nvme/" + bdf));
  EXPECT_EQ(read_text(view_ + "/sys/bus/pci/devices/" + bdf + "/driver_override"), "nvme\n");
}

TEST_F(ControlServerTest, WritesThatNobodySawTakeEffectInTheirOrder) {
  const std::string bdf = "0000:00:05.0";
  EXPECT_TRUE(write_text(view_ + "/sys/bus/pci/devices/" + bdf + "/driver_override", "nvme\n"));
  EXPECT_TRUE(write_text(view_ + kUnbind, bdf + "\n"));
  EXPECT_TRUE(write_text(view_ + "/sys/bus/pci/drivers_probe", bdf));
  server_->serve_for(5ms);
  EXPECT_TRUE(fs::exists(view_ + "/sys/bus/pci/drivers/nvme/" + bdf));
}

// The shell's socket has a lower number than the watch: it is heard first.
TEST_F(ControlServerTest, AWriteThatNobodySawIsNotLostBesideAnother) {
  const int gaps[] = {::dup(0), ::dup(0)};
  server_.reset();
  fs::remove(folder_ + "/control");
  const int more_gaps[] = {::dup(0), ::dup(0), ::dup(0)};
  server_ = *ControlServer::create(folder_, *system_);
  for (const int gap : gaps) ::close(gap);
  for (const int gap : more_gaps) ::close(gap);
  Peer shell(*server_, folder_);
  shell.hear();  // it is known
  EXPECT_TRUE(write_text(view_ + kUnbind, "0000:00:05.0\n"));
  shell.store(kUnbind, "0000:00:04.0");
  EXPECT_EQ(shell.answer(), 12);
  EXPECT_FALSE(fs::exists(view_ + "/sys/bus/pci/drivers/vfio-pci/0000:00:05.0"));
}

TEST_F(ControlServerTest, AWriteThatNobodySawAndIsRefusedIsNotShown) {
  const std::string device = view_ + "/sys/bus/pci/devices/0000:00:05.0/";
  const std::pair<const char*, const char*> files[] = {{"numa_node", "-1\n"}, {"enable", "0\n"}, {"msi_bus", "1\n"}};
  for (const auto& [name, shown] : files) {
    EXPECT_TRUE(write_text(device + name, "x\n"));
    server_->serve_for(5ms);
    EXPECT_EQ(read_text(device + name), shown) << name;
  }
}

TEST_F(ControlServerTest, AnEmptyLineThatNobodySawIsAWrite) {
  const std::string file = view_ + "/sys/bus/pci/devices/0000:00:05.0/driver_override";
  EXPECT_TRUE(write_text(file, "\n"));
  server_->serve_for(5ms);
  EXPECT_EQ(read_text(file), "(null)\n");
}

TEST_F(ControlServerTest, TheListNamesEveryFunction) {
  Peer hand(*server_, folder_);
  hand.send(Verb::kCommand, "list");
  const std::string text = hand.hear().text;
  EXPECT_NE(text.find("0000:00:04.0 1234:11e8 vfio-pci, group 0, vfio0, 0 of 4 virtual functions"), std::string::npos)
      << text;
  hand.send(Verb::kCommand, "explode");
  EXPECT_EQ(hand.answer(), -EINVAL);
}

}  // namespace
}  // namespace softiommu::launch
