// SPDX-License-Identifier: BSD-3-Clause
#include "launch/supervise/paths.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <optional>

#include "launch/engine/engine.h"
#include "launch/engine/state.h"
#include "launch/shim/shim.h"
#include "launch/supervise/handles.h"
#include "launch/supervise/traced_program.h"

namespace softiommu::shim {

// The shim's state, of the process that is being served.
char run_dir[PATH_MAX];
bool redirecting = false;
bool fault_injection = false;
constinit thread_local SoftiommuThread this_thread __attribute__((tls_model("initial-exec"))) = {};
uint64_t owned_bits[SOFTIOMMU_MAX_DESCRIPTORS / 64];
uint64_t hidden_bits[SOFTIOMMU_MAX_DESCRIPTORS / 64];

namespace {
long observed = 0;
void observe(pid_t process) { observed = process; }
}  // namespace
long observed_process() { return observed; }
long observed_folder(int dirfd, char (&out)[PATH_MAX]) {
  char link[48];
  if (dirfd == AT_FDCWD) {
    std::snprintf(link, sizeof link, "/proc/%ld/cwd", observed);
  } else {
    std::snprintf(link, sizeof link, "/proc/%ld/fd/%d", observed, dirfd);
  }
  return raw(SYS_readlinkat, AT_FDCWD, word(link), word(out), sizeof out - 1);
}

}  // namespace softiommu::shim

namespace softiommu::launch {
namespace {

using shim::raw;
using shim::word;

struct Work;

// Where the arguments are; kNone: the current folder, no flags.
constexpr int kNone = -1;
struct PathCall {
  int number;
  bool (*answer)(Work& work);
  int folder, path, flags;
};

// One call at work.
struct Work {
  Tracee& thread;
  const SystemCall& call;
  const PathCall& form;
  char path[PATH_MAX];

  int folder() const { return form.folder == kNone ? AT_FDCWD : call.integer(static_cast<unsigned>(form.folder)); }
  int flags() const { return form.flags == kNone ? 0 : call.integer(static_cast<unsigned>(form.flags)); }
  // The argument that many places behind the path.
  std::uint64_t after_path(unsigned places) const { return call.argument[static_cast<unsigned>(form.path) + places]; }
  bool tell(std::uint64_t to, const void* from, std::size_t bytes) const {
    thread.answer(thread.program().poke(to, from, bytes) ? 0 : -EFAULT);
    return true;
  }
  bool say(long result) const {
    thread.answer(result);
    return true;
  }
  // Where the view has the file; nullptr: it is not of the view.
  const char* place(char (&buffer)[PATH_MAX]) const {
    const auto to = shim::redirect(folder(), path, buffer);
    return to.changed ? to.path : nullptr;
  }
};

bool read_path(const Tracee& thread, std::uint64_t from, char (&path)[PATH_MAX]) {
  std::size_t have = 0;
  while (have < sizeof path) {
    const std::size_t to_page_end = 4096 - (from + have) % 4096;
    const std::size_t part = std::min({to_page_end, sizeof path - have, std::size_t{256}});
    const std::size_t got = thread.program().peek(from + have, path + have, part);
    if (got == 0) return false;
    if (std::memchr(path + have, '\0', got) != nullptr) return true;
    have += got;
  }
  return false;
}

// --- open ----------------------------------------------------------------------------------------------------

bool open_as(Work& work, int flags, std::uint64_t mode) {
  char buffer[PATH_MAX];
  if ((flags & (O_PATH | O_DIRECTORY)) == 0 && shim::device_file(work.folder(), work.path, buffer) != nullptr)
    return work.say(open_device(work.thread, buffer, flags));
  if (const long status = shim::open_status(work.path, flags); status != shim::kNotStatus)
    return work.say(give_away(work.thread, static_cast<int>(status), flags));
  const int linked = shim::descriptor_link(work.folder(), work.path);
  if (linked >= 0 && handle_of(work.thread, linked)) return work.say(-ENXIO);
  const char* place = work.place(buffer);
  if (place == nullptr) return false;
  const auto scratch = work.thread.scratch();
  if (!scratch || !work.thread.program().poke(*scratch, place, std::strlen(place) + 1)) return work.say(-ENOMEM);
  const auto opened = work.thread.run(
      SYS_openat, {static_cast<std::uint64_t>(AT_FDCWD), *scratch, static_cast<std::uint64_t>(flags), mode});
  return work.say(opened ? static_cast<long>(*opened) : -opened.error().code);
}

bool open_plain(Work& work) {
  return open_as(work, work.flags(), work.call.argument[static_cast<unsigned>(work.form.flags) + 1]);
}

bool open_new(Work& work) { return open_as(work, O_CREAT | O_WRONLY | O_TRUNC, work.after_path(1)); }

bool open_how(Work& work) {
  struct open_how how{};
  const std::size_t known = std::min<std::uint64_t>(work.after_path(2), sizeof how);
  if (work.thread.program().peek(work.after_path(1), &how, known) != known) return false;
  return open_as(work, static_cast<int>(how.flags), how.mode);
}

bool change_folder(Work& work) {
  char buffer[PATH_MAX];
  const char* place = work.place(buffer);
  if (place == nullptr) return false;
  const auto scratch = work.thread.scratch();
  if (!scratch || !work.thread.program().poke(*scratch, place, std::strlen(place) + 1)) return work.say(-ENOMEM);
  const auto done = work.thread.run(SYS_chdir, {*scratch});
  return work.say(done ? 0 : -done.error().code);
}

// --- stat ----------------------------------------------------------------------------------------------------

// Of a handle that is named by its number or by its link in /proc; nullopt: none is.
std::optional<long> stat_of_handle(const Work& work, int flags, struct stat& out) {
  int descriptor = -1;
  if ((flags & AT_EMPTY_PATH) != 0 && work.path[0] == '\0') {
    descriptor = work.folder();
  } else if ((flags & AT_SYMLINK_NOFOLLOW) == 0) {
    descriptor = shim::descriptor_link(work.folder(), work.path);
  }
  if (descriptor < 0) return std::nullopt;
  return describe_handle(work.thread, descriptor, out);
}

// The program's name for the file of a descriptor alone; nullptr: it is none of the view's /sys.
const char* name_of_descriptor(int descriptor, char (&name)[PATH_MAX]) {
  const long length = descriptor < 0 ? -1 : shim::observed_folder(descriptor, name);
  if (length <= 0) return nullptr;
  name[length] = '\0';
  return shim::take_view_off(name) && shim::starts_with(name, "/sys/") ? name : nullptr;
}

// Where a file of sysfs that is written lies, if the kernel would find it by itself: it shall not show the mark.
const char* attribute_place(const Work& work, int flags, char (&buffer)[PATH_MAX]) {
  char name[PATH_MAX];
  const char* known = nullptr;
  if (work.path[0] != '\0') {
    known = shim::sysfs_name(work.folder(), work.path, name);
  } else if ((flags & AT_EMPTY_PATH) != 0) {
    known = name_of_descriptor(work.folder(), name);
  }
  struct stat status{};
  if (known == nullptr || !shim::real_place(known, buffer)) return nullptr;
  const bool found = raw(SYS_newfstatat, AT_FDCWD, word(buffer), word(&status), flags & AT_SYMLINK_NOFOLLOW) == 0;
  return found && shim::is_marked(status.st_mode) ? buffer : nullptr;
}

// What is to be looked at in the program's place; nullptr: the kernel answers.
const char* stat_place(const Work& work, int flags, char (&buffer)[PATH_MAX]) {
  const char* const place = work.place(buffer);
  return place != nullptr ? place : attribute_place(work, flags, buffer);
}

bool stat_path(Work& work) {
  const int flags = work.call.number == SYS_lstat ? AT_SYMLINK_NOFOLLOW : work.flags();
  struct stat status{};
  const std::uint64_t to = work.after_path(1);
  if (const auto result = stat_of_handle(work, flags, status))
    return *result < 0 ? work.say(*result) : work.tell(to, &status, sizeof status);
  char buffer[PATH_MAX], name[PATH_MAX];
  const bool device = shim::device_file(work.folder(), work.path, name) != nullptr;
  const char* place = stat_place(work, flags, buffer);
  if (place == nullptr && !device) return false;
  const long result = raw(SYS_newfstatat, AT_FDCWD, word(place != nullptr ? place : name), word(&status), flags);
  if (result < 0) return work.say(result);
  if (device && S_ISREG(status.st_mode)) {
    shim::make_device(&status, name);
  } else if (shim::is_marked(status.st_mode)) {
    shim::show_attribute(&status);
  }
  return work.tell(to, &status, sizeof status);
}

bool statx_path(Work& work) {
  struct stat plain{};
  struct statx status{};
  const int flags = work.flags();
  const auto of_handle = stat_of_handle(work, flags, plain);
  if (of_handle && *of_handle < 0) return work.say(*of_handle);
  char buffer[PATH_MAX], name[PATH_MAX];
  const bool device = !of_handle && shim::device_file(work.folder(), work.path, name) != nullptr;
  const char* place = of_handle ? "/dev/null" : stat_place(work, flags, buffer);
  if (place == nullptr && !device) return false;
  const char* from = place != nullptr ? place : name;
  const long result = raw(SYS_statx, AT_FDCWD, word(from), flags & ~AT_EMPTY_PATH,
                          static_cast<long>(work.after_path(2)), word(&status));
  if (result < 0) return work.say(result);
  if (device && S_ISREG(status.stx_mode)) {
    plain.st_mode = S_IFREG;
    shim::make_device(&plain, name);
  } else if (shim::is_marked(status.stx_mode)) {
    plain.st_mode = status.stx_mode;
    shim::show_attribute(&plain);
  }
  if (plain.st_mode != 0) shim::patch_statx(&status, plain);
  if (of_handle) status.stx_ino = plain.st_ino;
  return work.tell(work.after_path(3), &status, sizeof status);
}

bool access_path(Work& work) {
  char buffer[PATH_MAX];
  const char* place = work.place(buffer);
  if (place == nullptr) return false;
  const auto mode = static_cast<long>(work.after_path(1));
  const bool plain = work.flags() == 0;
  return work.say(plain ? raw(SYS_faccessat, AT_FDCWD, word(place), mode)
                        : raw(SYS_faccessat2, AT_FDCWD, word(place), mode, work.flags()));
}

bool file_system_of_path(Work& work) {
  char buffer[PATH_MAX];
  struct statfs status{};
  const char* place = work.place(buffer);
  if (place == nullptr) return false;
  const long result = raw(SYS_statfs, word(place), word(&status));
  return result < 0 ? work.say(result) : work.tell(work.after_path(1), &status, sizeof status);
}

// --- links ---------------------------------------------------------------------------------------------------

bool tell_link(const Work& work, const char* text, long bytes) {
  const std::uint64_t to = work.after_path(1);
  const auto room = static_cast<long>(work.after_path(2));
  if (room <= 0) return work.say(-EINVAL);
  const long used = std::min(bytes, room);
  const bool told = work.thread.program().poke(to, text, static_cast<std::size_t>(used));
  return work.say(told ? used : -EFAULT);
}

// /proc/self/cwd and the like, which may lead into the view; what it is for the program, not for us.
long read_proc_link(const Work& work, char (&text)[PATH_MAX]) {
  char name[PATH_MAX];
  const char* rest = nullptr;
  for (const char* prefix : {"/proc/self/", "/proc/thread-self/"}) {
    if (shim::starts_with(work.path, prefix)) rest = work.path + std::strlen(prefix);
  }
  if (rest == nullptr && !shim::starts_with(work.path, "/proc/")) return -1;
  const int length = rest == nullptr
                         ? std::snprintf(name, sizeof name, "%s", work.path)
                         : std::snprintf(name, sizeof name, "/proc/%d/%s", work.thread.program().pid(), rest);
  if (length < 0 || static_cast<std::size_t>(length) >= sizeof name) return -1;
  return raw(SYS_readlinkat, AT_FDCWD, word(name), word(text), sizeof text);
}

bool read_link(Work& work) {
  char buffer[PATH_MAX], text[PATH_MAX];
  if (const int descriptor = shim::descriptor_link(work.folder(), work.path); descriptor >= 0) {
    if (const auto open = handle_of(work.thread, descriptor)) {
      const std::string path = open->file->path();
      return tell_link(work, path.c_str(), static_cast<long>(path.size()));
    }
  }
  if (const char* place = work.place(buffer)) {
    const long got = raw(SYS_readlinkat, AT_FDCWD, word(place), word(text), sizeof text);
    return got < 0 ? work.say(got) : tell_link(work, text, shim::show(text, got));
  }
  const long got = read_proc_link(work, text), shown = got > 0 ? shim::show(text, got) : got;
  return shown != got && tell_link(work, text, shown);
}

bool current_folder(Work& work) {
  char text[PATH_MAX];
  const long got = shim::observed_folder(AT_FDCWD, text);
  const long shown = got > 0 ? shim::show(text, got) : got;
  if (shown == got || static_cast<std::size_t>(shown) >= sizeof text) return false;
  text[shown] = '\0';
  const auto bytes = static_cast<std::uint64_t>(shown) + 1;
  if (work.call.argument[1] < bytes) return work.say(-ERANGE);
  return work.say(work.thread.program().poke(work.call.argument[0], text, bytes) ? static_cast<long>(bytes) : -EFAULT);
}

// --- all of them -----------------------------------------------------------------------------------------------

constexpr PathCall kCalls[] = {
    {SYS_openat, open_plain, 0, 1, 2},
    {SYS_open, open_plain, kNone, 0, 1},
    {SYS_creat, open_new, kNone, 0, kNone},
    {SYS_openat2, open_how, 0, 1, kNone},
    {SYS_newfstatat, stat_path, 0, 1, 3},
    {SYS_stat, stat_path, kNone, 0, kNone},
    {SYS_lstat, stat_path, kNone, 0, kNone},
    {SYS_statx, statx_path, 0, 1, 2},
    {SYS_access, access_path, kNone, 0, kNone},
    {SYS_faccessat, access_path, 0, 1, kNone},
    {SYS_faccessat2, access_path, 0, 1, 3},
    {SYS_readlink, read_link, kNone, 0, kNone},
    {SYS_readlinkat, read_link, 0, 1, kNone},
    {SYS_chdir, change_folder, kNone, 0, kNone},
    {SYS_statfs, file_system_of_path, kNone, 0, kNone},
    {SYS_getcwd, current_folder, kNone, kNone, kNone},
};

}  // namespace

std::optional<long> describe_handle(Tracee& thread, int descriptor, struct stat& out) {
  const auto open = handle_of(thread, descriptor);
  if (!open) return std::nullopt;
  const auto status = thread.program().status_of(descriptor);
  if (!status) return -status.error().code;
  out = *status;
  out.st_rdev = open->file->device_number();
  out.st_mode = mode_of(out.st_rdev);
  out.st_size = 0;
  return 0;
}

bool answer_path_call(Tracee& thread, const SystemCall& call) {
  const auto* const form = std::ranges::find(kCalls, call.number, &PathCall::number);
  if (form == std::end(kCalls)) return false;
  Work work{thread, call, *form, {}};
  shim::observe(thread.program().pid());
  if (form->path != kNone && !read_path(thread, call.argument[static_cast<unsigned>(form->path)], work.path))
    return false;
  return form->answer(work);
}

}  // namespace softiommu::launch
