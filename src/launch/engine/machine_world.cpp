// SPDX-License-Identifier: BSD-3-Clause
// The world of a run: its machine, the subsystem on it, and VFIO's files.
#include <dlfcn.h>
#include <signal.h>
#include <unistd.h>

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <map>
#include <optional>
#include <string_view>
#include <thread>

#include "base/fault.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/trace.h"
#include "core/system.h"
#include "drivers/mock.h"
#include "drivers/registry.h"
#include "launch/claims.h"
#include "launch/dma_sanitizer.h"
#include "launch/engine/fail_nth_file.h"
#include "launch/engine/follower.h"
#include "launch/engine/world.h"
#include "launch/explain.h"
#include "launch/run_options.h"
#include "machine/machine.h"
#include "vfio/pci_control.h"
#include "vfio/vfio.h"

namespace softiommu::launch {
namespace {

constexpr std::string_view kGroupFolder = "/dev/vfio/", kDeviceFiles = "/dev/vfio/devices/vfio";

// The number that follows `prefix` and ends the path.
std::optional<unsigned> number_after(std::string_view prefix, std::string_view path) {
  unsigned number = 0;
  if (!path.starts_with(prefix)) return std::nullopt;
  const char* const end = path.data() + path.size();
  const auto [rest, error] = std::from_chars(path.data() + prefix.size(), end, number);
  return error == std::errc{} && rest == end ? std::optional(number) : std::nullopt;
}

// What --fail list prints of a process.
std::string list_points() {
  std::string text;
  for (const fault::Passed& point : fault::passed())
    text += fmt::format("{:>10} {:>8}  {}\n", point.passes, point.failures, point.point);
  return text;
}

// A finding ends the program as abort() does: its handler of SIGABRT runs on a thread of its own, then nothing saves
// it.
void stop_program() {
  constexpr std::chrono::milliseconds kForTheHandler(500);
  ::kill(::getpid(), SIGABRT);
  std::this_thread::sleep_for(kForTheHandler);
  ::signal(SIGABRT, SIG_DFL);  // this thread is inside: libc's
  ::kill(::getpid(), SIGABRT);
  std::this_thread::sleep_for(kForTheHandler);
  ::kill(::getpid(), SIGKILL);  // blocked by every thread
}

class MachineWorld final : public World {
 public:
  static Result<std::unique_ptr<World>> create(const std::string& run_dir, StackTraces& stacks);

  Result<Opened> open(const std::string& path, Program& program) override;
  Memory* memory() override { return &machine_->memory(); }
  MemoryWatch* memory_watch() override { return sanitizer_.get(); }
  void flush() override;
  void pause() override {
    follower_->pause();
    machine_->executor().stop();
  }
  void resume() override {
    machine_->executor().start();
    follower_->resume();
  }
  void hand_over(pid_t process) override;
  void become_child() override {
    fault::disarm();  // each process has its own points and counts from its own first open
    for (const auto& function : machine_->functions()) function->forget_thread();
    for (const auto& device : machine_->platform_devices()) device->forget_thread();
    machine_->executor().forget_thread();
    follower_->forget();
  }

 private:
  MachineWorld(std::string run_dir, RunOptions options, StackTraces& stacks)
      : run_dir_(std::move(run_dir)), options_(std::move(options)), stacks_(stacks), claims_(run_dir_ + "/claims") {}
  Result<> build();
  void begin_sanitizer();
  void write_findings() const;
  std::string output() const { return run_dir_ + "/out/" + std::to_string(::getpid()); }
  Result<> arm() const;
  template <class Open>
  Result<Opened> claimed(unsigned group, Open&& open_file);
  Result<> hold(unsigned group);
  void let_go(unsigned group);

  std::string run_dir_;
  RunOptions options_;
  StackTraces& stacks_;
  Claims claims_;
  Mutex mutex_;
  std::map<unsigned, unsigned> held_ GUARDED_BY(mutex_);  // group: its open files in this process
  std::unique_ptr<DmaSanitizer> sanitizer_;               // outlives the machine, which it watches
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<System> system_;
  std::unique_ptr<Vfio> vfio_;
  std::unique_ptr<PciControl> control_;
  std::unique_ptr<Follower> follower_;
};

Result<std::unique_ptr<World>> MachineWorld::create(const std::string& run_dir, StackTraces& stacks) {
  std::unique_ptr<MachineWorld> world(new MachineWorld(run_dir, TRY(RunOptions::load(run_dir)), stacks));
  TRY(world->build());
  return world;
}

Result<> MachineWorld::build() {
  if (options_.trace) trace::start();
  const std::string text = TRY(read_text(run_dir_ + "/machine.toml"));
  const auto spec = parse_machine(text, options_.machine_name);
  if (!spec) {
    log::error("{}: {}", spec.error().where, spec.error().what);
    return fail(ENODEV, "the machine file is not valid");
  }
  MachineOptions machine_options;
  machine_options.paranoid = options_.paranoid || options_.sanitizes();
  machine_ = TRY(Machine::create(*spec, machine_options));
  const Rules rules = options_.linux_rules ? Rules::linux7 : Rules::contract;
  system_ = TRY(System::create(*machine_, all_drivers(), {.rules = rules}));
  VfioOptions vfio_options;
  if (options_.selftest) {
    auto mock = std::make_unique<mock::MockDriver>(machine_->memory().tables());
    vfio_options.selftest = mock.get();
    system_->add_driver(std::move(mock));
  }
  vfio_options.memlock = TRY(MemlockLimit::parse(options_.memlock));
  vfio_options.allow_unsafe_interrupts = options_.allow_unsafe_interrupts;
  vfio_ = std::make_unique<Vfio>(*system_, vfio_options);
  control_ = std::make_unique<PciControl>(*system_, *vfio_);
  follower_ = std::make_unique<Follower>(*control_);
  follower_->catch_up(run_dir_);
  system_->journal().clear();  // what the boot attached is not the program's doing
  if (options_.sanitizes()) begin_sanitizer();
  TRY(arm());
  follower_->resume();  // last: its thread makes changes in what was built here
  return {};
}

void MachineWorld::begin_sanitizer() {
  sanitizer_ = std::make_unique<DmaSanitizer>(machine_->memory(), machine_->findings(), stacks_);
  sanitizer_->use_poison(reinterpret_cast<DmaSanitizer::Poisoned>(::dlsym(RTLD_DEFAULT, "__asan_region_is_poisoned")));
  machine_->memory().set_watch(sanitizer_.get());
  system_->journal().on_add([this](const AttachRecord& record) { sanitizer_->attached(record); });
  machine_->findings().on_new([this] {
    write_findings();  // now: a program that dies of its bug writes nothing later
    if (options_.dma_sanitizer != "abort") return;
    flush();
    stop_program();
  });
}

void MachineWorld::write_findings() const {
  std::string text;
  for (const Finding& finding : machine_->findings().counted())
    text += fmt::format("{:>10} x {}\n", finding.count, finding.text.substr(0, finding.text.find('\n')));
  if (!text.empty()) (void)write_text(output() + ".findings", text);
}

// Last, so that nothing of the boot is a point.
Result<> MachineWorld::arm() const {
  std::string_view rest = options_.fail;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(';'), rest.size());
    TRY(fault::add_rule(rest.substr(0, end)));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return {};
}

Result<Opened> MachineWorld::open(const std::string& path, Program& program) {
  if (path == "/dev/vfio/vfio") return Opened{TRY(vfio_->open_container(program)), {}};
  if (const auto thread = FailNthFile::thread_of(path)) {
    if (!options_.fault_injection()) return fail(ENOENT, "the run has no fault injection");
    return Opened{std::make_shared<FailNthFile>(program, *thread), {}};
  }
  if (path == "/dev/iommu") return Opened{TRY(vfio_->open_iommufd(program)), {}};
  if (const auto number = number_after(kDeviceFiles, path)) {
    const auto group = vfio_->group_of(*number);
    if (!group) return fail(ENODEV, "no such device");
    return claimed(*group, [&] { return vfio_->open_device(program, *number); });
  }
  if (const auto group = number_after(kGroupFolder, path))
    return claimed(*group, [&] { return vfio_->open_group(program, *group); });
  return fail(ENODEV, "no such device file");
}

// While a file of a group or of its devices is open here, no other process of the run may open one.
template <class Open>
Result<Opened> MachineWorld::claimed(unsigned group, Open&& open_file) {
  TRY(hold(group));
  auto file = open_file();
  if (!file) {
    let_go(group);
    return std::unexpected(file.error());
  }
  return Opened{std::move(*file), [this, group] { let_go(group); }};
}

Result<> MachineWorld::hold(unsigned group) {
  const MutexLock lock(mutex_);
  if (held_[group] == 0) TRY(claims_.claim(group));
  ++held_[group];
  return {};
}

void MachineWorld::let_go(unsigned group) {
  const MutexLock lock(mutex_);
  if (--held_[group] == 0) claims_.release(group);
}

void MachineWorld::hand_over(pid_t process) {
  const MutexLock lock(mutex_);
  for (const auto& [group, files] : held_) {
    if (files != 0) claims_.hand_over(group, process);
  }
}

void MachineWorld::flush() {
  const std::string name = output();
  if (options_.explain) (void)write_text(name + ".explain", explain(system_->journal()));
  if (options_.fail.find("list;") != std::string::npos) (void)write_text(name + ".faults", list_points());
  if (options_.trace) (void)trace::write_chrome_json(name + ".trace");
  if (options_.sanitizes()) write_findings();
}

}  // namespace

Result<std::unique_ptr<World>> make_world(const std::string& run_dir, StackTraces& stacks) {
  return MachineWorld::create(run_dir, stacks);
}

}  // namespace softiommu::launch
