// SPDX-License-Identifier: BSD-3-Clause
#include "faults/state.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>

#include "drivers/mock.h"
#include "iommufd/access.h"
#include "iommufd/context.h"
#include "iommufd/event_queue.h"
#include "vfio/abi.h"
#include "vfio/iommufd_file.h"

namespace softiommu::iommufd {

// A friend of the queues.
struct QueueView {
  static std::string describe(FaultQueue& queue) {
    const MutexLock answers(queue.answers_);
    const MutexLock waiting(queue.waiting_lock_);
    return fmt::format("page requests: {} wait, {} are read", queue.waiting_.size(), queue.taken_.size());
  }
  static std::string describe(Veventq& queue) {
    const MutexLock lock(queue.mutex_);
    return fmt::format("events: {} wait, lost {}", queue.events_.size(), queue.lost_.has_value());
  }
};

namespace {

constexpr std::uint64_t kWindow = 64 * kPageSize, kMockWindow = 16 * kPageSize;

std::string mapped_pages(const IoPagetable& table) {
  std::string pages;
  for (std::uint64_t iova = 0; iova < kWindow; iova += kPageSize) pages += table.pieces(iova, 1) ? '#' : '.';
  for (std::uint64_t at = 0; at < kMockWindow; at += kPageSize)
    pages += table.pieces(mock::abi::kApertureFirst + at, 1) ? '#' : '.';
  return pages;
}

std::string describe_ioas(Ioas& ioas) {
  IoPagetable& table = ioas.table();
  std::string text = fmt::format("ioas, alignment {}, large pages {}, {} domains, areas {}, usable", table.alignment(),
                                 table.large_pages(), table.domains().size(), mapped_pages(table));
  for (const IovaRange& range : table.usable()) text += fmt::format(" {:x}-{:x}", range.first.value, range.last.value);
  return text;
}

std::string describe_device(BoundDevice& device) {
  std::string text =
      fmt::format("device {}, named {}, its group on", device.device().name(), device.vdevice() != nullptr);
  for (const auto& [pasid, attachment] : device.group().attachments)
    text += fmt::format(" {} (pasid {}, {} devices, this {})", attachment.hwpt->id(), pasid, attachment.devices.size(),
                        attachment.has(device));
  if (dynamic_cast<const mock::MockDriver*>(device.device().driver()) == nullptr) return text;
  for (unsigned i = 0; i < mock::abi::kDeviceCaches; ++i)
    text += fmt::format(", cached {:x}", mock::MockDriver::data_of(device.device()).guest().cached(i));
  return text;
}

// What is known of other objects besides their use.
std::string describe_other(Object& object) {
  if (auto* const queue = dynamic_cast<FaultQueue*>(&object)) return QueueView::describe(*queue);
  if (auto* const queue = dynamic_cast<Veventq*>(&object)) return QueueView::describe(*queue);
  if (const auto* const access = dynamic_cast<AccessObject*>(&object))
    return fmt::format("access to {}", access->ioas() == nullptr ? 0 : access->ioas()->id());
  if (auto* const viommu = dynamic_cast<Viommu*>(&object)) return fmt::format("{} queues", viommu->hw_queues().size());
  return typeid(object).name();
}

std::string describe_hwpt(Hwpt& hwpt) {
  const auto* const paging = dynamic_cast<const PagingHwpt*>(&hwpt);
  return fmt::format("hwpt of {}, fault queue {}, {}", hwpt.ioas().id(),
                     hwpt.fault_queue() == nullptr ? 0 : hwpt.fault_queue()->id(),
                     paging == nullptr                               ? "nested"
                     : paging->life() == PagingHwpt::Life::automatic ? "automatic"
                                                                     : "kept");
}

}  // namespace

std::vector<std::string> StateView::objects(Context& context, const std::function<std::string(Domain&)>& describe) {
  const MutexLock lock(context.mutex_);
  std::vector<std::string> lines{fmt::format("compat {}, accounting {}, the user's pages {}",
                                             context.compat_ == nullptr ? 0 : context.compat_->id(),
                                             static_cast<int>(context.accounting_.load()), context.user_.pages())};
  const auto add = [&](const Object& object, const std::string& text) {
    lines.push_back(fmt::format("{}: in use {}, {}", object.id(), object.in_use(), text));
  };
  context.objects_.for_each<Ioas>([&](Ioas& ioas) { add(ioas, describe_ioas(ioas)); });
  context.objects_.for_each<BoundDevice>([&](BoundDevice& device) { add(device, describe_device(device)); });
  context.objects_.for_each<Hwpt>([&](Hwpt& hwpt) { add(hwpt, describe_hwpt(hwpt) + ", " + describe(hwpt.domain())); });
  context.objects_.for_each<Object>([&](Object& object) { add(object, describe_other(object)); });
  return lines;
}

}  // namespace softiommu::iommufd

namespace softiommu::test {

namespace {

namespace abi = vfio::abi;

// Pages 0 to 63, every 16th of the second 2 MiB, and the first pages of the mock's aperture.
std::vector<std::uint64_t> probed_iovas() {
  std::vector<std::uint64_t> iovas;
  for (std::uint64_t page = 0; page < 64; ++page) iovas.push_back(page * kPageSize);
  for (std::uint64_t page = 512; page < 1024; page += 16) iovas.push_back(page * kPageSize);
  for (std::uint64_t page = 0; page < 16; ++page) iovas.push_back(mock::abi::kApertureFirst + page * kPageSize);
  return iovas;
}

class Observer {
 public:
  explicit Observer(const Observed& world) : world_(world) {}

  State take() {
    for (const auto& group : world_.system.groups()) add_group(*group);
    for (const auto& device : world_.system.devices()) add_device(*device);
    for (const auto& [descriptor, file] : world_.program.files()) add_file(descriptor, *file);
    Memory& memory = world_.system.machine().memory();
    state_["pinned pages"] = fmt::format("{}", memory.pinned_pages());
    state_["table bytes"] = fmt::format("{}", memory.tables().allocated_bytes());
    const LockedMemory& locked = world_.program.locked();
    state_["locked pages"] = fmt::format("{}, counted as pinned {}", locked.pages(), locked.pinned());
    add_descriptors();
    return std::move(state_);
  }

 private:
  // Domains are told apart by when they are first met, not by where or when they were made.
  std::string describe(Domain& domain) {
    const auto met = std::ranges::find(met_, &domain);
    const auto number = met - met_.begin();
    if (met == met_.end()) met_.push_back(&domain);
    if (const auto* const nested = dynamic_cast<const mock::MockNested*>(&domain)) {
      std::string entries;
      for (unsigned i = 0; i < mock::abi::kIotlbEntries; ++i) entries += fmt::format(" {:x}", nested->cached(i));
      return fmt::format("domain {} (nested):{}", number, entries);
    }
    if (domain.type() != DomainType::paging) return fmt::format("domain {} (static)", number);
    std::string text = fmt::format("domain {}:", number);
    // Pages of files are wherever they were mapped this time: their distances tell enough.
    std::optional<std::uint64_t> elsewhere;
    for (const std::uint64_t iova : probed_iovas()) {
      const auto pa = domain.iova_to_phys(Iova{iova});
      if (!pa) continue;
      const auto host = reinterpret_cast<std::uint64_t>(world_.system.machine().memory().host(*pa));
      const bool in_memory = host - world_.memory < kGiB;
      if (!in_memory && !elsewhere) elsewhere = host;
      text += in_memory ? fmt::format(" {:x}>{:x}", iova, host - world_.memory)
                        : fmt::format(" {:x}>file {:x}", iova, host - *elsewhere);
    }
    const auto* const mock = dynamic_cast<const mock::MockDomain*>(&domain);
    if (mock == nullptr || !mock->can_track_dirty()) return text;
    text += mock->tracks_dirty() ? ", dirty:" : ", dirty pages are not tracked:";
    (void)domain.read_dirty(domain.aperture(), false, [&](Iova first, std::uint64_t bytes) {
      text += fmt::format(" {:x}+{:x}", first.value, bytes);
    });
    return text;
  }

  void add_group(Group& group) {
    Domain* const domain = group.domain();
    state_[fmt::format("group {}", group.id())] =
        fmt::format("owned {}, broken {}, on {}", group.dma_owner_claimed(), group.broken(),
                    domain == nullptr ? "nothing" : describe(*domain));
  }

  // Configuration space, and the MSI-X table that is at the start of BAR 0 of the rig's devices.
  void add_device(const Device& device) {
    PciFunction* const function = device.function();
    if (function == nullptr) return;
    std::string text;
    for (unsigned at = 0; at < 256; at += 4) text += fmt::format("{:x} ", function->config_read(at, 4));
    for (unsigned at = 0; at < 3 * 16; at += 4)
      text += fmt::format("{:x} ", function->bar_window(0).read(function->msix_table_offset() + at, 4));
    state_["device " + device.name()] = text;
  }

  void add_file(int descriptor, File& file) {
    const std::string name = fmt::format("{} {}", file.path(), descriptor);
    if (auto* const iommufd = dynamic_cast<vfio::IommufdFile*>(&file)) {
      unsigned line = 0;
      for (const std::string& text :
           iommufd::StateView::objects(*iommufd->context(), [this](Domain& domain) { return describe(domain); }))
        state_[fmt::format("{}, {}", name, line++)] = text;
      return;
    }
    // A container says of itself what it offers and how much room is left; other files answer an errno.
    std::array<std::uint64_t, 64> info{};
    const std::uint32_t argsz = sizeof info;
    std::memcpy(info.data(), &argsz, sizeof argsz);
    const long answer = file.ioctl(abi::kIommuGetInfo, reinterpret_cast<std::uint64_t>(info.data()));
    std::string text = fmt::format("info {}:", answer);
    for (const std::uint64_t word : info) text += fmt::format(" {:x}", word);
    state_[name] = text;
  }

  // The process's own. Duplicates of an eventfd have its number in the kernel; they are told by the order in which the
  // first of each comes, as other processes make eventfds too.
  void add_descriptors() {
    std::vector<std::string> held;
    std::map<std::string, std::size_t> eventfds;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code gone;
      std::string target = std::filesystem::read_symlink(entry.path(), gone).string();
      if (target.find("eventfd") != std::string::npos) {
        std::ifstream info("/proc/self/fdinfo/" + entry.path().filename().string());
        for (std::string line; std::getline(info, line);)
          if (line.starts_with("eventfd-id"))
            target += fmt::format(" {}", eventfds.try_emplace(line, eventfds.size()).first->second);
      }
      if (target.find("/fd") == std::string::npos) held.push_back(target);  // but for the listing itself
    }
    std::ranges::sort(held);
    for (const std::string& target : held) state_["descriptors"] += target + ", ";
    std::ifstream maps("/proc/self/maps");
    unsigned files = 0;
    for (std::string line; std::getline(maps, line);) files += line.find("/memfd:") != std::string::npos ? 1 : 0;
    state_["mapped memory files"] = fmt::format("{}", files);
  }

  const Observed& world_;
  State state_;
  std::vector<const Domain*> met_;
};

}  // namespace

State state_of(const Observed& world) { return Observer(world).take(); }

std::string difference(const State& before, const State& after) {
  std::string lines;
  const auto said = [](const State& state, const std::string& name) {
    const auto found = state.find(name);
    return found == state.end() ? std::string("(none)") : found->second;
  };
  for (const auto& [name, text] : before)
    if (said(after, name) != text) lines += fmt::format("{}\n  was {}\n  is  {}\n", name, text, said(after, name));
  for (const auto& [name, text] : after)
    if (!before.contains(name)) lines += fmt::format("{}\n  is new: {}\n", name, text);
  return lines;
}

}  // namespace softiommu::test
