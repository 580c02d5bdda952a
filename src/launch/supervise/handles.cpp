// SPDX-License-Identifier: BSD-3-Clause
#include "launch/supervise/handles.h"

#include <fcntl.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

#include "launch/engine/engine.h"
#include "launch/engine/state.h"
#include "launch/service/caller.h"
#include "launch/service/service.h"
#include "launch/supervise/filter.h"
#include "launch/supervise/foreign_file.h"
#include "launch/supervise/paths.h"
#include "launch/supervise/traced_program.h"

namespace softiommu::launch {
namespace {

constexpr std::uint64_t kPage = 4096, kNoDescriptor = ~std::uint64_t{0};
std::uint64_t page_up(std::uint64_t bytes) { return align_up(bytes, kPage); }

// The files see this program as their caller, and its thread makes the calls that they need.
class Served {
 public:
  explicit Served(Tracee& thread) : calls_(thread), caller_(thread.program()) {}

 private:
  TracedProgram::Serving calls_;
  Caller::Serving caller_;
};

long code(const Error& error) { return -error.code; }

long run_call(Tracee& thread, long number, const std::array<std::uint64_t, 6>& arguments) {
  const auto result = thread.run(number, arguments);
  return result ? static_cast<long>(*result) : code(result.error());
}

// The call as it is, after others have been made.
bool put_through(Tracee& thread, const SystemCall& call) {
  thread.answer(run_call(thread, call.number, call.argument));
  return true;
}

// --- filters that a program gets later -----------------------------------------------------------------------

// In all threads of the process. A filter can only be added; a program whose own filter forbids that goes without.
void add_filter(Tracee& thread, const std::vector<sock_filter>& filter) {
  const auto place = thread.scratch();
  if (!place) return;
  struct Filter {
    sock_fprog program;
    sock_filter code[256];
  } filled{};
  static_assert(sizeof filled <= Tracee::kScratchBytes);
  if (filter.size() > std::size(filled.code)) return;
  filled.program = {static_cast<unsigned short>(filter.size()),
                    reinterpret_cast<sock_filter*>(*place + offsetof(Filter, code))};
  std::ranges::copy(filter, filled.code);
  const std::size_t bytes = offsetof(Filter, code) + filter.size() * sizeof(sock_filter);
  if (!thread.program().poke(*place, &filled, bytes)) return;
  (void)thread.run(SYS_seccomp, {SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, *place});
}

void see_low_handles(Tracee& thread, int descriptor) {
  Space& space = thread.program().space();
  if (descriptor >= kLowestHandle || space.sees_low_handles) return;
  space.sees_low_handles = true;
  add_filter(thread, low_handle_filter());
}

void see_window(Tracee& thread, std::uint64_t address) {
  const auto upper = static_cast<std::uint32_t>(address >> 32);
  std::vector<std::uint32_t>& windows = thread.program().space().windows;
  if (upper == kBarWindow || std::ranges::find(windows, upper) != windows.end()) return;
  windows.push_back(upper);
  add_filter(thread, window_filter(upper));
}

// A filter that the program installs: it gets that filter with an exemption for the calls that are made for us.
bool answer_own_filter(Tracee& thread, const SystemCall& call) {
  const std::uint64_t from = call.argument[2];  // of seccomp() and of prctl()
  sock_fprog program{};
  const auto place = thread.scratch();
  if (!place || !thread.program().read(from, &program, sizeof program) || program.len > BPF_MAXINSNS) {
    return put_through(thread, call);
  }
  std::vector<sock_filter> code(program.len);
  const std::size_t bytes = code.size() * sizeof(sock_filter);
  if (!thread.program().read(reinterpret_cast<std::uintptr_t>(program.filter), code.data(), bytes) ||
      !thread.make_call_page()) {
    return put_through(thread, call);
  }
  const std::vector<sock_filter> changed = with_exemption(code);
  const std::uint64_t room = page_up(changed.size() * sizeof(sock_filter));
  const auto copy =
      thread.run(SYS_mmap, {0, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, kNoDescriptor, 0});
  if (!copy) return put_through(thread, call);
  program.len = static_cast<unsigned short>(changed.size());
  program.filter = reinterpret_cast<sock_filter*>(*copy);
  auto arguments = call.argument;
  arguments[2] = *place;
  const bool told = thread.program().poke(*copy, changed.data(), changed.size() * sizeof(sock_filter)) &&
                    thread.program().poke(*place, &program, sizeof program);
  const long result = told ? run_call(thread, call.number, arguments) : -ENOMEM;
  (void)thread.run(SYS_munmap, {*copy, room});
  thread.answer(result);
  return true;
}

// --- reads and writes ----------------------------------------------------------------------------------------

struct Transfer {
  int number;
  bool write, vector, offset;
};
constexpr Transfer kTransfers[] = {
    {SYS_read, false, false, false},   {SYS_write, true, false, false}, {SYS_pread64, false, false, true},
    {SYS_pwrite64, true, false, true}, {SYS_readv, false, true, false}, {SYS_writev, true, true, false},
    {SYS_preadv, false, true, true},   {SYS_pwritev, true, true, true}, {SYS_preadv2, false, true, true},
    {SYS_pwritev2, true, true, true},
};

long transfer_parts(const Tracee& thread, const SystemCall& call, const Transfer& form, OpenFile& open) {
  const off_t offset = form.offset ? static_cast<off_t>(call.argument[3]) : -1;
  if (form.offset && offset < 0) return -EINVAL;
  if (!form.vector) return transfer(open, call.argument[1], call.argument[2], offset, form.write);
  long done = 0;
  for (std::uint64_t i = 0; i < std::min<std::uint64_t>(call.argument[2], IOV_MAX); ++i) {
    iovec part{};
    if (thread.program().peek(call.argument[1] + i * sizeof part, &part, sizeof part) != sizeof part) return -EFAULT;
    if (part.iov_len == 0) continue;
    const off_t at = offset < 0 ? offset : offset + done;
    const long got = transfer(open, reinterpret_cast<std::uint64_t>(part.iov_base), part.iov_len, at, form.write);
    if (got < 0) return done > 0 ? done : got;
    done += got;
    if (static_cast<std::size_t>(got) < part.iov_len) break;
  }
  return done;
}

// --- descriptors ---------------------------------------------------------------------------------------------

// Duplicates stay where the filter sees them.
long duplicate(Tracee& thread, std::uint64_t descriptor, std::uint64_t command, std::uint64_t least) {
  const auto high = std::max<std::uint64_t>(least, kLowestHandle);
  return run_call(thread, SYS_fcntl, {descriptor, command, high});
}

bool control(Tracee& thread, const SystemCall& call, OpenFile& open) {
  switch (call.argument[1]) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC:
      thread.answer(duplicate(thread, call.argument[0], call.argument[1], call.argument[2]));
      return true;
    case F_GETFL:
      thread.answer(open.shown_flags());
      return true;
    case F_SETFL:
      open.change_flags(call.integer(2));
      thread.answer(0);
      return true;
    default:
      return false;
  }
}

bool duplicate_onto(Tracee& thread, const SystemCall& call) {
  const long made = run_call(thread, call.number, call.argument);
  if (made >= 0) see_low_handles(thread, static_cast<int>(made));
  thread.answer(made);
  return true;
}

// --- mappings ------------------------------------------------------------------------------------------------

struct Placement {  // of an mmap
  std::uint64_t address, bytes, prot, flags, offset;
  bool fixed() const { return (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0; }
};

Result<std::uint64_t> map_trapped(Tracee& thread, const Placement& wish, const MmapPlan& plan,
                                  const Descriptors::Use& open) {
  Space& space = thread.program().space();
  std::uint64_t address = wish.address, flags = wish.flags & (MAP_FIXED | MAP_FIXED_NOREPLACE);
  if (!wish.fixed()) {
    address = space.next_bar;
    flags = MAP_FIXED_NOREPLACE;
    space.next_bar += page_up(wish.bytes) + kPage;
    if (space.next_bar > kBarWindowLast) return fail(ENOMEM, "no address space for registers");
  }
  flags |= MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  const std::uint64_t first = TRY(thread.run(SYS_mmap, {address, wish.bytes, PROT_NONE, flags, kNoDescriptor, 0}));
  TrapRegion region = region_of(plan, first, wish.bytes, static_cast<int>(wish.prot));
  region.holds = open.share();
  region.open = open.get();
  region.file_offset = wish.offset;
  space.regions.remove(first, region.last);  // not before: the kernel may refuse
  if (const auto added = space.regions.add(std::move(region)); !added) {
    (void)thread.run(SYS_munmap, {first, wish.bytes});
    return std::unexpected(added.error());
  }
  see_window(thread, first);
  return first;
}

Result<std::uint64_t> map_shared(Tracee& thread, const Placement& wish, const MmapPlan& plan) {
  const int given = TRY(thread.program().give(plan.descriptor, O_CLOEXEC));
  const auto mapped = thread.run(
      SYS_mmap, {wish.address, wish.bytes, wish.prot, wish.flags, static_cast<std::uint64_t>(given), plan.offset});
  TRY(thread.run(SYS_close, {static_cast<std::uint64_t>(given)}));
  return mapped;
}

long map_handle(Tracee& thread, const SystemCall& call, const Descriptors::Use& open) {
  const auto& a = call.argument;
  const Placement wish{a[0], a[1], a[2], a[3], a[5]};
  if (wish.bytes == 0 || wish.offset % kPage != 0 || static_cast<std::int64_t>(wish.offset) < 0) return -EINVAL;
  MmapPlan plan;
  const int error =
      open->file->mmap(wish.offset, wish.bytes, static_cast<int>(wish.prot), static_cast<int>(wish.flags), plan);
  if (error != 0) return error;
  const auto mapped =
      plan.kind == MmapPlan::Kind::memory ? map_shared(thread, wish, plan) : map_trapped(thread, wish, plan, open);
  return mapped ? static_cast<long>(*mapped) : code(mapped.error());
}

// Moved memory that grows needs a larger file.
bool grow_moved(Tracee& thread, const TracedProgram::MovedPart& part, std::uint64_t bytes) {
  struct stat status{};
  const auto needed = static_cast<off_t>(part.line.offset + page_up(bytes));
  if (::fstat(part.file, &status) == 0 && needed <= status.st_size) return false;
  if (::ftruncate(part.file, needed) == 0) return false;
  thread.answer(-ENOMEM);
  return true;
}

// Fresh pages for the program; the device keeps those that it has.
bool drop_moved(Tracee& thread, const SystemCall& call, const std::vector<TracedProgram::MovedPart>& parts) {
  const long result = run_call(thread, call.number, call.argument);
  for (const auto& [line, file] : parts) {
    if (result < 0) break;
    (void)thread.run(SYS_mmap, {line.first, line.last + 1 - line.first, static_cast<std::uint64_t>(line.prot),
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, kNoDescriptor, 0});
  }
  thread.answer(result);
  return true;
}

// Memory that was moved for DMA is a file's: what it would do as private memory is done here.
bool answer_moved_call(Tracee& thread, const SystemCall& call) {
  const bool advice = call.number == SYS_madvise;
  const bool free_late = advice && call.argument[2] == MADV_FREE;  // for private memory only
  const bool free_now = advice && call.argument[2] == MADV_DONTNEED;
  if (!free_late && !free_now && call.number != SYS_mremap) return false;
  if (thread.program().space().moved.empty()) return false;
  const std::uint64_t first = call.argument[0];
  const auto parts = thread.program().moved_parts(first, first + page_up(call.argument[1]) - 1);
  if (parts.empty()) return false;
  if (call.number == SYS_mremap) return grow_moved(thread, parts.front(), call.argument[2]);
  if (free_now) return drop_moved(thread, call, parts);
  thread.answer(0);  // it may be freed late, or never
  return true;
}

// Calls on addresses that may be registers. As Linux: device memory neither grows nor moves.
bool answer_address_call(Tracee& thread, const SystemCall& call) {
  TrapRegions& regions = thread.program().space().regions;
  const std::uint64_t first = call.argument[0], bytes = call.argument[1];
  if (bytes == 0 || first + (bytes - 1) < first) return false;
  if (!regions.overlaps(first, first + page_up(bytes) - 1)) return answer_moved_call(thread, call);
  switch (call.number) {
    case SYS_mremap:
      thread.answer(-EFAULT);
      return true;
    case SYS_mprotect:  // inaccessible they stay, or they would not trap
    case SYS_madvise:
      thread.answer(0);
      return true;
    default: {  // munmap, and mmap onto them: the kernel first, because it may refuse
      const long result = run_call(thread, call.number, call.argument);
      if (result >= 0) regions.remove(first, first + page_up(bytes) - 1);
      thread.answer(result);
      return true;
    }
  }
}

bool answer_mmap(Tracee& thread, const SystemCall& call) {
  const bool of_file = (call.argument[3] & MAP_ANONYMOUS) == 0;
  const auto open = of_file ? handle_of(thread, call.integer(4)) : Descriptors::Use();
  if (!open) return answer_address_call(thread, call);
  const Served served(thread);
  thread.answer(map_handle(thread, call, open));
  return true;
}

bool answer_ioctl(Tracee& thread, const SystemCall& call, OpenFile& open) {
  release_closed();
  const Served served(thread);
  const long result = open.file->ioctl(static_cast<unsigned>(call.argument[1]), call.argument[2]);
  see_low_handles(thread, call.integer(0));  // it came over a socket, or by dup2
  thread.answer(result);
  return true;
}

bool answer_stat(Tracee& thread, const SystemCall& call) {
  struct stat status{};
  const auto result = describe_handle(thread, call.integer(0), status);
  if (!result) return false;
  const bool told = *result < 0 || thread.program().poke(call.argument[1], &status, sizeof status);
  thread.answer(told ? *result : -EFAULT);
  return true;
}

bool answer_on(Tracee& thread, const SystemCall& call, OpenFile& open) {
  if (const auto* form = std::ranges::find(kTransfers, call.number, &Transfer::number); form != std::end(kTransfers)) {
    const Served served(thread);
    thread.answer(transfer_parts(thread, call, *form, open));
    return true;
  }
  switch (call.number) {
    case SYS_ioctl:
      return answer_ioctl(thread, call, open);
    case SYS_fcntl:
      return control(thread, call, open);
    case SYS_dup:
      thread.answer(duplicate(thread, call.argument[0], F_DUPFD, 0));
      return true;
    case SYS_dup2:
    case SYS_dup3:
      return duplicate_onto(thread, call);
    case SYS_epoll_ctl:
      thread.answer(-EPERM);  // as Linux for a file without a poll method
      return true;
    default:
      return false;
  }
}

// Of a process outside of the tree. Known for this call only (a mapping keeps it): a duplicate that we kept would hide
// the program's last close from the owner.
Descriptors::Use foreign_handle(Tracee& thread, int copy) {
  const auto adopted = without_throwing([&] {
    return engine->descriptors.adopt(copy, O_RDWR, [&](int channel) -> std::shared_ptr<File> {
      return std::make_shared<ForeignFile>(channel, engine->served, thread);
    });
  });
  if (!adopted) {
    ::close(copy);
    return {};
  }
  Descriptors::Use use = engine->descriptors.find(copy);
  if (const auto* const file = use ? dynamic_cast<const RemoteFile*>(use->file.get()) : nullptr)
    use->flags = file->describe().flags;
  engine->descriptors.close(copy);
  return use;
}

}  // namespace

Descriptors::Use handle_of(Tracee& thread, int descriptor) {
  if (descriptor < 0) return {};
  const auto copy = thread.program().take(descriptor);
  if (!copy) return {};
  struct stat status{};
  const bool socket = ::fstat(*copy, &status) == 0 && S_ISSOCK(status.st_mode);
  Descriptors::Use use = socket ? Descriptors::use_for_service(status.st_ino) : Descriptors::Use();
  const HandleTable* const handles = socket && !use ? engine->handles() : nullptr;
  if (handles == nullptr || !handles->contains(status.st_ino)) {
    ::close(*copy);
    return use;
  }
  return foreign_handle(thread, *copy);
}

long open_device(Tracee& thread, const char* path, int flags) {
  release_closed();
  const Served served(thread);
  const auto given = without_throwing([&]() -> Result<int> {
    World* const world = TRY(the_world());
    engine->service.begin();  // sees the last close
    Opened made = TRY(world->open(path, *engine->caller));
    const int handle = TRY(
        engine->descriptors.make_handle(std::move(made.file), flags, engine->handles(), std::move(made.on_release)));
    const auto number = thread.program().give(handle, flags);
    ::close(handle);
    if (number) see_low_handles(thread, *number);
    return number;
  });
  return given ? *given : code(given.error());
}

long give_away(Tracee& thread, int descriptor, int flags) {
  const Served served(thread);
  const auto given = thread.program().give(descriptor, flags);
  ::close(descriptor);
  return given ? *given : code(given.error());
}

bool answer_handle_call(Tracee& thread, const SystemCall& call) {
  switch (call.number) {
    case SYS_mmap:
      return answer_mmap(thread, call);
    case SYS_munmap:
    case SYS_mremap:
    case SYS_mprotect:
    case SYS_madvise:
      return answer_address_call(thread, call);
    case SYS_fstat:
      return answer_stat(thread, call);
    case SYS_seccomp:
    case SYS_prctl:
      return answer_own_filter(thread, call);
    default: {
      const auto open = handle_of(thread, call.integer(call.number == SYS_epoll_ctl ? 2 : 0));
      return open && answer_on(thread, call, *open.get());
    }
  }
}

void release_closed() {
  engine->descriptors.each_own([](OpenFile& open) { Descriptors::hung_up(open); });
  // The service's thread sees a close, too, and may be at it.
  constexpr int kMostLooks = 100'000;
  constexpr timespec kPause = {0, 50'000};
  for (int i = 0; i < kMostLooks && Descriptors::any_ending(); ++i) ::nanosleep(&kPause, nullptr);
}

}  // namespace softiommu::launch
