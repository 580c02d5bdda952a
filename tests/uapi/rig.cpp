// SPDX-License-Identifier: BSD-3-Clause
#include "uapi/rig.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "base/fault.h"
#include "drivers/registry.h"

namespace softiommu::test {

namespace {

// Access rights of this process's mapping at `address`, or 0.
int rights_at(std::uint64_t address, std::uint64_t& end) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    unsigned long first = 0, last = 0;
    char r = 0, w = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx %c%c", &first, &last, &r, &w) != 4) continue;
    if (address < first || address >= last) continue;
    end = last;
    return (r == 'r' ? PROT_READ : 0) | (w == 'w' ? PROT_WRITE : 0);
  }
  return 0;
}

bool accessible(std::uint64_t user, std::uint64_t bytes, int rights) {
  const fault::Paused rig;  // its allocations are not the call's
  const std::uint64_t last = user + bytes;
  for (std::uint64_t at = user; at < last;) {
    std::uint64_t end = 0;
    if ((rights_at(at, end) & rights) != rights) return false;
    at = end;
  }
  return last >= user;
}

constexpr FunctionIdentity kIdentity{.vendor = 0x1af4,
                                     .device = 0x1234,
                                     .subsystem_vendor = 0x1111,
                                     .subsystem_device = 0x2222,
                                     .class_code = 0x020000,
                                     .revision = 7};
constexpr BarSpec kBarSpecs[] = {{.bytes = 16 * kKiB, .memory64 = true, .prefetchable = true},
                                 {},
                                 {.bytes = 4096},
                                 {.bytes = 32, .io = true},
                                 {.bytes = 256}};

// Registers of BAR 2: a command at 0, its argument at 4, a scratch word at 8; all other BARs are scratch memory.
class GadgetDevice final : public PciFunction {
 public:
  explicit GadgetDevice(const Context& context) : PciFunction(context, kIdentity, kBarSpecs) {
    add_intx_pin(1);
    add_msi(4);
    add_msix(3, 0, 0x2000, 0x3000);
  }
  std::string_view model() const override { return "gadget"; }
  std::uint64_t step(std::uint64_t) override {
    flush_interrupts();
    for (const unsigned vector : std::exchange(queue_, {})) send_message(vector);
    return kIdle;
  }

 protected:
  std::uint64_t bar_read(unsigned bar, std::uint64_t offset, unsigned) override { return scratch_[{bar, offset}]; }
  void bar_write(unsigned bar, std::uint64_t offset, unsigned, std::uint64_t value) override {
    scratch_[{bar, offset}] = value;
    if (bar != 2 || offset != 0) return;
    switch (static_cast<Gadget>(value)) {
      case Gadget::send_message:
        queue_.push_back(static_cast<unsigned>(scratch_[{2, 4}]));
        break;
      case Gadget::raise_intx:
        set_intx(true);
        break;
      case Gadget::lower_intx:
        set_intx(false);
        break;
      default:
        break;
    }
    wake();
  }
  void reset_registers() override { scratch_.clear(); }

 private:
  std::vector<unsigned> queue_;
  std::map<std::pair<unsigned, std::uint64_t>, std::uint64_t> scratch_;
};

}  // namespace

DeviceModel gadget_model() {
  return {"gadget",
          "everything that VFIO shows",
          {},
          [](const PciFunction::Context& context, const Options&) -> Result<std::unique_ptr<PciFunction>> {
            return std::make_unique<GadgetDevice>(context);
          }};
}

FakeProgram::~FakeProgram() = default;

Result<> FakeProgram::copy_in(void* to, std::uint64_t user, std::size_t bytes) {
  TRY(fault::pass("program.copy_in", EFAULT));
  const iovec ours{to, bytes}, theirs{reinterpret_cast<void*>(user), bytes};
  const ssize_t copied = process_vm_readv(getpid(), &ours, 1, &theirs, 1, 0);
  return copied == static_cast<ssize_t>(bytes) ? Result<>{} : fail(EFAULT, "not mapped");
}

Result<> FakeProgram::copy_out(std::uint64_t user, const void* from, std::size_t bytes) {
  TRY(fault::pass("program.copy_out", EFAULT));
  const iovec ours{const_cast<void*>(from), bytes}, theirs{reinterpret_cast<void*>(user), bytes};
  const ssize_t copied = process_vm_writev(getpid(), &ours, 1, &theirs, 1, 0);
  return copied == static_cast<ssize_t>(bytes) ? Result<>{} : fail(EFAULT, "not mapped");
}

Result<> FakeProgram::check_pinnable(std::uint64_t user, std::uint64_t bytes, bool write) {
  TRY(fault::pass("program.pin"));
  if (!accessible(user, bytes, write ? PROT_READ | PROT_WRITE : PROT_READ)) return fail(EFAULT, "not mapped");
  return {};
}

Result<PhysAddr> FakeProgram::registers_at(std::uint64_t user, std::uint64_t, bool) {
  if (!bar || user != bar->first || !bar->second.enabled(bar->second.enabled_context)) return fail(EFAULT, "no BAR");
  return bar->second.physical.value();
}

Result<int> FakeProgram::install(std::shared_ptr<File> file, int) {
  if (const int code = install_errno.exchange(0); code != 0) return fail(code, "asked for");
  TRY(fault::pass("program.descriptor", EMFILE));
  const fault::Paused rig;
  const std::scoped_lock lock(mutex_);
  files_[next_] = std::move(file);
  return next_++;
}

Result<std::shared_ptr<File>> FakeProgram::file_of(int descriptor) {
  {
    const std::scoped_lock lock(mutex_);
    if (const auto found = files_.find(descriptor); found != files_.end()) return found->second;
  }
  if (fcntl(descriptor, F_GETFD) == -1) return fail(EBADF, "closed");
  return fail(EINVAL, "not ours");
}

Result<std::unique_ptr<FileMapping>> FakeProgram::map_file(const FilePart& part) {
  if (is_ours(part.descriptor)) return fail(EINVAL, "not a memory file");
  TRY(fault::pass("program.file"));
  return FileMapping::create(part);
}

Result<int> FakeProgram::take_eventfd(int descriptor) {
  if (is_ours(descriptor)) return fail(EINVAL, "not an eventfd");
  TRY(fault::pass("program.eventfd", EMFILE));
  const fault::Paused rig;
  const int copy = dup(descriptor);
  if (copy < 0) return fail(EBADF, "closed");
  char target[64] = {};
  const std::string link = "/proc/self/fd/" + std::to_string(copy);
  [[maybe_unused]] const auto length = readlink(link.c_str(), target, sizeof target - 1);
  if (std::string_view(target) == "anon_inode:[eventfd]") return copy;
  ::close(copy);
  return fail(EINVAL, "not an eventfd");
}

void FakeProgram::close(int descriptor) {
  std::shared_ptr<File> closed;
  {
    const std::scoped_lock lock(mutex_);
    const auto found = files_.find(descriptor);
    if (found == files_.end()) return;
    closed = std::move(found->second);
    files_.erase(found);
    const auto is_it = [&](const auto& open) { return open.second == closed; };
    if (std::ranges::any_of(files_, is_it)) return;
  }
  closed->release();
}

void FakeProgram::close_all() {
  const auto all = [&] {
    const std::scoped_lock lock(mutex_);
    return std::exchange(files_, {});
  }();
  for (const auto& [descriptor, file] : all) file->release();
}

File& FakeProgram::operator[](int descriptor) {
  const std::scoped_lock lock(mutex_);
  return *files_.at(descriptor);
}

bool FakeProgram::is_ours(int descriptor) {
  const std::scoped_lock lock(mutex_);
  return files_.contains(descriptor);
}

Pages::Pages(std::size_t count, int prot) : bytes_(count * kPageSize) {
  memory_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  std::memset(memory_, 0, bytes_);
  mprotect(memory_, bytes_, prot);
}

Event::Event() : descriptor_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
Event::~Event() { close(descriptor_); }
std::uint64_t Event::take() {
  std::uint64_t count = 0;
  return read(descriptor_, &count, sizeof count) == sizeof count ? count : 0;
}
void Event::signal() {
  const std::uint64_t one = 1;
  ASSERT_EQ(write(descriptor_, &one, sizeof one), static_cast<ssize_t>(sizeof one));
}

void VfioTest::start(const VfioOptions& options, std::string_view more_toml) {
  std::string toml = "[machine]\nname = \"rig\"\n" + std::string(more_toml) + R"(
[[iommu]]
name = "dmar0"
model = "intel-vtd"
[[bridge]]
address = "0000:00:1c.0"
kind = "root-port"
bus = 1
)";
  for (const char* address : {"0000:00:02.0", "0000:00:03.0"}) {
    toml += "[[device]]\naddress = \"" + std::string(address) + "\"\nmodel = \"gadget\"\n";
  }
  for (const char* address : {"0000:01:00.0", "0000:01:00.1"}) {
    toml += "[[device]]\naddress = \"" + std::string(address) + "\"\nmodel = \"gadget\"\nacs = false\n";
  }
  const DeviceModel models[] = {gadget_model()};
  const auto spec = parse_machine(toml, "rig.toml", {}, models);
  ASSERT_TRUE(spec) << spec.error().where << ": " << spec.error().what;
  start_on(*spec, options);
}

void VfioTest::start_on(const MachineSpec& spec, const VfioOptions& options, Rules rules) {
  stop();
  const DeviceModel models[] = {gadget_model()};
  MachineOptions machine_options;
  machine_options.time = Executor::Time::virtual_time;
  machine_options.extra_device_models = models;
  auto machine = Machine::create(spec, machine_options);
  ASSERT_TRUE(machine) << machine.error().why;
  machine_ = std::move(*machine);
  auto system = System::create(*machine_, all_drivers(), {.rules = rules});
  ASSERT_TRUE(system) << system.error().why;
  system_ = std::move(*system);
  vfio_ = std::make_unique<Vfio>(*system_, options);
}

void VfioTest::stop() {
  program_.close_all();
  vfio_.reset();
  system_.reset();
  machine_.reset();
  container_ = group_ = -1;
}

void VfioTest::TearDown() {
  program_.close_all();
  if (vfio_ != nullptr) {
    EXPECT_EQ(locked_pages(), 0U) << "closing everything gives all memory back";
    EXPECT_EQ(iommufd_pages(), 0U);
    EXPECT_EQ(machine_->memory().pinned_pages(), 0U);
  }
  stop();
}

int VfioTest::open_container() { return installed(vfio_->open_container(program_)); }

int VfioTest::open_group(const std::string& device) { return installed(vfio_->open_group(program_, group_of(device))); }

int VfioTest::installed(Result<std::shared_ptr<File>> opened) {
  if (!opened) return -opened.error().code;
  const auto descriptor = program_.install(*std::move(opened), 0);
  return descriptor ? *descriptor : -descriptor.error().code;
}

long VfioTest::set_container(int group, int container) {
  const std::int32_t descriptor = container;
  return call(group, abi::kGroupSetContainer, &descriptor);
}

void VfioTest::attach(abi::Extension type, const std::string& device) {
  container_ = open_container();
  group_ = open_group(device);
  ASSERT_GT(group_, 0);
  ASSERT_EQ(set_container(group_, container_), 0);
  ASSERT_EQ(call(container_, abi::kSetIommu, static_cast<std::uint64_t>(type)), 0);
}

long VfioTest::add(const std::string& device) {
  const int group = open_group(device);
  return group < 0 ? group : set_container(group, container_);
}

int VfioTest::open_device(const std::string& name) {
  return static_cast<int>(call(group_, abi::kGroupGetDeviceFd, name.c_str()));
}

long VfioTest::map(std::uint64_t iova, std::uint64_t user, std::uint64_t bytes, std::uint32_t flags) {
  const abi::DmaMap request{sizeof request, flags, user, iova, bytes};
  return call(container_, abi::kIommuMapDma, &request);
}

std::pair<long, std::uint64_t> VfioTest::unmap(std::uint64_t iova, std::uint64_t bytes, std::uint32_t flags) {
  abi::DmaUnmap request{sizeof request, flags, iova, bytes};
  const long answer = call(container_, abi::kIommuUnmapDma, &request);
  return {answer, request.size};
}

char VfioTest::dma_read(std::uint64_t iova, const std::string& device) {
  char value = 0;
  DmaPort& port = system_->device(device)->function()->dma();
  return port.read(Iova{iova}, std::as_writable_bytes(std::span(&value, 1))) ? value : '-';
}

bool VfioTest::dma_write(std::uint64_t iova, char value, const std::string& device) {
  DmaPort& port = system_->device(device)->function()->dma();
  return static_cast<bool>(port.write(Iova{iova}, std::as_bytes(std::span(&value, 1))));
}

long VfioTest::set_irqs(int device, std::uint32_t flags, std::uint32_t index, std::uint32_t start,
                        std::vector<std::int32_t> events) {
  struct {
    abi::IrqSet head;
    std::int32_t events[8];
  } request{};
  request.head = {static_cast<std::uint32_t>(sizeof(abi::IrqSet) + events.size() * sizeof(std::int32_t)),
                  flags | abi::kIrqSetDataEventfd, index, start, static_cast<std::uint32_t>(events.size())};
  std::ranges::copy(events, request.events);
  return call(device, abi::kDeviceSetIrqs, &request);
}

long VfioTest::set_irqs_count(int device, std::uint32_t flags, std::uint32_t index, std::uint32_t start,
                              std::uint32_t count) {
  const abi::IrqSet request{sizeof request, flags | abi::kIrqSetDataNone, index, start, count};
  return call(device, abi::kDeviceSetIrqs, &request);
}

long VfioTest::hot_reset(int device, const std::vector<int>& groups) {
  struct {
    abi::HotReset head;
    std::int32_t groups[4];
  } request{{sizeof request, 0, static_cast<std::uint32_t>(groups.size())}, {}};
  std::ranges::copy(groups, request.groups);
  return call(device, abi::kDevicePciHotReset, &request);
}

void VfioTest::tell(int device, Gadget what, std::uint32_t value) {
  ASSERT_EQ(write_region(device, 2, 4, value), 4);
  ASSERT_EQ(write_region(device, 2, 0, static_cast<std::uint32_t>(what)), 4);
  run();
}

}  // namespace softiommu::test
