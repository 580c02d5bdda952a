// SPDX-License-Identifier: BSD-3-Clause
#include "drivers/arm_smmu_v3/nested.h"

#include <utility>

#include "base/fault.h"
#include "base/log.h"
#include "core/device.h"

namespace softiommu::arm_smmu_v3 {

using namespace hw::smmuv3;

namespace {

// What a guest may say of its stream (struct iommu_hwpt_arm_smmuv3).
constexpr std::uint64_t kGuestWord0 = kSte0.named();
constexpr std::uint64_t kGuestWord1 = kSte1["S1DSS"].mask() | kSte1["S1CIR"].mask() | kSte1["S1COR"].mask() |
                                      kSte1["S1CSH"].mask() | kSte1["S1STALLD"].mask() | kSte1["EATS"].mask();
constexpr std::uint64_t kNotAnswered = 0, kAnswered = 1;  // EATS

SteConfig config_of(std::uint64_t word0) {
  return kSte0["V"].is_set(word0) ? static_cast<SteConfig>(kSte0["Config"].get(word0)) : SteConfig::abort;
}

Result<abi::StreamEntryWords> checked(const abi::StreamEntryWords& given) {
  if (!kSte0["V"].is_set(given.ste[0])) return abi::StreamEntryWords{};
  if ((given.ste[0] & ~kGuestWord0) != 0 || (given.ste[1] & ~kGuestWord1) != 0)
    return fail(EIO, "the stream table entry has fields that are not the guest's");
  const SteConfig config = config_of(given.ste[0]);
  if (config != SteConfig::abort && config != SteConfig::bypass && config != SteConfig::stage1)
    return fail(EIO, "the guest's stream neither aborts nor bypasses nor has a stage 1");
  const std::uint64_t eats = kSte1["EATS"].get(given.ste[1]);
  if (eats != kNotAnswered && eats != kAnswered) return fail(EIO, "ATS is full or not there");
  return given;
}

}  // namespace

bool NestedDomain::translates() const { return config_of(words_.ste[0]) == SteConfig::stage1; }

bool NestedDomain::answers_own_tlb() const {
  const SteConfig config = config_of(words_.ste[0]);
  return config == SteConfig::bypass || (translates() && kSte1["EATS"].get(words_.ste[1]) == kAnswered);
}

StreamEntry NestedDomain::entry(const StreamTraits& traits) const {
  StreamTraits granted = traits;
  granted.translates = traits.translates && answers_own_tlb();
  const std::uint64_t guest[] = {words_.ste[0], words_.ste[1] & ~kSte1["EATS"].mask()};
  return nested_entry(granted, guest_.parent(), guest_.vmid(), guest);
}

// ---- The guest's SMMU -------------------------------------------------------------------------------------------

Result<std::unique_ptr<VirtualIommu>> VirtualSmmu::create(Driver& driver, Unit& unit,
                                                          const VirtualIommuRequest& request) {
  auto& parent = static_cast<PagingDomain&>(request.parent);
  if (!parent.is_nest_parent() || !parent.fits(unit)) return fail(EINVAL, "the parent is not for this SMMU");
  TRY(fault::pass("arm_smmu_v3.viommu"));
  const auto known = parent.id_on(unit);
  const UnitId vmid = known ? *known : TRY(unit.allocate_id(parent));
  if (auto held = parent.hold(unit, vmid); !held) {
    if (!known) unit.free_id(parent, vmid);
    return std::unexpected(held.error());
  }
  auto made = without_throwing([&]() -> Result<std::unique_ptr<VirtualIommu>> {
    return std::make_unique<VirtualSmmu>(driver, unit, request, vmid);
  });
  if (!made && parent.drop(unit)) unit.free_id(parent, vmid);
  return made;
}

VirtualSmmu::~VirtualSmmu() {
  const auto vmid = parent_.drop(unit_);
  if (!vmid) return;
  if (const auto flushed = unit_.flush_id(parent_, *vmid); !flushed)
    log::error("arm-smmu-v3: {}: {}", unit_.name(), flushed.error().why);
  unit_.free_id(parent_, *vmid);
}

Result<std::unique_ptr<Domain>> VirtualSmmu::allocate_nested(const DomainRequest& request, const UserData& data) {
  if (request.dirty_tracking || request.nest_parent || request.pasid)
    return fail(EOPNOTSUPP, "a nested domain has no such uses");
  const auto given = TRY(data.as<abi::StreamEntryWords>(abi::kHwptData, sizeof(abi::StreamEntryWords)));
  const auto words = TRY(checked(given));
  TRY(fault::pass("arm_smmu_v3.nested"));
  return std::make_unique<NestedDomain>(driver_, *this, words);
}

Result<std::unique_ptr<VirtualDevice>> VirtualSmmu::make_device(const Device& device, std::uint64_t /*virtual_id*/) {
  if (device.stream_ids().size() != 1) return fail(EOPNOTSUPP, "a device of a guest has one stream");
  return std::make_unique<VirtualDevice>();
}

// ---- Commands and events ----------------------------------------------------------------------------------------

Result<StreamId> VirtualSmmu::stream_of(std::uint64_t virtual_stream) const {
  StreamId stream = 0;
  const auto found = with_device(virtual_stream, [&](const Device& device) { stream = device.stream_ids().front(); });
  if (!found) return fail(EIO, "the guest has no device of this stream");
  return stream;
}

// The guest's VMID and stream become ours.
Result<Unit::Command> VirtualSmmu::translate(const abi::Invalidation& entry) const {
  Unit::Command command{entry.cmd[0], entry.cmd[1]};
  const auto opcode = static_cast<Opcode>(kCommandTlbi0["Opcode"].get(command.word0));
  switch (opcode) {
    case Opcode::tlbi_nsnh_all:  // of its own
      return Unit::Command{
          kCommandTlbi0["Opcode"].put(std::to_underlying(Opcode::tlbi_nh_all)) | kCommandTlbi0["VMID"].put(vmid_), 0};
    case Opcode::tlbi_nh_va:
    case Opcode::tlbi_nh_vaa:
    case Opcode::tlbi_nh_all:
    case Opcode::tlbi_nh_asid:
      command.word0 = kCommandTlbi0["VMID"].set(command.word0, vmid_);
      return command;
    case Opcode::atc_inv:
      if (!unit_.features().ats) return fail(EIO, "the SMMU has no ATS");
      [[fallthrough]];
    case Opcode::cfgi_cd:
    case Opcode::cfgi_cd_all:
      command.word0 =
          kCommandCfgi0["StreamID"].set(command.word0, TRY(stream_of(kCommandCfgi0["StreamID"].get(command.word0))));
      return command;
    default:
      return fail(EIO, "not a command that a guest may give");
  }
}

Result<> VirtualSmmu::invalidate(UserArray& entries) {
  if (entries.type() != abi::kInvalidation) return fail(EINVAL, "not an SMMUv3's invalidations");
  for (; entries.more(); entries.accept()) {
    const auto entry = TRY(entries.next_of_any_length<abi::Invalidation>(abi::kInvalidation));
    const Unit::Command command = TRY(translate(entry));
    TRY(unit_.submit(command));
  }
  return {};
}

bool VirtualSmmu::tell(const Device& device, std::span<const std::uint64_t, kEventWords> event) const {
  const auto name = virtual_id(device);
  if (!name) return false;
  abi::Event told{};
  std::ranges::copy(event, told.evt);
  told.evt[0] = kEvent0["StreamID"].set(told.evt[0], *name & kEvent0["StreamID"].max());
  return owner().report(abi::kVeventq, std::as_bytes(std::span(&told, 1))).has_value();
}

}  // namespace softiommu::arm_smmu_v3
