// SPDX-License-Identifier: BSD-3-Clause
// A child that is seized as the supervisor does it: calls made in it, descriptors and memory handed over, an access to
// registers emulated.
#include "launch/supervise/tracee.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "launch/supervise/filter.h"
#include "launch/supervise/registers_fault.h"
#include "launch/supervise/traced_program.h"
#include "service/owner_rig.h"

namespace softiommu::launch {
namespace {

struct NoOthers final : Bystanders {
  void stop_others(const Tracee&) override {}
};

class Word final : public MmioRegion {
 public:
  std::uint64_t read(std::uint64_t offset, unsigned) override { return value + offset; }
  void write(std::uint64_t, unsigned, std::uint64_t fresh) override { value = fresh; }
  std::uint64_t value = 0x1122334455667788;
};

constexpr std::size_t kBytes = 2 * 4096;

// Between inaccessible pages: no neighbour becomes one mapping with them.
std::byte* map_pages() {
  constexpr int kPrivate = MAP_PRIVATE | MAP_ANONYMOUS;
  auto* const whole = static_cast<std::byte*>(::mmap(nullptr, kBytes + 2 * 4096, PROT_NONE, kPrivate, -1, 0));
  ::mprotect(whole + 4096, kBytes, PROT_READ | PROT_WRITE);
  return whole + 4096;
}

// The child does `work` and stops at its first call with a path, or its first fault.
class Traced : public testing::Test {
 protected:
  void SetUp() override {
    install_shim_services();
    memory_ = map_pages();
  }
  ~Traced() override {
    thread_.reset();
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, __WALL);
    ::munmap(memory_, kBytes);
  }

  template <typename Work>
  void run(Work&& work) {
    child_ = ::fork();
    if (child_ == 0) {
      ::raise(SIGSTOP);
      ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
      auto code = program_filter();
      const sock_fprog filter = {static_cast<unsigned short>(code.size()), code.data()};
      ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter);
      _exit(work());
    }
    ::waitpid(child_, nullptr, WUNTRACED);
    constexpr unsigned long kOptions = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL;
    ASSERT_EQ(::ptrace(PTRACE_SEIZE, child_, 0, kOptions), 0);
    auto program = TracedProgram::create(child_, owner_, std::make_shared<Space>(others_));
    ASSERT_TRUE(program);
    thread_ = std::make_unique<Tracee>(child_, *program);
    ::kill(child_, SIGCONT);
    to_stop();
  }
  // To the filter's next stop, a SIGSEGV, or the end.
  void to_stop() {
    for (;;) {
      ASSERT_EQ(::waitpid(child_, &status_, __WALL), child_);
      const bool filter = status_ >> 8 == (SIGTRAP | PTRACE_EVENT_SECCOMP << 8);
      if (!WIFSTOPPED(status_) || filter || WSTOPSIG(status_) == SIGSEGV) return;
      thread_->go_on();
    }
  }
  int end() {
    to_stop();
    return WIFEXITED(status_) ? WEXITSTATUS(status_) : -1;
  }
  // An inaccessible page of the child that is `word_`.
  void trap(void* page) {
    TrapRegion region;
    region.first = reinterpret_cast<std::uintptr_t>(page);
    region.last = region.first + 4095;
    region.registers = &word_;
    ASSERT_TRUE(thread_->program().space().regions.add(std::move(region)));
  }
  // For a device, at the stop of a call; given back at once.
  void borrow_once(std::uint64_t first, std::uint64_t bytes) {
    const TracedProgram::Serving serving(*thread_);
    ASSERT_TRUE(thread_->program().borrow(first, bytes, true));
  }
  std::uint64_t place() const { return reinterpret_cast<std::uint64_t>(memory_); }

  FakeOwner owner_;
  NoOthers others_;
  Word word_;
  std::byte* memory_ = nullptr;
  pid_t child_ = -1;
  int status_ = 0;
  std::unique_ptr<Tracee> thread_;
};

TEST_F(Traced, ACallIsAnsweredWithoutBeingMade) {
  run([] { return ::access("/", F_OK) == -1 && errno == EXDEV ? 3 : 4; });
  const auto call = thread_->call();
  ASSERT_TRUE(call);
  EXPECT_TRUE(call->number == SYS_access || call->number == SYS_faccessat);
  thread_->answer(-EXDEV);
  EXPECT_EQ(end(), 3);
}

TEST_F(Traced, ACallThatIsPassedIsMade) {
  run([] { return ::access("/", F_OK) == 0 ? 3 : 4; });
  thread_->go_on();
  EXPECT_EQ(end(), 3);
}

TEST_F(Traced, OtherCallsAreMadeInItsPlace) {
  run([] { return ::access("/", F_OK) == 5 ? 3 : 4; });
  ASSERT_TRUE(thread_->call());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(thread_->run(SYS_getpid).value_or(0), static_cast<std::uint64_t>(child_));
  const auto refused = thread_->run(SYS_close, {9999});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, EBADF);
  thread_->answer(5);
  EXPECT_EQ(end(), 3);
}

TEST_F(Traced, RegistersAreAsBeforeAfterOtherCalls) {
  run([] {
    long kept = 77;
    register long r9 __asm__("r9") = 1234;
    register long r10 __asm__("r10") = 4321;
    long number = SYS_access;
    __asm__ volatile("syscall" : "+a"(number), "+r"(r9), "+r"(r10) : "D"("/"), "S"(0) : "rcx", "r11", "memory");
    return kept == 77 && r9 == 1234 && r10 == 4321 && number == 0 ? 3 : 4;
  });
  ASSERT_TRUE(thread_->call());
  EXPECT_TRUE(thread_->run(SYS_mmap, {0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, ~0ull, 0}));
  thread_->answer(0);
  EXPECT_EQ(end(), 3);
}

TEST_F(Traced, ADescriptorIsGivenAndTaken) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  run([] { return static_cast<int>(::write(::access("/", F_OK), "x", 1)) + 2; });
  ASSERT_TRUE(thread_->call());
  int given;
  {
    const TracedProgram::Serving serving(*thread_);
    const auto number = thread_->program().give(ends[1], O_CLOEXEC);
    ASSERT_TRUE(number);
    given = *number;
  }
  EXPECT_GE(given, kLowestHandle);
  const auto copy = thread_->program().take(given);
  ASSERT_TRUE(copy);
  struct stat there{}, here{};
  EXPECT_EQ(::fstat(*copy, &there), 0);
  EXPECT_EQ(::fstat(ends[1], &here), 0);
  EXPECT_EQ(there.st_ino, here.st_ino);
  ::close(*copy);
  thread_->answer(given);
  to_stop();  // the write, on a number where handles are
  thread_->go_on();
  EXPECT_EQ(end(), 3);
  char byte = 0;
  EXPECT_EQ(::read(ends[0], &byte, 1), 1);
  EXPECT_EQ(byte, 'x');
  for (const int fd : ends) ::close(fd);
}

TEST_F(Traced, PrivateMemoryBecomesSharedWithTheDevice) {
  run([this] {
    std::memset(memory_, 7, kBytes);
    (void)::access("/", F_OK);
    return memory_[5] == std::byte{9} && memory_[6] == std::byte{7} ? 3 : 4;
  });
  ASSERT_TRUE(thread_->call());
  {
    const TracedProgram::Serving serving(*thread_);
    const auto borrowed = thread_->program().borrow(place(), kBytes, true);
    ASSERT_TRUE(borrowed);
    auto* seen = reinterpret_cast<std::byte*>(borrowed->address);
    EXPECT_EQ(seen[0], std::byte{7});
    seen[5] = std::byte{9};
  }
  EXPECT_EQ(memory_[0], std::byte{0}) << "this process's own page is another one";
  thread_->answer(0);
  EXPECT_EQ(end(), 3);
}

// Files that moved memory is in, as this process has them open.
std::size_t open_memory_files() {
  namespace fs = std::filesystem;
  std::error_code gone;  // the descriptor of the listing itself
  return static_cast<std::size_t>(
      std::ranges::count_if(fs::directory_iterator("/proc/self/fd"), [&](const auto& entry) {
        return fs::read_symlink(entry.path(), gone).string().starts_with("/memfd:softiommu");
      }));
}

TEST_F(Traced, MovedMemoryIsFoundWhereTheProgramHasPutIt) {
  std::byte* const other = map_pages();
  run([this, other] {
    (void)::access("/", F_OK);
    ::mremap(memory_, kBytes, kBytes, MREMAP_MAYMOVE | MREMAP_FIXED, other);
    ::mprotect(other + 4096, 4096, PROT_READ);
    return ::access("/", F_OK) == 0 ? 3 : 4;
  });
  ASSERT_TRUE(thread_->call());
  borrow_once(place(), 4096);
  thread_->answer(0);
  to_stop();  // mremap
  thread_->go_on();
  to_stop();
  TracedProgram& program = thread_->program();
  EXPECT_TRUE(program.moved_parts(place(), place() + kBytes - 1).empty());
  const auto first = reinterpret_cast<std::uint64_t>(other);
  const auto parts = program.moved_parts(first, first + kBytes - 1);
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[1].line.first, first + 4096);
  EXPECT_EQ(parts[1].line.last, first + kBytes - 1);
  EXPECT_EQ(parts[1].line.offset, parts[0].line.offset + 4096);
  EXPECT_EQ(parts[0].line.prot, PROT_READ | PROT_WRITE);
  EXPECT_EQ(parts[1].line.prot, PROT_READ);
  thread_->go_on();
  EXPECT_EQ(end(), 3);
  ::munmap(other, kBytes);
}

TEST_F(Traced, TheFileOfMovedMemoryIsClosedAfterTheProgramHasUnmappedIt) {
  std::byte* const other = map_pages();
  run([this, other] {
    (void)::access("/", F_OK);
    ::munmap(memory_, kBytes);
    ::mmap(memory_, kBytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    std::memset(other, 7, kBytes);
    return ::access("/", F_OK) == 0 ? 3 : 4;
  });
  ASSERT_TRUE(thread_->call());
  borrow_once(place(), kBytes);
  const std::size_t files = open_memory_files();
  EXPECT_GT(files, 0u);
  thread_->answer(0);
  to_stop();
  ASSERT_TRUE(thread_->call());
  EXPECT_TRUE(thread_->program().moved_parts(place(), place() + kBytes - 1).empty())
      << "what is there now is another's";
  EXPECT_TRUE(thread_->program().space().moved.empty());
  borrow_once(reinterpret_cast<std::uint64_t>(other), kBytes);
  EXPECT_EQ(open_memory_files(), files);
  thread_->answer(0);
  EXPECT_EQ(end(), 3);
  ::munmap(other, kBytes);
}

TEST_F(Traced, AnAccessToRegistersIsEmulated) {
  run([this] {
    ::mprotect(memory_, 4096, PROT_NONE);
    auto* const at = reinterpret_cast<volatile std::uint64_t*>(memory_);
    const bool read = at[1] == 0x1122334455667790;
    at[0] = 42;
    return read ? 3 : 4;
  });
  trap(memory_);
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(WIFSTOPPED(status_) && WSTOPSIG(status_) == SIGSEGV);
    thread_->go_on(answer_fault(*thread_));
    to_stop();
  }
  EXPECT_TRUE(WIFEXITED(status_) && WEXITSTATUS(status_) == 3);
  EXPECT_EQ(word_.value, 42u);
}

TEST_F(Traced, AVectorAccessIsEmulated) {
  run([this] {
    ::mprotect(memory_, 4096, PROT_NONE);
    std::uint64_t got[2] = {};
    __asm__ volatile("movdqu (%1), %%xmm3\n movdqu %%xmm3, (%0)" : : "r"(got), "r"(memory_) : "xmm3", "memory");
    return got[0] == 0x1122334455667788 && got[1] == 0x1122334455667790 ? 3 : 4;
  });
  trap(memory_);
  ASSERT_TRUE(WIFSTOPPED(status_) && WSTOPSIG(status_) == SIGSEGV);
  EXPECT_EQ(answer_fault(*thread_), 0);
  thread_->go_on();
  EXPECT_EQ(end(), 3);
}

TEST_F(Traced, AFaultElsewhereIsTheProgramsOwn) {
  run([this] {
    ::mprotect(memory_, 4096, PROT_NONE);
    return static_cast<int>(*reinterpret_cast<volatile char*>(memory_));
  });
  ASSERT_TRUE(WIFSTOPPED(status_) && WSTOPSIG(status_) == SIGSEGV);
  EXPECT_EQ(answer_fault(*thread_), SIGSEGV);
}

}  // namespace
}  // namespace softiommu::launch
