// SPDX-License-Identifier: BSD-3-Clause
// The world of a run: its machine, the subsystem on it, and VFIO's files.
#include <unistd.h>

#include <charconv>
#include <string_view>

#include "base/log.h"
#include "base/trace.h"
#include "core/system.h"
#include "drivers/registry.h"
#include "launch/claims.h"
#include "launch/engine/world.h"
#include "launch/explain.h"
#include "launch/run_options.h"
#include "machine/machine.h"
#include "vfio/vfio.h"

namespace softiommu::launch {
namespace {

constexpr std::string_view kGroupFolder = "/dev/vfio/";

class MachineWorld final : public World {
 public:
  static Result<std::unique_ptr<World>> create(const std::string& run_dir);

  Result<Opened> open(const std::string& path, Program& program) override;
  Memory* memory() override { return &machine_->memory(); }
  void flush() override;
  void become_child() override {
    for (const auto& function : machine_->functions()) function->forget_thread();
    machine_->executor().forget_thread();
  }

 private:
  MachineWorld(std::string run_dir, RunOptions options)
      : run_dir_(std::move(run_dir)), options_(std::move(options)), claims_(run_dir_ + "/claims") {}
  Result<> build();
  Result<Opened> open_group(unsigned group, Program& program);

  std::string run_dir_;
  RunOptions options_;
  Claims claims_;
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<System> system_;
  std::unique_ptr<Vfio> vfio_;
};

Result<std::unique_ptr<World>> MachineWorld::create(const std::string& run_dir) {
  std::unique_ptr<MachineWorld> world(new MachineWorld(run_dir, TRY(RunOptions::load(run_dir))));
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
  machine_options.paranoid = options_.paranoid;
  machine_ = TRY(Machine::create(*spec, machine_options));
  const Rules rules = options_.linux_rules ? Rules::linux7 : Rules::contract;
  system_ = TRY(System::create(*machine_, all_drivers(), {.rules = rules}));
  VfioOptions vfio_options;
  vfio_options.memlock = TRY(MemlockLimit::parse(options_.memlock));
  vfio_options.allow_unsafe_interrupts = options_.allow_unsafe_interrupts;
  vfio_ = std::make_unique<Vfio>(*system_, vfio_options);
  system_->journal().clear();  // what the boot attached is not the program's doing
  return {};
}

Result<Opened> MachineWorld::open(const std::string& path, Program& program) {
  if (path == "/dev/vfio/vfio") return Opened{TRY(vfio_->open_container(program)), {}};
  unsigned group = 0;
  const char* end = path.data() + path.size();
  if (path.starts_with(kGroupFolder)) {
    const auto [rest, error] = std::from_chars(path.data() + kGroupFolder.size(), end, group);
    if (error == std::errc{} && rest == end) return open_group(group, program);
  }
  return fail(ENODEV, "no such device file");
}

Result<Opened> MachineWorld::open_group(unsigned group, Program& program) {
  TRY(claims_.claim(group));
  auto file = vfio_->open_group(program, group);
  if (!file) {
    // EBUSY from this process's own handle: the claim is that handle's.
    if (file.error().code != EBUSY) claims_.release(group);
    return std::unexpected(file.error());
  }
  return Opened{std::move(*file), [this, group] { claims_.release(group); }};
}

void MachineWorld::flush() {
  const std::string name = run_dir_ + "/out/" + std::to_string(::getpid());
  if (options_.explain) (void)write_text(name + ".explain", explain(system_->journal()));
  if (options_.trace) (void)trace::write_chrome_json(name + ".trace");
}

}  // namespace

Result<std::unique_ptr<World>> make_world(const std::string& run_dir) { return MachineWorld::create(run_dir); }

}  // namespace softiommu::launch
