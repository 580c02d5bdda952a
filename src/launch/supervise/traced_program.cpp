// SPDX-License-Identifier: BSD-3-Clause
#include "launch/supervise/traced_program.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <utility>

#include "launch/engine/shim_services.h"
#include "launch/supervise/filter.h"

namespace softiommu::launch {
namespace {

constexpr std::uint64_t kPage = 4096, kNoDescriptor = ~std::uint64_t{0};
constexpr std::uint64_t kTogether = 2 << 20;  // private memory moves in pieces of this size

std::uint64_t word(int descriptor) { return static_cast<std::uint64_t>(descriptor); }

// The bytes of [first, first + bytes) of `program` as a memory file. Pages of zeroes stay holes.
bool copy_to_file(const TracedProgram& program, std::uint64_t first, std::uint64_t bytes, int file) {
  static constexpr std::byte kZeroes[kPage] = {};
  std::byte page[kPage];
  for (std::uint64_t done = 0; done < bytes; done += kPage) {
    if (program.peek(first + done, page, kPage) != kPage) return false;
    if (std::memcmp(page, kZeroes, kPage) == 0) continue;
    if (::pwrite(file, page, kPage, static_cast<off_t>(done)) != static_cast<ssize_t>(kPage)) return false;
  }
  return true;
}

void copy_from_file(int file, const TracedProgram& program, const Mapping& line) {
  std::byte page[kPage];
  std::uint64_t offset = line.offset;
  for (std::uint64_t at = line.first; at < line.last; at += kPage, offset += kPage) {
    if (::pread(file, page, kPage, static_cast<off_t>(offset)) == static_cast<ssize_t>(kPage))
      program.poke(at, page, kPage);
  }
}

bool is_of(const Mapping& line, const Space::Moved& memory) {
  return line.shared && line.inode == memory.inode && line.device == memory.device;
}

// A message with one descriptor, as recvmsg shall find it in the program's scratch memory.
struct Letter {
  msghdr message;
  iovec part;
  char byte;
  alignas(8) char control[CMSG_SPACE(sizeof(int))];

  // For a process that has it at `place`.
  explicit Letter(std::uint64_t place) : message{}, part{}, byte(0), control{} {
    part = {reinterpret_cast<void*>(place + offsetof(Letter, byte)), 1};
    message.msg_iov = reinterpret_cast<iovec*>(place + offsetof(Letter, part));
    message.msg_iovlen = 1;
    message.msg_control = reinterpret_cast<void*>(place + offsetof(Letter, control));
    message.msg_controllen = sizeof control;
  }
};

bool send_descriptor(int socket, int descriptor) {
  Letter letter(0);
  letter = Letter(reinterpret_cast<std::uint64_t>(&letter));
  auto* head = reinterpret_cast<cmsghdr*>(letter.control);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(head), &descriptor, sizeof descriptor);
  return ::sendmsg(socket, &letter.message, MSG_NOSIGNAL) == 1;
}

}  // namespace

// --- the address space ---------------------------------------------------------------------------------------

Space::Space(Bystanders& bystanders) : next_bar(kBarWindowFirst), others(bystanders) {}
Space::~Space() {
  for (const Moved& range : moved) close_hidden(range.file);
}

void Space::leave(std::uint64_t scratch) {
  if (scratch != 0) free_scratch_.push_back(scratch);
  if (--threads_ == 0) regions.remove(0, ~std::uintptr_t{0});
}

std::uint64_t Space::take_scratch() {
  if (free_scratch_.empty()) return 0;
  const std::uint64_t place = free_scratch_.back();
  free_scratch_.pop_back();
  return place;
}

void Space::forget_unmapped(const std::vector<Mapping>& mappings) {
  std::erase_if(moved, [&](const Moved& memory) {
    const bool mapped = std::ranges::any_of(mappings, [&](const Mapping& line) { return is_of(line, memory); });
    if (!mapped) close_hidden(memory.file);
    return !mapped;
  });
}

Result<> Space::copy_from(const Space& parent) {
  windows = parent.windows;
  next_bar = parent.next_bar;
  sees_low_handles = parent.sees_low_handles;
  has_call_page = parent.has_call_page;
  for (TrapRegion& region : parent.regions.all()) TRY(regions.add(std::move(region)));
  return {};
}

// --- the process ---------------------------------------------------------------------------------------------

Result<std::shared_ptr<TracedProgram>> TracedProgram::create(pid_t process, Owner& owner,
                                                             std::shared_ptr<Space> space) {
  const auto opened = static_cast<int>(::syscall(SYS_pidfd_open, process, 0));
  const bool full = opened < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM);
  if (opened < 0 && !full) return fail(ESRCH, "the process has ended");
  const int pidfd = full ? -1 : hide_descriptor(opened);
  if (pidfd < 0) return fail(EMFILE, "no descriptor is left");
  const auto maps = open_maps(process);
  if (!maps) {
    close_hidden(pidfd);
    return std::unexpected(maps.error());
  }
  return std::shared_ptr<TracedProgram>(new TracedProgram(process, *maps, pidfd, owner, std::move(space)));
}

TracedProgram::~TracedProgram() { close_hidden(pidfd_); }

std::size_t TracedProgram::peek(std::uint64_t from, void* to, std::size_t bytes) const {
  const iovec here{to, bytes}, there{reinterpret_cast<void*>(from), bytes};
  const ssize_t got = ::process_vm_readv(pid(), &here, 1, &there, 1, 0);
  return got < 0 ? 0 : static_cast<std::size_t>(got);
}

bool TracedProgram::poke(std::uint64_t to, const void* from, std::size_t bytes) const {
  const iovec here{const_cast<void*>(from), bytes}, there{reinterpret_cast<void*>(to), bytes};
  return ::process_vm_writev(pid(), &here, 1, &there, 1, 0) == static_cast<ssize_t>(bytes);
}

Result<int> TracedProgram::take(int descriptor) const {
  const long got = ::syscall(SYS_pidfd_getfd, pidfd_, descriptor, 0);
  if (got < 0) return fail(errno, "the descriptor cannot be taken");
  return static_cast<int>(got);
}

Result<struct stat> TracedProgram::status_of(int descriptor) const {
  struct stat status{};
  const int copy = TRY(take(descriptor));
  const bool known = ::fstat(copy, &status) == 0;
  ::close(copy);
  if (!known) return fail(EBADF, "the descriptor has no file");
  return status;
}

// --- what a served program is asked --------------------------------------------------------------------------

Result<Packet> TracedProgram::ask(Packet question, std::span<const std::byte> bytes, std::span<std::byte> room) {
  const auto& value = question.head.value;
  Packet answer;
  answer.head.verb = Verb::answer;
  switch (question.head.verb) {
    case Verb::copy_in:
    case Verb::copy_out: {  // memory that cannot be copied at once: part of it is a device's, or missing
      Bus bus(space_->regions, *this);
      const bool in = question.head.verb == Verb::copy_in;
      const bool done =
          in ? bus.read(value[0], room.data(), value[1]) : bus.write(value[0], bytes.data(), bytes.size());
      if (!done) return fail(EFAULT, "the program's memory cannot be reached");
      return answer;
    }
    case Verb::install:
      answer.head.result = TRY(give(question.descriptor, static_cast<int>(value[0])));
      return answer;
    case Verb::take_back:
      if (thread_ != nullptr) TRY(thread_->run(SYS_close, {value[0]}));
      return answer;
    case Verb::file_of: {
      const auto status = TRY(status_of(static_cast<int>(value[0])));
      if (!S_ISSOCK(status.st_mode)) return fail(EINVAL, "the descriptor is not a file of ours");
      answer.head.value[0] = status.st_ino;
      return answer;
    }
    case Verb::take_eventfd:
    case Verb::take_file:
      answer.descriptor = TRY(take(static_cast<int>(value[0])));
      return answer;
    case Verb::share:
      return share(value[0], value[1]);
    default:
      return fail(EINVAL, "no question");
  }
}

// The program's table has no room for a number that we choose; what recvmsg gives is moved up.
Result<int> TracedProgram::give(int descriptor, int flags) {
  if (thread_ == nullptr) return fail(EFAULT, "no thread of the process is in a call");
  const std::uint64_t place = TRY(thread_->scratch());
  int ends[2];
  TRY(thread_->run(SYS_socketpair, {AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, place}));
  if (!read(place, ends, sizeof ends)) return fail(EFAULT, "the program's memory cannot be reached");
  bool sent = false;
  if (const auto ours = take(ends[1])) {
    sent = send_descriptor(*ours, descriptor);
    ::close(*ours);
  }
  const auto given = sent ? receive(ends[0], flags) : Result<int>(fail(EMFILE, "a descriptor cannot be handed over"));
  TRY(thread_->run(SYS_close, {word(ends[0])}));
  TRY(thread_->run(SYS_close, {word(ends[1])}));
  return given;
}

Result<int> TracedProgram::receive(int socket, int flags) {
  const std::uint64_t place = TRY(thread_->scratch());
  Letter letter(place);
  int low = -1;
  if (!poke(place, &letter, sizeof letter)) return fail(EFAULT, "the program's memory cannot be reached");
  TRY(thread_->run(SYS_recvmsg, {word(socket), place, MSG_CMSG_CLOEXEC}));
  if (peek(place, &letter, sizeof letter) != sizeof letter)
    return fail(EFAULT, "the program's memory cannot be reached");
  if (letter.message.msg_controllen < CMSG_LEN(sizeof low)) return fail(EMFILE, "no descriptor is left");
  std::memcpy(&low, CMSG_DATA(reinterpret_cast<cmsghdr*>(letter.control)), sizeof low);
  const int command = (flags & O_CLOEXEC) != 0 ? F_DUPFD_CLOEXEC : F_DUPFD;
  auto high = thread_->run(SYS_fcntl, {word(low), word(command), kLowestHandle});
  if (!high && high.error().code == EINVAL) high = thread_->run(SYS_fcntl, {word(low), word(command), 0});
  TRY(thread_->run(SYS_close, {word(low)}));
  if (!high) return fail(EMFILE, "no descriptor is left");
  return static_cast<int>(*high);
}

// --- private memory for DMA ----------------------------------------------------------------------------------

Result<Packet> TracedProgram::share(std::uint64_t first, std::uint64_t bytes) {
  if (thread_ == nullptr) return fail(EFAULT, "no thread of the process is in a call");
  const std::string maps = maps_text();
  space_->forget_unmapped(parse_mappings(maps));
  const auto lines = parse_mappings(maps, first, first);
  if (lines.empty() || lines.front().shared || lines.front().last < first + (bytes - 1))
    return fail(EFAULT, "not one private mapping");
  // Its neighbours, too: a program that maps page after page shall not need a file for each. A stack's stay what they
  // are, because it grows by them.
  if (lines.front().path != "[stack]") {
    const std::uint64_t last = std::min(lines.front().last, (first + (bytes - 1)) | (kTogether - 1));
    first = std::max<std::uint64_t>(lines.front().first, first & ~(kTogether - 1));
    bytes = last + 1 - first;
  }
  const int file = hide_descriptor(::memfd_create("softiommu", MFD_CLOEXEC));
  struct stat status{};
  if (file < 0 || ::ftruncate(file, static_cast<off_t>(bytes)) != 0 || ::fstat(file, &status) != 0) {
    close_hidden(file);
    return fail(EMFILE, "no memory file");
  }
  Packet answer;
  const auto copy = move(lines.front(), first, bytes, file);
  if (!copy) {
    close_hidden(file);
    return std::unexpected(copy.error());
  }
  space_->moved.push_back({file, status.st_dev, status.st_ino});
  answer.descriptor = ::fcntl(file, F_DUPFD_CLOEXEC, 0);
  return answer;
}

// While the content moves no thread may write there; read-only pages would not do, because the kernel itself writes
// into a thread's memory (rseq).
Result<> TracedProgram::move(const Mapping& line, std::uint64_t first, std::uint64_t bytes, int file) {
  const auto prot = static_cast<std::uint64_t>(line.prot);
  const int given = TRY(give(file, O_CLOEXEC));
  space_->others.stop_others(*thread_);
  Result<std::uint64_t> done = fail(EFAULT, "the memory cannot be read");
  if (copy_to_file(*this, first, bytes, file))
    done = thread_->run(SYS_mmap, {first, bytes, prot, MAP_SHARED | MAP_FIXED, word(given), 0});
  TRY(thread_->run(SYS_close, {word(given)}));
  if (!done) return std::unexpected(done.error());
  return {};
}

std::vector<TracedProgram::MovedPart> TracedProgram::moved_parts(std::uint64_t first, std::uint64_t last) {
  std::vector<MovedPart> found;
  const auto lines = parse_mappings(maps_text());
  space_->forget_unmapped(lines);
  for (const Mapping& line : lines) {
    const auto memory =
        std::ranges::find_if(space_->moved, [&](const Space::Moved& moved) { return is_of(line, moved); });
    if (memory == space_->moved.end() || line.last < first || last < line.first) continue;
    MovedPart& part = found.emplace_back(line, memory->file);
    part.line.first = std::max(line.first, first);
    part.line.last = std::min(line.last, last);
    part.line.offset += part.line.first - line.first;
  }
  return found;
}

// A private copy in the place of the mapping, made by the child.
void TracedProgram::make_private(Tracee& child) {
  child.begin_calls();
  for (const auto& [line, file] : moved_parts(0, ~std::uint64_t{0})) {
    const std::uint64_t bytes = line.last + 1 - line.first;
    constexpr std::uint64_t kWritable = PROT_READ | PROT_WRITE, kPlace = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    if (!child.run(SYS_mmap, {line.first, bytes, kWritable, kPlace, kNoDescriptor, 0})) continue;
    copy_from_file(file, child.program(), line);
    if (line.prot != static_cast<int>(kWritable))
      (void)child.run(SYS_mprotect, {line.first, bytes, static_cast<std::uint64_t>(line.prot)});
  }
  child.end_calls();
}

}  // namespace softiommu::launch
