// SPDX-License-Identifier: BSD-3-Clause
#include "check/world.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/fault.h"
#include "drivers/registry.h"
#include "machine/host_pages.h"

namespace softiommu::check {

namespace {

// Within every aperture that our units have, also that of a GART.
constexpr Iova kPlace{0x5801'0000};
constexpr std::size_t kIdentityPage = 26;
// Where the letters are, modulo MemorySpec::kSamePlace: their physical addresses are the same in each run, so that a
// finding can be repeated.
constexpr std::uint64_t kLettersPlace = 512 * kMiB;
constexpr char kFirstLetter = 'A', kNoLetter = '?', kRefused = '-', kNoPasids = ' ';

std::uint64_t page_bytes(const Domain& domain) { return std::uint64_t{1} << std::countr_zero(domain.page_sizes()); }

}  // namespace

Result<std::unique_ptr<World>> World::create(const CheckedDriver& driver, const MachineSpec& spec,
                                             std::span<const UnitModel> models) {
  return without_throwing([&]() -> Result<std::unique_ptr<World>> {
    std::unique_ptr<World> world(new World(driver, models));
    TRY(world->make_machine(spec));
    TRY(world->bring_up());
    return world;
  });
}

Result<> World::make_machine(const MachineSpec& spec) {
  machine_ = TRY(
      Machine::create(spec, {.time = Executor::Time::virtual_time, .paranoid = true, .extra_unit_models = models_}));
  memory_ =
      reinterpret_cast<std::byte*>(reserve_congruent(kLettersPlace, kLetters * kPageBytes, MemorySpec::kSamePlace));
  if (memory_ == nullptr || mprotect(memory_, kLetters * kPageBytes, PROT_READ | PROT_WRITE) != 0)
    return fail(ENOMEM, "memory for the letters");
  return pin_letters();
}

Result<> World::pin_letters() {
  for (std::size_t number = 0; number < kLetters; ++number) {
    std::byte* const page = memory_ + number * kPageBytes;
    *page = static_cast<std::byte>(number == kIdentityPage ? kIdentity : kFirstLetter + static_cast<char>(number));
    for (std::uint64_t done = 0; done < kPageBytes;) {
      const PhysRun run = TRY(machine_->memory().pin(reinterpret_cast<std::uintptr_t>(page) + done, kPageBytes - done));
      if (done == 0) letters_[number] = run.first;
      pinned_.push_back(run);
      done += run.bytes;
    }
  }
  return {};
}

World::~World() {
  take_down();
  for (const PhysRun& run : pinned_) machine_->memory().unpin(run);
  machine_.reset();
  if (memory_ != nullptr) munmap(memory_, kLetters * kPageBytes);
}

Result<> World::bring_up() {
  std::vector<MakeDriver> drivers;
  {
    const fault::Paused ours;
    drivers.push_back(driver_.make);
    const std::unique_ptr<Driver> checked = driver_.make();
    for (const MakeDriver make : all_drivers())
      if (make()->unit_model() != checked->unit_model()) drivers.push_back(make);
  }
  system_ = TRY(System::create(*machine_, drivers, {}));
  const fault::Paused ours;
  open_eyes();
  return {};
}

void World::take_down() {
  eyes_.clear();
  system_.reset();
}

IommuUnit* World::unit_of(const Device& device) const {
  if (device.function() != nullptr) return device.function()->dma().unit();
  const PlatformDevice* const platform = machine_->platform_device(device.name());
  return platform != nullptr ? platform->dma().unit() : nullptr;
}

void World::open_eyes() {
  for (const auto& device : system_->devices()) {
    if (device->group() == nullptr) continue;
    for (const StreamId stream : device->stream_ids())
      eyes_.push_back({device.get(), std::make_unique<DmaPort>(machine_->memory(), unit_of(*device), stream)});
  }
}

Group* World::group(std::string_view first_device) {
  if (!is_up()) return nullptr;
  const auto found = std::ranges::find_if(system_->groups(), [&](const std::unique_ptr<Group>& group) {
    return group->devices().front()->name() == first_device;
  });
  return found != system_->groups().end() ? found->get() : nullptr;
}

Iova World::place(const Domain& domain) {
  if (domain.aperture().contains(IovaRange::of(kPlace, kPageBytes))) return kPlace;
  return Iova{align_down(domain.aperture().first.value + kPageBytes - 1, kPageBytes)};
}

Iova World::place(const Group& group) {
  const Domain* const domain = group.domain();
  return domain != nullptr && domain->type() == DomainType::paging ? place(*domain) : kPlace;
}

Result<> World::map(Domain& domain, char letter) {
  const PhysAddr page = letters_[static_cast<std::size_t>(letter - kFirstLetter)];
  return domain.map(place(domain), page, page_bytes(domain), {.read = true, .write = true});
}

void World::unmap(Domain& domain) { domain.unmap(place(domain), page_bytes(domain)); }

template <typename Look>
std::string World::each_eye(const Group& group, Look&& look) {
  std::string seen;
  for (const Eye& eye : eyes_)
    if (eye.device->group() == &group) seen += look(eye);
  return seen;
}

char World::read(DmaPort& port, Iova iova) {
  std::byte byte{};
  if (!port.read(iova, {&byte, 1})) return kRefused;
  const char letter = static_cast<char>(byte);
  return letter == kIdentity || (letter >= kFirstLetter && letter <= 'Z') ? letter : kNoLetter;
}

std::string World::sees(const Group& group) {
  const Iova iova = place(group);
  return each_eye(group, [&](const Eye& eye) { return read(*eye.port, iova); });
}

std::string World::sees_identity(const Group& group) {
  const Iova iova{letters_[kIdentityPage].value};
  return each_eye(group, [&](const Eye& eye) { return read(*eye.port, iova); });
}

// Ports send none, so the unit is asked.
char World::read(const Eye& eye, Iova iova, Pasid pasid) {
  if (eye.device->driver()->pasid_bits(*eye.device) == 0) return kNoPasids;
  const auto translation =
      eye.port->unit()->translate({.stream = eye.port->stream(), .pasid = pasid, .iova = iova, .access = Access::read});
  if (!translation || !translation->read) return kRefused;
  const std::uint64_t offset = iova.value & ((std::uint64_t{1} << translation->page_lg2) - 1);
  const std::byte* const there = machine_->memory().host(translation->page + offset);
  return there != nullptr ? static_cast<char>(*there) : kNoLetter;
}

std::string World::sees(const Group& group, Pasid pasid) {
  const Domain* const domain = group.domain(pasid);
  const Iova iova = domain != nullptr && domain->type() == DomainType::paging ? place(*domain) : kPlace;
  return each_eye(group, [&](const Eye& eye) { return read(eye, iova, pasid); });
}

void World::arm(const Failure& failure) {
  for (const auto& unit : machine_->units())
    if (auto* const faulty = dynamic_cast<FaultyUnit*>(unit.get())) faulty->arm(failure);
}

bool World::each_unit(bool (FaultyUnit::*end)()) {
  bool struck = false;
  for (const auto& unit : machine_->units())
    if (auto* const faulty = dynamic_cast<FaultyUnit*>(unit.get())) struck |= (faulty->*end)();
  return struck;
}

bool World::disarm() { return each_unit(&FaultyUnit::disarm); }
bool World::power_cycle() { return each_unit(&FaultyUnit::power_cycle); }

}  // namespace softiommu::check
