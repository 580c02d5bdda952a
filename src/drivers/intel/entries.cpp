// SPDX-License-Identifier: BSD-3-Clause
#include "drivers/intel/entries.h"

namespace softiommu::intel {

using namespace hw::vtd;

namespace {

constexpr unsigned kLeastFirstLevels = 4;

std::uint64_t type_word(PasidTranslation type) {
  return kPasidEntry0["P"].put(1) | kPasidEntry0["PGTT"].put(std::to_underlying(type));
}
// Table walks snoop always: the tables are written through the caches.
std::uint64_t id_word(DomainId id, bool snoop) {
  return kPasidEntry1["DID"].put(id) | kPasidEntry1["PWSNP"].put(1) | kPasidEntry1["PGSNP"].put(snoop);
}
std::uint64_t second_word(const PasidEntry::SecondStage& second) {
  return kPasidEntry0["AW"].put(aw_of_levels(second.levels)) | kPasidEntry0["SSADE"].put(second.dirty) |
         kPasidEntry0["SSPTPTR"].in_place(second.table.value);
}
std::uint64_t first_word(const PasidEntry::FirstStage& first) {
  return kPasidEntry2["FSPM"].put(first.levels - kLeastFirstLevels) |
         kPasidEntry2["FSPTPTR"].in_place(first.table.value);
}

}  // namespace

ContextEntry ContextEntry::pass_through(unsigned levels) {
  return {kContextEntry0["P"].put(1) | kContextEntry0["TT"].put(std::to_underlying(TranslationType::pass_through)),
          kContextEntry1["AW"].put(aw_of_levels(levels)) | kContextEntry1["DID"].put(kIdentityId)};
}

ContextEntry ContextEntry::second_stage(PhysAddr table, unsigned levels, DomainId id, TranslationType type) {
  return {kContextEntry0["P"].put(1) | kContextEntry0["TT"].put(std::to_underlying(type)) |
              kContextEntry0["SSPTPTR"].put(table.value >> kPageShift),
          kContextEntry1["AW"].put(aw_of_levels(levels)) | kContextEntry1["DID"].put(id)};
}

PasidEntry PasidEntry::pass_through(unsigned levels) {
  return {{type_word(PasidTranslation::pass_through) | kPasidEntry0["AW"].put(aw_of_levels(levels)),
           id_word(kIdentityId, false), 0}};
}

PasidEntry PasidEntry::first_stage(const FirstStage& first, DomainId id) {
  return {{type_word(PasidTranslation::first_stage), id_word(id, first.snoop), first_word(first)}};
}

PasidEntry PasidEntry::second_stage(const SecondStage& second, DomainId id) {
  return {{type_word(PasidTranslation::second_stage) | second_word(second), id_word(id, false), 0}};
}

PasidEntry PasidEntry::nested(const FirstStage& first, const SecondStage& second, DomainId id) {
  return {{type_word(PasidTranslation::nested) | second_word(second), id_word(id, first.snoop), first_word(first)}};
}

}  // namespace softiommu::intel
