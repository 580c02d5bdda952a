// SPDX-License-Identifier: BSD-3-Clause
// Mock devices and their domains: what is mapped where, and what a device's writes leave behind.
#include <vector>

#include "iommufd/selftest/mock_object.h"
#include "iommufd/selftest/operation.h"
#include "iommufd/selftest/same_page.h"

namespace softiommu::iommufd::selftest {

namespace {

// The mock domain of a paging HWPT. ENOENT: no such object; EINVAL: a domain of hardware.
Result<mock::MockDomain*> find_domain(const ObjectTable& objects, std::uint32_t id) {
  auto* const hwpt = objects.find<PagingHwpt>(id);
  if (hwpt == nullptr) return fail(ENOENT, "no paging HWPT has this id");
  auto* const domain = dynamic_cast<mock::MockDomain*>(&hwpt->domain());
  if (domain == nullptr) return fail(EINVAL, "not a domain of the mock IOMMU");
  return domain;
}

Result<> mock_domain(Request& request) {
  auto& answer = request.command.mock_domain;
  const bool with_flags = request.command.op == abi::Op::mock_domain_flags;
  auto device = TRY(request.driver.add_device(request.context.system(), with_flags ? answer.dev_flags : 0));
  auto made = std::make_unique<MockObject>(request.context, std::move(device));  // its end undoes all of it
  answer.out_hwpt_id = TRY(made->bind_and_attach(request.command.id));
  answer.out_idev_id = made->bound().id();
  const MockObject* const object =
      TRY(request.context.locked([&](ObjectTable& objects) { return objects.add(std::move(made)); }));
  const std::uint32_t id = object->id();
  answer.out_stdev_id = id;
  const auto responded = request.respond();
  if (!responded) request.context.locked([&](ObjectTable& objects) { return objects.take(id).has_value(); });
  return responded;
}

Result<> mock_domain_replace(Request& request) {
  auto& answer = request.command.mock_domain_replace;
  TRY(request.call.prove_response());  // what it was on before could not be had back
  BoundDevice* const bound = TRY(request.context.locked([&](ObjectTable& objects) -> Result<BoundDevice*> {
    auto* const object = objects.find<MockObject>(request.command.id);
    if (object == nullptr) return fail(ENOENT, "no mock device has this id");
    return &object->bound();
  }));
  answer.pt_id = TRY(request.context.replace(*bound, answer.pt_id));
  return request.respond();
}

// Is what `iova` translates to the program's page at `uptr`, page by page?
Result<> check_map(Request& request) {
  const auto& check = request.command.check_map;
  struct Found {
    std::uint64_t page;
    std::vector<PhysAddr> at;
  };
  const auto translate = [&](ObjectTable& objects) -> Result<Found> {
    const mock::MockDomain* const domain = TRY(find_domain(objects, request.command.id));
    const std::uint64_t page = domain->page_sizes() & (~domain->page_sizes() + 1);
    if (!is_aligned(check.iova | check.length | check.uptr, page) || check.uptr + check.length < check.uptr)
      return fail(EINVAL, "not whole pages of the domain");
    Found all{page, {}};
    for (std::uint64_t done = 0; done < check.length; done += page) {
      const auto at = domain->iova_to_phys(Iova{check.iova + done});
      if (!at) return fail(EINVAL, "part of the range is not mapped");
      all.at.push_back(*at);
    }
    return all;
  };
  const Found found = TRY(request.context.locked(translate));
  const SamePage same(request.program(), request.context.memory());
  for (std::size_t i = 0; i < found.at.size(); ++i)
    if (!TRY(same(check.uptr + i * found.page, found.at[i]))) return fail(EINVAL, "another page is mapped there");
  return {};
}

Result<> dirty(Request& request) {
  auto& ask = request.command.dirty;
  constexpr std::uint64_t kMostBits = (16 * kMiB) * 8;
  if (ask.page_size == 0 || ask.length == 0 || ask.iova % ask.page_size != 0 || ask.length % ask.page_size != 0 ||
      ask.uptr == 0)
    return fail(EINVAL, "not whole pages, or no bitmap");
  const std::uint64_t bits = ask.length / ask.page_size;
  if (bits > kMostBits) return fail(EOVERFLOW, "the bitmap is too large");
  const auto check = [&](ObjectTable& objects) -> Result<mock::MockDomain*> {
    mock::MockDomain* const domain = TRY(find_domain(objects, request.command.id));
    if (!domain->tracks_dirty()) return fail(EINVAL, "the domain tracks no dirty pages");
    return domain;
  };
  TRY(request.context.locked(check));
  const auto bitmap = TRY(request.call.fetch_array<std::uint8_t>(ask.uptr, (bits + 7) / 8));
  const auto set_dirty = [&](ObjectTable& objects) -> Result<std::uint64_t> {
    mock::MockDomain* const domain = TRY(check(objects));
    std::uint64_t count = 0;
    for (std::uint64_t bit = 0; bit < bits; ++bit) {
      if ((bitmap[bit / 8] >> bit % 8 & 1) == 0) continue;
      domain->set_dirty(Iova{ask.iova + bit * ask.page_size});
      ++count;
    }
    return count;
  };
  TRY(request.call.prove_response());
  ask.out_nr_dirty = TRY(request.context.locked(set_dirty));
  return request.respond();
}

constexpr Operation kRows[] = {
    {abi::Op::mock_domain, "MOCK_DOMAIN", mock_domain},
    {abi::Op::mock_domain_flags, "MOCK_DOMAIN_FLAGS", mock_domain},
    {abi::Op::mock_domain_replace, "MOCK_DOMAIN_REPLACE", mock_domain_replace},
    {abi::Op::md_check_map, "MD_CHECK_MAP", check_map},
    {abi::Op::dirty, "DIRTY", dirty},
};

}  // namespace

std::span<const Operation> domain_operations() { return kRows; }

}  // namespace softiommu::iommufd::selftest
