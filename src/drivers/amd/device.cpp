// SPDX-License-Identifier: BSD-3-Clause
#include "drivers/amd/device.h"

#include <algorithm>
#include <atomic>

namespace softiommu::amd {

using namespace hw::amd;

unsigned host_bits(const Unit& unit) {
  constexpr unsigned kLevelBits = 9;
  return std::min(64u, kPageShift + kLevelBits * unit.host_levels());
}

// ---- GCR3 table -------------------------------------------------------------------------------------------------

Gcr3Table::~Gcr3Table() {
  for (const PhysAddr table : tables_) memory_.free(table);
  if (root_.value != 0) memory_.free(root_);
}

Result<> Gcr3Table::make_root(unsigned pasid_bits, unsigned most_levels) {
  levels_ = std::min((pasid_bits + kGcr3IndexBits - 1) / kGcr3IndexBits, most_levels);
  pasid_bits_ = std::min(pasid_bits, kGcr3IndexBits * levels_);
  root_ = TRY(memory_.allocate());
  return reserve(0);
}

bool Gcr3Table::reaches(Pasid pasid) const { return root_.value != 0 && pasid >> pasid_bits_ == 0; }

Result<> Gcr3Table::reserve(Pasid pasid) {
  PhysAddr table = root_;
  for (unsigned level = levels_; level-- > 1;) {
    std::uint64_t& entry = memory_.words(table)[pasid >> kGcr3IndexBits * level & ((1u << kGcr3IndexBits) - 1)];
    if (!kGcr3["V"].is_set(entry)) {
      tables_.reserve(tables_.size() + 1);
      const PhysAddr made = TRY(memory_.allocate());
      tables_.push_back(made);
      std::atomic_ref(entry).store(kGcr3["V"].put(1) | kGcr3["Base"].in_place(made.value), std::memory_order_release);
    }
    table = PhysAddr{kGcr3["Base"].in_place(entry)};
  }
  return {};
}

std::uint64_t* Gcr3Table::entry(Pasid pasid) const {
  PhysAddr table = root_;
  for (unsigned level = levels_;;) {
    --level;
    std::uint64_t* const place =
        memory_.words(table) + (pasid >> kGcr3IndexBits * level & ((1u << kGcr3IndexBits) - 1));
    if (level == 0) return place;
    if (!kGcr3["V"].is_set(*place)) return nullptr;
    table = PhysAddr{kGcr3["Base"].in_place(*place)};
  }
}

void Gcr3Table::set(Pasid pasid, std::optional<PhysAddr> guest_root) {
  if (std::uint64_t* const place = root_.value != 0 ? entry(pasid) : nullptr)
    std::atomic_ref(*place).store(guest_root ? kGcr3["V"].put(1) | kGcr3["Base"].in_place(guest_root->value) : 0,
                                  std::memory_order_release);
}

bool Gcr3Table::is_set(Pasid pasid) const {
  const std::uint64_t* const place = root_.value != 0 ? entry(pasid) : nullptr;
  return place != nullptr && kGcr3["V"].is_set(*place);
}

// ---- Device -----------------------------------------------------------------------------------------------------

namespace {

const GuestDomain* guest(const Domain* domain) { return dynamic_cast<const GuestDomain*>(domain); }

constexpr std::uint64_t kMayAll = kDte0["IR"].mask() | kDte0["IW"].mask();
constexpr std::uint64_t kValid = kDte0["V"].mask() | kDte0["TV"].mask();

}  // namespace

// With PASIDs in use, requests without one that are to be blocked go through a GCR3 entry that is not valid.
DeviceEntry AmdDevice::guest_entry() const {
  constexpr unsigned kLeastLevels = 4;
  const bool through_pasid0 = domain_ == nullptr || domain_->type() != DomainType::identity;
  if (through_pasid0 && !unit_.guest_without_pasid()) return DeviceEntry::blocked();
  const std::uint64_t root = gcr3_.root().value;
  return {{kValid | kMayAll | kDte0["GV"].put(1) | kDte0["GIoV"].put(through_pasid0) |
               kDte0["GLX"].put(gcr3_.levels() - 1) | gcr3_in_dte0(root),
           kDte1["DomainID"].put(own_id_.value_or(0)) | gcr3_in_dte1(root),
           kDte2["GuestPagingMode"].put(unit_.guest_levels() - kLeastLevels), 0}};
}

DeviceEntry AmdDevice::entry() const {
  if (pasids_ != 0 || guest(domain_) != nullptr) return guest_entry();
  if (domain_ == nullptr || domain_->type() == DomainType::blocked) return DeviceEntry::blocked();
  if (domain_->type() == DomainType::identity) return {{kValid | kMayAll, kDte1["DomainID"].put(kIdentityId)}};
  const auto& host = static_cast<const HostDomain&>(*domain_);
  const HostDomain::Root root = host.root();
  return {{kValid | kMayAll | kDte0["HAD"].put(host.keeps_dirty() ? kKeepDirty : kKeepNothing) |
               kDte0["Mode"].put(root.levels) | kDte0["HostTableRoot"].in_place(root.table.value),
           kDte1["DomainID"].put(id_)}};
}

// All of them, whatever one answers: this blocks, too.
Result<> AmdDevice::write_entries(const DeviceEntry& wanted) {
  Result<> answer;
  for (const StreamId id : ids_)
    if (auto set = unit_.set_entry(id, wanted); !set && answer) answer = std::move(set);
  return answer;
}

Result<> AmdDevice::attach(const Domain* domain, DomainId id) {
  const MutexLock lock(mutex_);
  domain_ = domain;
  id_ = id;
  const GuestDomain* const table = guest(domain);
  gcr3_.set(0, table != nullptr ? std::optional(table->root()) : std::nullopt);
  TRY(write_entries(entry()));
  // What is cached under the id may be another domain's, which handed the id on.
  if (table != nullptr || pasids_ != 0) return unit_.flush_id(own_id_.value_or(0));
  return id != 0 ? unit_.flush_id(id) : Result<>{};
}

Result<> AmdDevice::attach_pasid(Pasid pasid, const GuestDomain* domain) {
  const MutexLock lock(mutex_);
  const unsigned before = pasids_;
  if (gcr3_.is_set(pasid)) --pasids_;
  if (domain != nullptr) ++pasids_;
  gcr3_.set(pasid, domain != nullptr ? std::optional(domain->root()) : std::nullopt);
  if ((before == 0) != (pasids_ == 0)) TRY(write_entries(entry()));
  return own_id_ ? unit_.flush_id(*own_id_) : Result<>{};
}

Result<> AmdDevice::block() {
  const MutexLock lock(mutex_);
  domain_ = nullptr;
  return write_entries(DeviceEntry::blocked());
}

Result<> AmdDevice::refresh(const HostDomain& domain) {
  const MutexLock lock(mutex_);
  return domain_ == &domain ? write_entries(entry()) : Result<>{};
}

Result<> AmdDevice::invalidate_pages(Pasid pasid, IovaRange range, bool leaf_only) {
  const auto id = own_id();
  return id ? unit_.invalidate_pages({.id = *id, .guest = pasid}, range, leaf_only) : Result<>{};
}

const Domain* AmdDevice::domain() const {
  const MutexLock lock(mutex_);
  return domain_;
}

bool AmdDevice::has_pasids() const {
  const MutexLock lock(mutex_);
  return pasids_ != 0;
}

std::optional<DomainId> AmdDevice::own_id() const {
  const MutexLock lock(mutex_);
  return own_id_;
}

unsigned AmdDevice::own_id_users() const {
  const MutexLock lock(mutex_);
  return own_id_users_;
}

void AmdDevice::hold_own_id(DomainId id) {
  const MutexLock lock(mutex_);
  own_id_ = id;
  ++own_id_users_;
}

std::optional<DomainId> AmdDevice::drop_own_id() {
  const MutexLock lock(mutex_);
  if (--own_id_users_ != 0) return std::nullopt;
  return std::exchange(own_id_, std::nullopt);
}

}  // namespace softiommu::amd
