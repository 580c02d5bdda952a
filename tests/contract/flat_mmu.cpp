// SPDX-License-Identifier: BSD-3-Clause
// The driver "flat": a domain is one shadow page of entries, copied into a window of each unit that it is used on.
#include "contract/flat_mmu.h"

#include <algorithm>
#include <ranges>

#include "contract/flat_registers.h"
#include "core/device.h"

namespace softiommu::testing {

using namespace flat;

FlatKnobs next_knobs;

struct FlatDriver::Unit {
  MmioRegion& registers;
  std::uint64_t pages;
  std::array<Domain*, kMostContexts> contexts{};  // whose window it is
  std::array<bool, kStreamRows> rows{};
  unsigned context_count;
};

namespace {

struct FlatDevice : DeviceData {
  std::vector<unsigned> rows;  // one per stream id
};

const FlatDevice& flat_device(const Device& device) { return static_cast<const FlatDevice&>(*device.data()); }

}  // namespace

class FlatDomain : public Domain {
 public:
  struct Instance {
    unsigned unit, context, users;
  };

  FlatDomain(FlatDriver& driver, PhysAddr shadow, std::uint64_t pages)
      : Domain(driver, DomainType::paging), driver_(driver), shadow_(shadow), pages_(pages) {
    aperture_ = IovaRange::of(Iova{0}, pages * kPageSize);
  }
  ~FlatDomain() override { driver_.tables().free(shadow_, 1, TableContents::undefined); }

  Result<> map(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot) override {
    const std::scoped_lock lock(driver_.mutex_);
    if (!is_aligned(iova.value | pa.value | bytes, kPageSize) || bytes == 0) return fail(EINVAL, "not whole pages");
    if (!aperture_.contains(IovaRange::of(iova, bytes))) return fail(EINVAL, "outside the aperture");
    const std::uint64_t first = iova.value >> kPageShift, count = bytes >> kPageShift;
    for (std::uint64_t i = 0; i < count; ++i)
      if (shadow()[first + i] != 0) return fail(EEXIST, "mapped already");
    for (std::uint64_t i = 0; i < count; ++i)
      set(first + i,
          kEntry["R"].put(prot.read) | kEntry["W"].put(prot.write) | kEntry["ADDR"].put((pa.value >> kPageShift) + i));
    return {};
  }

  std::uint64_t unmap(Iova iova, std::uint64_t bytes) override {
    const std::scoped_lock lock(driver_.mutex_);
    std::uint64_t unmapped = 0;
    const std::uint64_t first = iova.value >> kPageShift;
    for (std::uint64_t i = first; i < std::min(pages_, first + (bytes >> kPageShift)); ++i) {
      if (shadow()[i] != 0) unmapped += kPageSize;
      set(i, 0);
    }
    for (const Instance& instance : instances) registers(instance).write64(kInvalidateOffset, 1);
    return unmapped;
  }

  std::optional<PhysAddr> iova_to_phys(Iova iova) const override {
    if (!aperture_.contains(iova)) return std::nullopt;
    const std::uint64_t entry = shadow()[iova.value >> kPageShift];
    if (entry == 0) return std::nullopt;
    return PhysAddr{kEntry["ADDR"].in_place(entry)} + iova.value % kPageSize;
  }

  std::uint64_t pages() const { return pages_; }
  Instance* on(unsigned unit) {
    const auto found = std::ranges::find(instances, unit, &Instance::unit);
    return found != instances.end() ? &*found : nullptr;
  }
  void fill(const Instance& instance) {
    for (std::uint64_t i = 0; i < pages_; ++i)
      registers(instance).write64(window_entry(instance.context, i), shadow()[i]);
  }

  std::vector<Instance> instances;

 private:
  std::uint64_t* shadow() const { return driver_.tables().words(shadow_); }
  MmioRegion& registers(const Instance& instance) const { return driver_.units_[instance.unit]->registers; }
  void set(std::uint64_t page, std::uint64_t entry) {
    shadow()[page] = entry;
    for (const Instance& instance : instances) registers(instance).write64(window_entry(instance.context, page), entry);
  }

  FlatDriver& driver_;
  PhysAddr shadow_;
  std::uint64_t pages_;
};

namespace {

FlatDomain* paging(Domain* domain) {
  return domain != nullptr && domain->type() == DomainType::paging ? static_cast<FlatDomain*>(domain) : nullptr;
}

}  // namespace

FlatDriver::FlatDriver(std::string_view name, std::string_view model)
    : knobs(next_knobs),
      name_(name),
      model_(model),
      blocked_(std::make_unique<Domain>(*this, DomainType::blocked)),
      identity_(std::make_unique<Domain>(*this, DomainType::identity)) {}
FlatDriver::~FlatDriver() = default;

Result<> FlatDriver::add_unit(const UnitHardware& hardware) {
  const std::uint64_t capability = hardware.registers.read64(kCapabilityOffset);
  for (unsigned row = 0; row < kStreamRows; ++row) hardware.registers.write64(stream_row(row), 0);
  tables_ = &hardware.tables;
  units_.push_back(
      std::make_unique<Unit>(Unit{.registers = hardware.registers,
                                  .pages = kCapability["PAGES"].get(capability),
                                  .context_count = static_cast<unsigned>(kCapability["CONTEXTS"].get(capability))}));
  return {};
}

void FlatDriver::interrupt(unsigned, unsigned) { ++calls.interrupt; }

Result<std::unique_ptr<DeviceData>> FlatDriver::probe(Device& device) {
  if (knobs.unserved.contains(device.stream_ids().front())) return fail(ENODEV, "told not to serve it");
  auto data = std::make_unique<FlatDevice>();
  Unit& unit = *units_[device.unit_index()];
  for (std::size_t i = 0; i < device.stream_ids().size(); ++i) {
    const auto row = static_cast<unsigned>(std::ranges::find(unit.rows, false) - unit.rows.begin());
    if (row == kStreamRows) return fail(ENODEV, "no stream row is left");
    unit.rows[row] = true;
    data->rows.push_back(row);
  }
  return data;
}

void FlatDriver::release(Device& device) {
  for (const unsigned row : flat_device(device).rows) units_[device.unit_index()]->rows[row] = false;
}

std::vector<ReservedRegion> FlatDriver::reserved_regions(const Device& device) const {
  const auto found = knobs.reserved.find(device.stream_ids().front());
  return found != knobs.reserved.end() ? found->second : std::vector<ReservedRegion>{};
}

DomainType FlatDriver::default_domain_type(const Device& device) const {
  const auto found = knobs.default_types.find(device.stream_ids().front());
  return found != knobs.default_types.end() ? found->second : DomainType::paging;
}

bool FlatDriver::attach_is_deferred(const Device& device) const {
  return knobs.deferred.contains(device.stream_ids().front());
}

Result<std::unique_ptr<Domain>> FlatDriver::allocate(std::span<Device* const> devices, const DomainRequest& request) {
  ++calls.allocate;
  if (knobs.allocate_errno != 0) return fail(knobs.allocate_errno, "told to fail");
  if (knobs.allocate_foreign) return std::make_unique<Domain>(*this, DomainType::identity);
  if (request.dirty_tracking) return fail(EOPNOTSUPP, "no dirty tracking");
  std::uint64_t pages = kMostPages;
  for (const Device* device : devices) pages = std::min(pages, units_[device->unit_index()]->pages);
  const PhysAddr shadow = TRY(tables_->allocate(1, TableContents::zeroed));
  try {
    return std::make_unique<FlatDomain>(*this, shadow, pages);
  } catch (...) {
    tables_->free(shadow, 1, TableContents::zeroed);
    throw;
  }
}

Domain* FlatDriver::static_domain(DomainType type) {
  if (type == DomainType::blocked && !knobs.no_blocked) return blocked_.get();
  if (type == DomainType::identity && !knobs.no_identity) return identity_.get();
  return nullptr;
}

std::uint64_t FlatDriver::fit(const Device& device) const { return units_[device.unit_index()]->pages; }

AttachResult<> FlatDriver::prepare(std::span<Switch> switches) {
  ++calls.prepare;
  const std::scoped_lock lock(mutex_);
  struct Reserved {
    FlatDriver& driver;
    std::span<Switch> switches;
    std::size_t count = 0;
    bool kept = false;
    ~Reserved() {
      if (!kept)
        for (const Switch& change : switches.first(count))
          if (change.pasid == 0) driver.give_back(*change.device, change.to);
    }
  } reserved{*this, switches};
  for (Switch& change : switches) {
    if (knobs.fail_prepare && knobs.fail_prepare->device == reserved.count)
      return driver_says(knobs.fail_prepare->failure, {"a knob"});
    change.words[0] = reserved.count;
    TRY(reserve(change));
    ++reserved.count;
  }
  if (knobs.throw_in_prepare) throw std::bad_alloc();
  reserved.kept = true;
  return {};
}

AttachResult<> FlatDriver::reserve(Switch& change) {
  if (change.pasid != 0) return {};
  FlatDomain* to = paging(change.to);
  if (to == nullptr) return {};
  const unsigned index = change.device->unit_index();
  Unit& unit = *units_[index];
  if (to->pages() != unit.pages) return driver_says(AttachFailure::incompatible, {"aperture", to->pages(), unit.pages});
  if (knobs.refuse_paging) return driver_says(AttachFailure::no_space, {"a knob"});
  if (FlatDomain::Instance* instance = to->on(index)) {
    ++instance->users;
    return {};
  }
  const auto windows = std::span(unit.contexts).first(unit.context_count);
  const auto window = std::ranges::find(windows, nullptr);
  if (window == windows.end()) return driver_says(AttachFailure::no_space, {"windows", 1, 0});
  to->instances.push_back({index, static_cast<unsigned>(window - windows.begin()), 1});
  *window = to;
  to->fill(to->instances.back());
  return {};
}

void FlatDriver::give_back(const Device& device, Domain* domain) {
  FlatDomain* from = paging(domain);
  if (from == nullptr) return;
  FlatDomain::Instance* instance = from->on(device.unit_index());
  if (instance == nullptr || --instance->users > 0) return;
  units_[instance->unit]->contexts[instance->context] = nullptr;
  from->instances.erase(from->instances.begin() + (instance - from->instances.data()));
}

void FlatDriver::point_at(const Device& device, const Domain* domain) {
  const FlatDevice& data = flat_device(device);
  MmioRegion& registers = units_[device.unit_index()]->registers;
  for (std::size_t i = 0; i < data.rows.size(); ++i) {
    std::uint64_t row = 0;
    if (domain != nullptr && domain->type() != DomainType::blocked) {
      row = kStreamRow["VALID"].put(1) | kStreamRow["STREAM"].put(device.stream_ids()[i]) |
            kStreamRow["BYPASS"].put(domain->type() == DomainType::identity);
      if (auto* window = paging(const_cast<Domain*>(domain)))
        row |= kStreamRow["CONTEXT"].put(window->on(device.unit_index())->context);
    }
    registers.write64(stream_row(data.rows[i]), row);
  }
  registers.write64(kInvalidateOffset, 1);
}

// PASIDs are only noted: this hardware has none.
void FlatDriver::point_at(const Switch& change, Domain* domain) {
  if (change.pasid == 0) {
    point_at(*change.device, domain);
  } else if (domain == nullptr || domain == blocked_.get()) {
    pasids.erase({change.device, change.pasid});
  } else {
    pasids[{change.device, change.pasid}] = domain;
  }
}

unsigned FlatDriver::pasid_bits(const Device& device) const {
  const auto found = knobs.pasid_bits.find(device.stream_ids().front());
  return found != knobs.pasid_bits.end() ? found->second : 0;
}

void FlatDriver::page_response(const Device&, const PageRequest&, PageAnswer answer) { page_answers.push_back(answer); }

AttachResult<> FlatDriver::commit(Switch& change) {
  ++calls.commit;
  const std::scoped_lock lock(mutex_);
  if (knobs.throw_in_commit) throw std::bad_alloc();
  if (knobs.fail_commit && knobs.fail_commit->device == change.words[0])
    return driver_says(knobs.fail_commit->failure, {"a knob"});
  point_at(change, change.to);
  return {};
}

bool FlatDriver::undo(Switch& change) {
  ++calls.undo;
  const std::scoped_lock lock(mutex_);
  undone.push_back(change.device->name());
  if (knobs.refuse_undo.contains(change.words[0])) return false;
  point_at(change, change.from);
  return true;
}

void FlatDriver::finish(std::span<Switch> switches) {
  ++calls.finish;
  const std::scoped_lock lock(mutex_);
  for (const Switch& change : switches)
    if (change.pasid == 0) give_back(*change.device, change.from);
}

void FlatDriver::abandon(std::span<Switch> switches) {
  ++calls.abandon;
  const std::scoped_lock lock(mutex_);
  for (const Switch& change : switches)
    if (change.pasid == 0) give_back(*change.device, change.to);
}

void FlatDriver::block(Device& device) {
  ++calls.block;
  const std::scoped_lock lock(mutex_);
  point_at(device, nullptr);
}

unsigned FlatDriver::contexts_in_use(unsigned unit) const {
  const auto& contexts = units_[unit]->contexts;
  return static_cast<unsigned>(contexts.size() - static_cast<std::size_t>(std::ranges::count(contexts, nullptr)));
}

std::unique_ptr<Driver> make_flat_driver() { return std::make_unique<FlatDriver>("flat", "test-flat"); }
std::unique_ptr<Driver> make_other_flat_driver() { return std::make_unique<FlatDriver>("flat-b", "test-flat-b"); }

}  // namespace softiommu::testing
