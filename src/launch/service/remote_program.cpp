// SPDX-License-Identifier: BSD-3-Clause
#include "launch/service/remote_program.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "base/types.h"
#include "launch/engine/shim_services.h"
#include "machine/host_pages.h"
#include "machine/memory.h"

namespace softiommu::launch {
namespace {

constexpr int kPatienceMilliseconds = 5000;  // for a thread that waits in a call: only a stopped one takes longer

struct Talk {
  const RemoteProgram* program = nullptr;
  int socket = -1;
};
constinit thread_local Talk talk __attribute__((tls_model("initial-exec"))) = {};

std::string read_from_start(int fd) {
  std::string text;
  char part[16384];
  ssize_t got;
  if (::lseek(fd, 0, SEEK_SET) != 0) return text;
  while ((got = ::read(fd, part, sizeof part)) > 0) text.append(part, static_cast<std::size_t>(got));
  return text;
}

// Opens a path if that is the object. -1: it is not, or may not be opened so.
int open_object(const std::string& path, const ObjectPart& part) {
  struct stat status{};
  const int file = ::open(path.c_str(), (part.write ? O_RDWR : O_RDONLY) | O_CLOEXEC);
  if (file < 0) return -1;
  if (::fstat(file, &status) == 0 && status.st_ino == part.inode && status.st_dev == part.device) return file;
  ::close(file);
  return -1;
}

// Where this process has the object mapped, too: mremap of nothing maps it once more, at `place`.
bool map_second_time(const ObjectPart& part, std::uint64_t place) {
  for (const Mapping& here : parse_mappings(own_maps())) {
    const bool has_it = here.shared && here.inode == part.inode && here.device == part.device && here.read &&
                        (here.write || !part.write) && here.offset <= part.offset &&
                        part.offset + (part.bytes - 1) <= here.offset + (here.last - here.first);
    if (!has_it) continue;
    void* const from = reinterpret_cast<void*>(here.first + (part.offset - here.offset));
    constexpr int kThere = MREMAP_MAYMOVE | MREMAP_FIXED;
    if (::mremap(from, 0, part.bytes, kThere, reinterpret_cast<void*>(place)) != MAP_FAILED) return true;
  }
  return false;
}

// The alias ends; its pinned pages move to the memory's hidden place first.
class Window final : public ProgramMemory::Alias {
 public:
  Window(Memory* memory, std::uint64_t first, std::uint64_t bytes) : memory_(memory), first_(first), bytes_(bytes) {}
  ~Window() override {
    if (memory_ != nullptr && memory_->any_pinned(first_, bytes_)) (void)memory_->move_aside(first_, bytes_);
    ::munmap(reinterpret_cast<void*>(first_), bytes_);
  }

 private:
  Memory* memory_;
  std::uint64_t first_, bytes_;
};

std::uint64_t page_of(std::uint64_t address) { return align_down(address, kPageSize); }

}  // namespace

// --- the process ---------------------------------------------------------------------------------------------

Result<int> RemoteProgram::open_maps(pid_t pid) {
  char path[32];
  std::snprintf(path, sizeof path, "/proc/%d/maps", pid);
  const int maps = hide_descriptor(::open(path, O_RDONLY | O_CLOEXEC));
  if (maps < 0) return fail(errno == ENOENT ? ESRCH : EACCES, "the calling process cannot be looked at");
  return maps;
}

Result<std::shared_ptr<RemoteProgram>> RemoteProgram::create(pid_t pid, Owner& owner) {
  return std::shared_ptr<RemoteProgram>(new RemoteProgram(pid, TRY(open_maps(pid)), owner));
}

RemoteProgram::~RemoteProgram() {
  close_hidden(maps_);
  for (const auto& [object, fd] : files_) close_hidden(fd);
}

std::string RemoteProgram::maps_text() const {
  const MutexLock lock(mutex_);
  return read_from_start(maps_);
}

bool RemoteProgram::alive() const {
  char byte;
  return ::pread(maps_, &byte, 1, 0) == 1;
}

RemoteProgram::Conversation::Conversation(RemoteProgram& program, int socket) { talk = {&program, socket}; }
RemoteProgram::Conversation::~Conversation() { talk = {}; }

Result<Packet> RemoteProgram::ask(Packet question, std::span<const std::byte> bytes, std::span<std::byte> room) {
  if (talk.program != this) return fail(EFAULT, "the process is not in a call that it could answer in");
  Packet answer;
  if (!send_packet(talk.socket, question, bytes) || !wait_for_packet(talk.socket, -1, kPatienceMilliseconds) ||
      !receive_packet(talk.socket, answer, room)) {
    return fail(EFAULT, "the process does not answer");
  }
  if (answer.head.result >= 0) return answer;
  if (answer.descriptor >= 0) ::close(answer.descriptor);
  return fail(static_cast<int>(-answer.head.result), "the process's own answer");
}

// --- its memory ----------------------------------------------------------------------------------------------

Result<> RemoteProgram::copy_in(void* to, std::uint64_t user, std::size_t bytes) {
  const iovec here{to, bytes}, there{reinterpret_cast<void*>(user), bytes};
  if (::process_vm_readv(pid_, &here, 1, &there, 1, 0) == static_cast<ssize_t>(bytes)) return {};
  for (std::size_t done = 0; done < bytes;) {
    const std::size_t part = std::min(bytes - done, kMostBytes);
    Packet question;
    question.head.verb = Verb::copy_in;
    question.head.value = {user + done, part};
    TRY(ask(question, {}, {static_cast<std::byte*>(to) + done, part}));
    done += part;
  }
  return {};
}

Result<> RemoteProgram::copy_out(std::uint64_t user, const void* from, std::size_t bytes) {
  const iovec here{const_cast<void*>(from), bytes}, there{reinterpret_cast<void*>(user), bytes};
  if (::process_vm_writev(pid_, &here, 1, &there, 1, 0) == static_cast<ssize_t>(bytes)) return {};
  for (std::size_t done = 0; done < bytes;) {
    const std::size_t part = std::min(bytes - done, kMostBytes);
    Packet question;
    question.head.verb = Verb::copy_out;
    question.head.value = {user + done};
    TRY(ask(question, {static_cast<const std::byte*>(from) + done, part}));
    done += part;
  }
  return {};
}

Result<std::vector<Mapping>> RemoteProgram::covering(std::uint64_t first, std::uint64_t last, bool write) const {
  auto lines = parse_mappings(maps_text(), first, last);
  std::uint64_t next = first;
  for (const Mapping& line : lines) {
    if (line.first > next || !line.read || (write && !line.write)) break;
    if (line.last >= last) return lines;
    next = line.last + 1;
  }
  return fail(EFAULT, "the process has ended, or its memory is not mapped with the access that the device gets");
}

Result<> RemoteProgram::check_pinnable(std::uint64_t user, std::uint64_t bytes, bool write) {
  return without_throwing([&]() -> Result<> {
    if (bytes == 0 || user + (bytes - 1) < user) return fail(EFAULT, "the range wraps around");
    TRY(covering(user, user + (bytes - 1), write));
    return {};
  });
}

void RemoteProgram::will_pin(std::uint64_t user, std::uint64_t bytes) {
  if (bytes == 0 || user + (bytes - 1) < user) return;
  (void)without_throwing([&]() -> Result<> {
    const std::uint64_t first = page_of(user), last = page_of(user + (bytes - 1)) + kPageSize - 1;
    share_private(parse_mappings(maps_text(), first, last), first, last);
    return {};
  });
}

bool RemoteProgram::share_private(const std::vector<Mapping>& lines, std::uint64_t first, std::uint64_t last) {
  bool changed = false;
  for (const Mapping& line : lines) {
    if (line.shared || !line.read) continue;
    const std::uint64_t begin = std::max(line.first, first);
    Packet question;
    question.head.verb = Verb::share;
    question.head.value = {begin, std::min(line.last, last) + 1 - begin};
    const auto answer = ask(question);
    struct stat status{};
    if (!answer || answer->descriptor < 0 || ::fstat(answer->descriptor, &status) != 0) continue;
    changed = true;
    const int file = hide_descriptor(answer->descriptor);
    const MutexLock lock(mutex_);
    if (!files_.emplace(std::pair(status.st_dev, status.st_ino), file).second) close_hidden(file);
  }
  if (changed) forget_unmapped_files();
  return changed;
}

void RemoteProgram::forget_unmapped_files() {
  const MutexLock lock(mutex_);
  const auto lines = parse_mappings(read_from_start(maps_));
  std::erase_if(files_, [&](const auto& entry) {
    const bool mapped = std::ranges::any_of(
        lines, [&](const Mapping& line) { return line.shared && std::pair(line.device, line.inode) == entry.first; });
    if (!mapped) close_hidden(entry.second);
    return !mapped;
  });
}

Result<ProgramMemory> RemoteProgram::borrow(std::uint64_t user, std::uint64_t bytes, bool write) {
  return without_throwing([&]() -> Result<ProgramMemory> {
    if (bytes == 0 || user + (bytes - 1) < user) return fail(EFAULT, "the range wraps around");
    const std::uint64_t first = page_of(user), last = page_of(user + (bytes - 1)) + kPageSize - 1;
    auto lines = TRY(covering(first, last, write));
    if (share_private(lines, first, last)) lines = TRY(covering(first, last, write));
    const std::uint64_t place = HiddenPages::reserve(first, last + 1 - first);
    if (place == 0) return fail(ENOMEM, "no address space for another process's memory");
    ProgramMemory memory{place + (user - first), std::make_unique<Window>(owner_.memory(), place, last + 1 - first)};
    for (const Mapping& line : lines) {
      const std::uint64_t begin = std::max(first, line.first);
      TRY(map_alias(line, begin, std::min(last, line.last), place + (begin - first), write));
    }
    return memory;
  });
}

Result<> RemoteProgram::map_alias(const Mapping& line, std::uint64_t first, std::uint64_t last, std::uint64_t place,
                                  bool write) {
  if (!line.shared || line.inode == 0) return fail(EFAULT, "private memory of another process");
  const ObjectPart part{line.device, line.inode, line.offset + (first - line.first), last + 1 - first, write};
  int file = open_directly(line, part);
  if (file < 0 && map_second_time(part, place)) return {};
  if (file < 0) file = open_through_descriptors(part);
  if (file < 0) return fail(EFAULT, "shared memory of another process that this one cannot reach");
  const int prot = PROT_READ | (write ? PROT_WRITE : 0);
  void* const at = reinterpret_cast<void*>(place);
  void* const got = ::mmap(at, part.bytes, prot, MAP_SHARED | MAP_FIXED, file, static_cast<off_t>(part.offset));
  const int error = errno;
  ::close(file);
  if (got == MAP_FAILED) return fail(error, "another process's memory cannot be mapped");
  return {};
}

// A memory file that was made for us; the mapping's own link, which needs a capability; its path.
int RemoteProgram::open_directly(const Mapping& line, const ObjectPart& part) const {
  {
    const MutexLock lock(mutex_);
    const auto found = files_.find({part.device, part.inode});
    if (found != files_.end()) return ::fcntl(found->second, F_DUPFD_CLOEXEC, 0);
  }
  char link[64];
  std::snprintf(link, sizeof link, "/proc/%d/map_files/%lx-%lx", pid_, line.first, line.last + 1);
  const int file = open_object(link, part);
  return file < 0 && line.path.starts_with('/') ? open_object(line.path, part) : file;
}

// A descriptor that the process still has of it.
int RemoteProgram::open_through_descriptors(const ObjectPart& part) const {
  const std::string folder = "/proc/" + std::to_string(pid_) + "/fd/";
  const std::unique_ptr<DIR, int (*)(DIR*)> list(::opendir(folder.c_str()), ::closedir);
  while (const dirent* entry = list != nullptr ? ::readdir(list.get()) : nullptr) {
    struct stat status{};
    const std::string path = folder + entry->d_name;
    if (::stat(path.c_str(), &status) != 0 || status.st_ino != part.inode || status.st_dev != part.device) continue;
    if (const int file = open_object(path, part); file >= 0) return file;
  }
  return -1;
}

// --- its descriptors -----------------------------------------------------------------------------------------

Result<int> RemoteProgram::install(std::shared_ptr<File> file, int flags) {
  const int handle = TRY(owner_.make_handle(std::move(file), flags | O_RDWR));
  Packet question;
  question.head.verb = Verb::install;
  question.head.value = {static_cast<std::uint64_t>(flags)};
  question.descriptor = handle;
  const auto answer = ask(question);
  ::close(handle);
  if (!answer) return std::unexpected(answer.error());
  return static_cast<int>(answer->head.result);
}

void RemoteProgram::take_back(int descriptor) {
  Packet question;
  question.head.verb = Verb::take_back;
  question.head.value = {static_cast<std::uint64_t>(descriptor)};
  (void)ask(question);  // a process that does not answer is about to lose it anyway
}

Result<std::shared_ptr<File>> RemoteProgram::file_of(int descriptor) {
  Packet question;
  question.head.verb = Verb::file_of;
  question.head.value = {static_cast<std::uint64_t>(descriptor)};
  const Packet answer = TRY(ask(question));
  auto file = owner_.file_of_handle(answer.head.value[0]);
  if (file == nullptr) return fail(EINVAL, "the descriptor belongs to another process's machine");
  return file;
}

Result<std::unique_ptr<FileMapping>> RemoteProgram::map_file(const FilePart& part) {
  Packet question;
  question.head.verb = Verb::take_file;
  question.head.value = {static_cast<std::uint64_t>(part.descriptor)};
  const Packet answer = TRY(ask(question));
  if (answer.descriptor < 0) return fail(EFAULT, "the process does not answer");
  FilePart here = part;
  here.descriptor = answer.descriptor;
  auto mapping = FileMapping::create(here);
  ::close(answer.descriptor);
  return mapping;
}

Result<int> RemoteProgram::take_eventfd(int descriptor) {
  Packet question;
  question.head.verb = Verb::take_eventfd;
  question.head.value = {static_cast<std::uint64_t>(descriptor)};
  const Packet answer = TRY(ask(question));
  if (answer.descriptor < 0) return fail(EFAULT, "the process does not answer");
  const int hidden = hide_descriptor(answer.descriptor);
  if (hidden < 0) return fail(EMFILE, "no descriptor is left");
  return hidden;
}

}  // namespace softiommu::launch
