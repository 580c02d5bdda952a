// SPDX-License-Identifier: BSD-3-Clause
// A second process is the program; what it holds was made before the fork.
#include "launch/service/remote_program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <thread>
#include <vector>

#include "service/owner_rig.h"

namespace softiommu::launch {
namespace {

constexpr std::size_t kBytes = 4 * 4096;

// The child waits with memory of three kinds: private, shared without a descriptor, shared by a file that only it has.
class Remote : public testing::Test {
 protected:
  void SetUp() override {
    install_shim_services();
    private_ = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
    shared_ = map(MAP_SHARED | MAP_ANONYMOUS, -1);
    const int file = ::memfd_create("test", MFD_CLOEXEC);
    ASSERT_EQ(::ftruncate(file, kBytes), 0);
    of_file_ = map(MAP_SHARED, file);
    std::memset(of_file_, 3, kBytes);
    ASSERT_EQ(::pipe(hold_), 0);
    child_ = ::fork();
    if (child_ == 0) {
      std::memset(private_, 1, kBytes);
      char byte;
      ::close(hold_[1]);
      [[maybe_unused]] const ssize_t got = ::read(hold_[0], &byte, 1);
      _exit(0);
    }
    ::munmap(of_file_, kBytes);
    ::close(file);
    std::memset(shared_, 2, kBytes);
    auto made = RemoteProgram::create(child_, owner_);
    ASSERT_TRUE(made);
    program_ = *made;
    std::byte first{};
    while (program_->copy_in(&first, address(private_) + kBytes - 1, 1) && first != std::byte{1})
      std::this_thread::yield();
  }
  ~Remote() override {
    end_child();
    ::munmap(private_, kBytes);
    ::munmap(shared_, kBytes);
    for (const int end : hold_) ::close(end);
  }
  static void* map(int flags, int file) { return ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, flags, file, 0); }
  static std::uint64_t address(const void* memory) { return reinterpret_cast<std::uint64_t>(memory); }
  void end_child() {
    if (child_ <= 0) return;
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
    child_ = -1;
  }
  // Borrows the second page, pins it, lets go of the alias: what the device sees there afterwards.
  std::byte* seen_by_device(const void* memory) {
    const auto borrowed = program_->borrow(address(memory) + 4096, 4096, true);
    if (!borrowed) return nullptr;
    const auto run = owner_.physical->pin(borrowed->address, 4096);
    return run ? (pinned_ = *run, owner_.physical->host(run->first)) : nullptr;
  }

  FakeOwner owner_;
  void *private_ = nullptr, *shared_ = nullptr, *of_file_ = nullptr;
  int hold_[2] = {-1, -1};
  pid_t child_ = -1;
  std::shared_ptr<RemoteProgram> program_;
  PhysRun pinned_{};
};

TEST_F(Remote, ItsMemoryIsReadAndWritten) {
  std::vector<std::byte> bytes(kBytes);
  ASSERT_TRUE(program_->copy_in(bytes.data(), address(private_), kBytes));
  EXPECT_EQ(bytes, std::vector<std::byte>(kBytes, std::byte{1}));
  const std::vector<std::byte> fresh(kBytes, std::byte{9});
  ASSERT_TRUE(program_->copy_out(address(private_), fresh.data(), kBytes));
  ASSERT_TRUE(program_->copy_in(bytes.data(), address(private_), kBytes));
  EXPECT_EQ(bytes, fresh);
  EXPECT_EQ(static_cast<char*>(private_)[0], 0) << "this process's own page is another one";
}

TEST_F(Remote, ABadAddressIsEFAULT) {
  char byte;
  EXPECT_EQ(program_->copy_in(&byte, 16, 1).error().code, EFAULT);
  EXPECT_EQ(program_->copy_out(16, &byte, 1).error().code, EFAULT);
  EXPECT_EQ(program_->check_pinnable(16, 1, false).error().code, EFAULT);
  EXPECT_EQ(program_->check_pinnable(~std::uint64_t{0}, 2, false).error().code, EFAULT);
}

TEST_F(Remote, PinnableIsWhatItsMappingsAllow) {
  EXPECT_TRUE(program_->check_pinnable(address(private_) + 7, kBytes - 7, true));
  EXPECT_EQ(program_->check_pinnable(address(&kBytes), 1, true).error().code, EFAULT);
}

TEST_F(Remote, SharedMemoryIsBorrowedThroughAMappingOfOurs) {
  ASSERT_NE(seen_by_device(shared_), nullptr);
  EXPECT_EQ(*owner_.physical->host(pinned_.first), std::byte{2});
  static_cast<char*>(shared_)[4096] = 5;
  EXPECT_EQ(*owner_.physical->host(pinned_.first), std::byte{5});
  owner_.physical->unpin(pinned_);
}

TEST_F(Remote, MemoryOfAFileIsBorrowedAndOutlivesTheProcess) {
  ASSERT_NE(seen_by_device(of_file_), nullptr);
  end_child();
  EXPECT_EQ(*owner_.physical->host(pinned_.first), std::byte{3});
  owner_.physical->unpin(pinned_);
  EXPECT_EQ(owner_.physical->pinned_pages(), 0u);
}

TEST_F(Remote, PrivateMemoryNeedsTheProcesssHelp) {
  EXPECT_EQ(program_->borrow(address(private_), 4096, true).error().code, EFAULT);
}

TEST_F(Remote, AnEndedProcessHasNothing) {
  EXPECT_TRUE(program_->alive());
  end_child();
  EXPECT_FALSE(program_->alive());
  EXPECT_EQ(program_->borrow(address(shared_), 4096, true).error().code, EFAULT);
  char byte;
  EXPECT_EQ(program_->copy_in(&byte, address(shared_), 1).error().code, EFAULT);
}

TEST_F(Remote, IsAskedForWhatCannotBeReached) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
  std::thread process([&] {
    Packet asked, answer;
    wait_for_packet(ends[1], -1, -1);
    ASSERT_TRUE(receive_packet(ends[1], asked));
    EXPECT_EQ(asked.head.verb, Verb::copy_in);
    answer.head.verb = Verb::answer;
    const std::byte told[] = {std::byte{42}};
    send_packet(ends[1], answer, told);
  });
  std::byte byte{};
  {
    const RemoteProgram::Conversation conversation(*program_, ends[0]);
    EXPECT_TRUE(program_->copy_in(&byte, 16, 1));
  }
  process.join();
  EXPECT_EQ(byte, std::byte{42});
  EXPECT_FALSE(program_->copy_in(&byte, 16, 1)) << "the call is over";
  for (const int end : ends) ::close(end);
}

TEST(Maps, LinesAreUnderstood) {
  const std::string text =
      "1000-3000 rw-s 00002000 00:1a 77                         /memfd:x (deleted)\n"
      "garbage\n"
      "3000-4000 r--p 00000000 00:00 0 \n"
      "5000-6000 rw-p 00000000 00:00 0                          [heap]\n";
  const auto lines = parse_mappings(text, 0x2000, 0x4fff);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].first, 0x1000u);
  EXPECT_EQ(lines[0].last, 0x2fffu);
  EXPECT_TRUE(lines[0].shared && lines[0].write);
  EXPECT_EQ(lines[0].offset, 0x2000u);
  EXPECT_EQ(lines[0].inode, 77u);
  EXPECT_EQ(lines[0].path, "/memfd:x (deleted)");
  EXPECT_FALSE(lines[1].shared || lines[1].write);
}

}  // namespace
}  // namespace softiommu::launch
