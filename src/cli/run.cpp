// SPDX-License-Identifier: BSD-3-Clause
// One run: a private folder with the machine and its view, the program with the shim preloaded, its exit status.
#include "cli/run.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>

#include "base/fault.h"
#include "base/memlock.h"
#include "cli/remains.h"
#include "cli/run_folder.h"
#include "cli/say.h"
#include "cli/show.h"
#include "launch/bus/control_server.h"
#include "launch/claims.h"
#include "launch/service/account_table.h"
#include "launch/service/handle_table.h"
#include "launch/shim/entry.h"
#include "launch/view/namespace.h"
#include "launch/view/view.h"

namespace softiommu::cli {
namespace {

namespace fs = std::filesystem;
constexpr char kShim[] = "libsoftiommu-shim.so", kHeap[] = "libsoftiommu-heap.so";
constexpr int kSignalBase = 128;

// Libraries lie beside us in the build tree, in ../lib when installed.
std::string find_library(std::string_view name) {
  std::error_code error;
  const fs::path own = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (const char* folder : {"lib/softiommu", "../lib/softiommu"}) {
    const fs::path shim = fs::weakly_canonical(own / folder / name, error);
    if (fs::exists(shim, error)) return shim.string();
  }
  return {};
}

// The shim, if all that the run preloads is there. Says what is not.
std::optional<std::string> find_libraries(const RunRequest& request) {
  std::vector<const char*> needed = {kShim};
  if (request.options.sanitizes()) needed.push_back(kHeap);
  for (const char* const name : needed) {
    if (!find_library(name).empty()) continue;
    complain(fmt::format("{} is not beside the command", name));
    return std::nullopt;
  }
  return find_library(kShim);
}

void prepend(const char* variable, const std::string& value, char separator) {
  const char* present = std::getenv(variable);
  const bool empty = present == nullptr || present[0] == '\0';
  ::setenv(variable, empty ? value.c_str() : (value + separator + present).c_str(), 1);
}

void preload(const RunRequest& request, const std::string& shim, const std::string& runtime) {
  // The heap's part first: it is to stand behind the shim.
  if (request.options.sanitizes()) prepend("LD_PRELOAD", fs::path(shim).parent_path() / kHeap, ':');
  prepend("LD_PRELOAD", shim, ':');
  if (!runtime.empty()) prepend("LD_PRELOAD", runtime, ':');
}

void set_environment(const std::string& run_dir, bool real_view) {
  ::setenv(kRunVariable, run_dir.c_str(), 1);
  if (real_view) {
    ::setenv("SOFTIOMMU_VIEW_IS_REAL", "1", 1);
  } else {
    ::unsetenv("SOFTIOMMU_VIEW_IS_REAL");
  }
  // valgrind: the trap reads the registers of an access to a BAR.
  prepend("VALGRIND_OPTS", "--vex-iropt-register-updates=allregs-at-mem-access", ' ');
  // Pinned memory must not leave by free(), also not a block from before the first open (D5).
  prepend("GLIBC_TUNABLES", "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=1099511627776", ':');
}

[[noreturn]] void become_program(const RunRequest& request, const std::string& run_dir, const std::string& shim_path) {
  const bool real_view = request.view == "namespace";
  if (real_view) {
    if (const auto entered = launch::enter_namespace(run_dir + "/view"); !entered) {
      complain(fmt::format("a mount namespace is not possible here: {} ({}); --view redirect needs none",
                           entered.error().why, std::strerror(entered.error().code)));
      std::_Exit(kCannotRun);
    }
  }
  char found[PATH_MAX];
  const bool exists = shim::find_in_path(request.command[0].c_str(), found);
  const shim::Needs needs = exists ? shim::needs_of(AT_FDCWD, found) : shim::Needs{};
  preload(request, shim_path, needs.runtime);
  set_environment(run_dir, real_view);
  std::vector<char*> arguments;
  for (const std::string& word : request.command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  if (needs.supervisor) {
    std::string supervisor = fs::path(shim_path).parent_path() / shim::kSupervisor;
    arguments.insert(arguments.begin(), {supervisor.data(), found});
    ::execv(supervisor.c_str(), arguments.data());
  }
  ::execvp(arguments[0], arguments.data());
  const int error = errno;
  complain(fmt::format("{}: {}", arguments[0], std::strerror(error)));
  std::_Exit(error == ENOENT || error == ENOTDIR ? kNotFound : kNotExecutable);
}

pid_t child = 0;
void pass_on(int signal) { ::kill(child, signal); }

// Signals of the terminal reach the program by themselves; those sent to us are passed on.
int wait_for(pid_t pid) {
  child = pid;
  for (const int signal : {SIGTERM, SIGHUP, SIGUSR1, SIGUSR2}) ::signal(signal, pass_on);
  for (const int signal : {SIGINT, SIGQUIT}) ::signal(signal, SIG_IGN);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFSIGNALED(status) ? kSignalBase + WTERMSIG(status) : WEXITSTATUS(status);
}

// What the processes left behind in files of that kind, each under a heading.
void print_reports(const std::string& out, const char* extension, const char* heading) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(out, error)) {
    if (entry.path().extension() != extension) continue;
    if (const auto text = launch::read_text(entry.path())) {
      std::fputs(fmt::format("softiommu: {} of process {}\n{}", heading, entry.path().stem().string(), *text).c_str(),
                 stderr);
    }
  }
}

// EINVAL, and says which.
Result<> take_fault_rules(RunRequest& request) {
  for (const std::string& rule : request.fail) {
    if (const auto checked = fault::check_rule(rule); !checked) {
      complain(fmt::format("--fail {}: {}", rule, checked.error().why));
      return checked;
    }
    request.options.fail += rule + ";";
  }
  return {};
}

// The first process's trace goes to the named file, those of others to files beside it. Without any, the file says so.
bool collect_trace(const std::string& out, const std::string& to) {
  std::error_code error;
  bool taken = false;
  for (const auto& entry : fs::directory_iterator(out, error)) {
    if (entry.path().extension() != ".trace") continue;
    const std::string target = taken ? to + "." + entry.path().stem().string() : to;
    fs::copy_file(entry.path(), target, fs::copy_options::overwrite_existing, error);
    if (error) complain(fmt::format("{}: {}", target, error.message()));
    taken = true;
  }
  return taken ? !error : launch::write_text(to, "{\"traceEvents\":[]}\n").has_value();
}

Result<> fill_folder(const std::string& folder, const RunRequest& request, const BroughtUp& made) {
  std::error_code error;
  for (const char* name : {"/view", "/out"}) fs::create_directory(folder + name, error);
  if (error) return fail(error.value(), "the run's folder cannot be filled");
  TRY(launch::write_text(folder + "/machine.toml", made.text));
  TRY(launch::Claims::create(folder + "/claims"));
  TRY(launch::write_text(folder + "/handles", std::string(sizeof(launch::HandleTable), '\0')));
  TRY(launch::write_text(folder + "/accounts", std::string(sizeof(launch::AccountTable), '\0')));
  TRY(request.options.save(folder));
  return launch::write_view(folder + "/view", *made.system,
                            {request.options.allow_unsafe_interrupts, request.options.fault_injection()});
}

}  // namespace

std::vector<std::string> split_command(int argc, char** argv, std::vector<std::string>& command) {
  static constexpr std::string_view kWithValue[] = {"--machine", "--view", "--trace", "--memlock", "--rules", "--fail"};
  std::vector<std::string> ours;
  int at = 1;
  bool running = false;
  for (; at < argc; ++at) {
    const std::string_view word = argv[at];
    if (running && (word == "--" || !word.starts_with('-'))) break;
    ours.emplace_back(word);
    running = running || word == "run";
    const bool value_follows = std::ranges::find(kWithValue, word) != std::end(kWithValue);
    if (value_follows && at + 1 < argc) ours.emplace_back(argv[++at]);
  }
  if (at < argc && std::string_view(argv[at]) == "--") ++at;
  for (; at < argc; ++at) command.emplace_back(argv[at]);
  std::ranges::reverse(ours);
  return ours;
}

int run(RunRequest& request) {
  request.options.linux_rules = request.rules == "linux";
  request.options.trace = !request.trace_file.empty();
  if (const auto limit = MemlockLimit::parse(request.options.memlock); !limit) {
    complain("--memlock: unlimited, rlimit or a size such as 64M");
    return kInvalid;
  }
  if (!take_fault_rules(request)) return kInvalid;
  if (request.options.trace && !launch::write_text(request.trace_file, "")) {
    complain(fmt::format("{}: the trace cannot be written there", request.trace_file));
    return kInvalid;
  }
  int status = 0;
  auto made = bring_up(request.machine_file, request.options.linux_rules ? Rules::linux7 : Rules::contract, status);
  if (!made) return status;
  request.options.machine_name = made->name;
  const auto shim = find_libraries(request);
  if (!shim) return kCannotRun;
  RunFolder folder;
  if (folder.path().empty()) {
    complain("no folder for the run can be made");
    return kCannotRun;
  }
  if (const auto filled = fill_folder(folder.path(), request, *made); !filled) {
    complain(fmt::format("{}: {}", filled.error().why, std::strerror(filled.error().code)));
    return kCannotRun;
  }
  const auto control = launch::ControlServer::create(folder.path(), *made->system);
  if (!control) {
    complain(fmt::format("{}: {}", control.error().why, std::strerror(control.error().code)));
    return kCannotRun;
  }
  const pid_t pid = ::fork();
  if (pid < 0) {
    complain("no process can be made");
    return kCannotRun;
  }
  if (pid == 0) become_program(request, folder.path(), *shim);
  if (!(*control)->begin()) complain("devices do not change in this run: no thread could be created");
  status = wait_for(pid);
  (*control)->end();
  if (request.options.explain) print_reports(folder.path() + "/out", ".explain", "attach decisions");
  print_reports(folder.path() + "/out", ".faults", "fault points (passed, failed)");
  print_reports(folder.path() + "/out", ".findings", "DMA findings");
  if (request.options.trace && !collect_trace(folder.path() + "/out", request.trace_file))
    complain(fmt::format("{}: the trace could not be written", request.trace_file));
  if (anyone_remains(folder.path()) && remove_later(folder.path(), **control)) folder.leave();
  return status;
}

}  // namespace softiommu::cli
