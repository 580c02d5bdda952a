// SPDX-License-Identifier: BSD-3-Clause
#include "check/mutants/over.h"

#include <algorithm>
#include <cassert>

namespace softiommu::testing {

void OverDomain::look() {
  aperture_ = good_.aperture();
  page_sizes_ = good_.page_sizes();
  enforces_cache_coherency_ = good_.enforces_cache_coherency();
}

bool OverDomain::enforce_cache_coherency() {
  const bool enforced = good_.enforce_cache_coherency();
  look();
  return enforced;
}

class OverDriver::Inner {
 public:
  explicit Inner(std::span<Switch> outer) : outer_(outer) {
    assert(outer.size() <= inner_.size());
    for (std::size_t i = 0; i < outer.size(); ++i) {
      inner_[i] = outer[i];
      inner_[i].from = good_of(outer[i].from);
      inner_[i].to = good_of(outer[i].to);
    }
  }
  ~Inner() {
    for (std::size_t i = 0; i < outer_.size(); ++i) {
      outer_[i].words = inner_[i].words;
      outer_[i].blocked = inner_[i].blocked;
    }
  }
  Inner(const Inner&) = delete;
  Inner& operator=(const Inner&) = delete;
  std::span<Switch> all() { return std::span(inner_).first(outer_.size()); }
  Switch& one() { return inner_.front(); }

 private:
  static Domain* good_of(Domain* domain) {
    return domain != nullptr ? &static_cast<OverDomain*>(domain)->good() : nullptr;
  }
  std::span<Switch> outer_;
  std::array<Switch, 32> inner_{};  // no machine of these tests has a larger group
};

Result<std::unique_ptr<Domain>> OverDriver::allocate(std::span<Device* const> devices, const DomainRequest& request) {
  return std::make_unique<OverDomain>(*this, TRY(good_->allocate(devices, request)));
}

Domain* OverDriver::static_domain(DomainType type) {
  Domain* const good = good_->static_domain(type);
  if (good == nullptr) return nullptr;
  auto& over = type == DomainType::identity ? identity_ : blocked_;
  if (!over) over.emplace(*this, *good);
  return &*over;
}

AttachResult<> OverDriver::prepare(std::span<Switch> switches) { return good_->prepare(Inner(switches).all()); }
AttachResult<> OverDriver::commit(Switch& change) { return good_->commit(Inner({&change, 1}).one()); }
bool OverDriver::undo(Switch& change) { return good_->undo(Inner({&change, 1}).one()); }
void OverDriver::finish(std::span<Switch> switches) { good_->finish(Inner(switches).all()); }
void OverDriver::abandon(std::span<Switch> switches) { good_->abandon(Inner(switches).all()); }

}  // namespace softiommu::testing
