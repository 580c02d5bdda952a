// SPDX-License-Identifier: BSD-3-Clause
#include "contract/world.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "base/fault.h"
#include "machine/host_pages.h"

namespace softiommu::testing {

namespace {

// Where the pages are, modulo MemorySpec::kSamePlace: their physical addresses are the same in each run (memory.h).
constexpr std::uint64_t kPagesPlace = 512 * kMiB;

// A function without registers: the tests use its DMA port.
class TestDevice : public PciFunction {
 public:
  explicit TestDevice(const Context& context)
      : PciFunction(context,
                    {.vendor = 0x1234,
                     .device = 1,
                     .subsystem_vendor = 0,
                     .subsystem_device = 0,
                     .class_code = 0xff0000,
                     .revision = 0},
                    {}) {}
  std::string_view model() const override { return "test-dma"; }
  std::uint64_t step(std::uint64_t) override { return kIdle; }

 protected:
  std::uint64_t bar_read(unsigned, std::uint64_t, unsigned) override { return 0; }
  void bar_write(unsigned, std::uint64_t, unsigned, std::uint64_t) override {}
  void reset_registers() override {}
};

constexpr DeviceModel kDevices[] = {
    {"test-dma",
     "for the contract tests",
     {},
     [](const PciFunction::Context& context, const Options&) -> Result<std::unique_ptr<PciFunction>> {
       return std::make_unique<TestDevice>(context);
     }},
};

std::unique_ptr<Machine> make_machine(const std::string& toml) {
  static const UnitModel units[] = {flat_unit_model(), other_flat_unit_model()};
  const auto spec = parse_machine(toml, "contract.toml", units, kDevices);
  if (!spec) throw std::runtime_error(spec.error().where + ": " + spec.error().what);
  const MachineOptions options{.time = Executor::Time::virtual_time,
                               .paranoid = true,
                               .extra_unit_models = units,
                               .extra_device_models = kDevices};
  auto machine = Machine::create(*spec, options);
  if (!machine) throw std::runtime_error(machine.error().why);
  return *std::move(machine);
}

}  // namespace

World::World(const DriverCase& row, const Setup& setup)
    : iova_(row.iova), machine_(make_machine(machine_file(row) + std::string(setup.more_toml))) {
  fault::disarm();
  memory_ = reinterpret_cast<std::byte*>(reserve_congruent(kPagesPlace, kPages * kPageSize, MemorySpec::kSamePlace));
  if (memory_ == nullptr || mprotect(memory_, kPages * kPageSize, PROT_READ | PROT_WRITE) != 0)
    throw std::runtime_error("mmap");
  next_knobs = setup.knobs;
  const MakeDriver drivers[] = {row.make, make_other_flat_driver};
  auto system = System::create(*machine_, drivers, {.rules = setup.rules});
  next_knobs = {};
  if (!system) throw std::runtime_error(system.error().why);
  system_ = *std::move(system);
}

World::~World() {
  fault::disarm();
  system_.reset();
  for (const auto& [mark, pa] : pages_) machine_->memory().unpin({pa, kPageSize});
  machine_.reset();
  munmap(memory_, kPages * kPageSize);
}

Group& World::own(Group& group) {
  const auto claimed = group.claim_dma_owner(this);
  EXPECT_TRUE(claimed) << claimed.error().why;
  return group;
}

PhysAddr World::page(char mark) {
  const auto known = std::ranges::find(pages_, mark, &std::pair<char, PhysAddr>::first);
  if (known != pages_.end()) return known->second;
  std::byte* const bytes = memory_ + pages_.size() * kPageSize;
  std::memset(bytes, mark, kPageSize);
  const PhysAddr pa = machine_->memory().pin(reinterpret_cast<std::uint64_t>(bytes), kPageSize).value().first;
  pages_.emplace_back(mark, pa);
  return pa;
}

Result<> World::map(Domain& domain, char mark) {
  return domain.map(place(domain.owner()), page(mark), kPageSize, {.read = true, .write = true});
}

std::unique_ptr<Domain> World::domain(Group& group, char mark) {
  auto made = system_->allocate_domain(group);
  EXPECT_TRUE(made) << made.error().why;
  EXPECT_TRUE(map(**made, mark));
  return *std::move(made);
}

DomainSet::Fill World::fill(char mark) {
  page(mark);
  return [this, mark](Domain& domain) -> AttachResult<> {
    if (map(domain, mark)) return {};
    return driver_says(AttachFailure::no_memory, {"filling"});
  };
}

std::string World::sees(const Group& group) {
  std::string seen;
  for (const Device* device : group.devices()) {
    std::byte byte{};
    const bool ok = static_cast<bool>(device->function()->dma().read(place(group.driver()), {&byte, 1}));
    seen += ok ? static_cast<char>(byte) : '-';
  }
  return seen;
}

std::vector<AttachRecord> World::attaches() {
  auto records = system_->journal().all();
  std::erase_if(records, [](const AttachRecord& r) { return r.kind == AttachRecord::Kind::allocate; });
  return records;
}

}  // namespace softiommu::testing
