// SPDX-License-Identifier: BSD-3-Clause
#include "launch/service/service.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

#include "base/log.h"
#include "launch/engine/shim_services.h"
#include "launch/engine/threads.h"
#include "launch/service/caller.h"
#include "machine/mmio.h"

namespace softiommu::launch {
namespace {

constexpr std::size_t kMostTransferred = INT_MAX & ~std::size_t{4095};  // Linux's MAX_RW_COUNT

// A BAR access of another process: the offset is that in the file.
long access_bar(File& file, const Head& call, std::uint64_t& value) {
  const bool asks_only = call.verb == Verb::mmio_enabled;
  const std::uint64_t width = asks_only ? 1 : call.value[1];
  if (width != 1 && width != 2 && width != 4 && width != 8) return -EINVAL;
  MmapPlan plan;
  const int error = file.mmap(call.value[0], width, PROT_READ | PROT_WRITE, MAP_SHARED, plan);
  if (error != 0) return error;
  if (plan.kind != MmapPlan::Kind::trap) return -EINVAL;
  const bool enabled = plan.enabled == nullptr || plan.enabled(plan.enabled_context);
  if (asks_only) return enabled ? 1 : 0;
  if (!enabled) return -EIO;
  if (call.verb == Verb::mmio_read) {
    value = plan.registers->read(plan.offset, static_cast<unsigned>(width));
  } else {
    plan.registers->write(plan.offset, static_cast<unsigned>(width), call.value[2]);
  }
  return 0;
}

}  // namespace

long transfer(OpenFile& open, std::uint64_t user, std::size_t bytes, off_t offset, bool write) {
  if (open.peer >= 0 && !open.file->has_position()) {
    if (offset >= 0) return -ESPIPE;
    return write ? open.file->pwrite(user, bytes, 0) : open.file->pread(user, bytes, 0);
  }
  const bool moves = offset < 0 && open.peer >= 0;  // the position of another process's file is the owner's
  const off_t at = moves ? open.position.load() : offset;
  bytes = std::min(bytes, kMostTransferred);
  const ssize_t done = write ? open.file->pwrite(user, bytes, at) : open.file->pread(user, bytes, at);
  if (moves && done > 0) open.position.fetch_add(done);
  return done;
}

// --- the thread ----------------------------------------------------------------------------------------------

void Service::begin() {
  const MutexLock lock(mutex_);
  if (has_thread_ || !open_epoll()) return;
  const auto entry = [](void* self) -> void* {
    ::prctl(PR_SET_NAME, "softiommu-serve");
    static_cast<Service*>(self)->loop(false);
    return nullptr;
  };
  has_thread_ = start_engine_thread(thread_, entry, this);
  if (has_thread_) return;
  close_epoll();
  log::error("softiommu: other processes are not served: no thread could be created");
}

bool Service::open_epoll() {
  const int epoll = hide_descriptor(::epoll_create1(EPOLL_CLOEXEC));
  wake_ = hide_descriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  epoll_event wake{};
  wake.events = EPOLLIN;
  if (epoll < 0 || wake_ < 0 || ::epoll_ctl(epoll, EPOLL_CTL_ADD, wake_, &wake) != 0) {
    close_hidden(epoll);
    close_hidden(wake_);
    return false;
  }
  stopping_ = false;
  epoll_.store(epoll, std::memory_order_release);
  descriptors_.each_own([this](OpenFile& open) { add(open); });
  return true;
}

void Service::close_epoll() {
  close_hidden(epoll_.exchange(-1));
  close_hidden(wake_);
  wake_ = -1;
}

void Service::add(OpenFile& open) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = &open;
  ::epoll_ctl(epoll_.load(std::memory_order_acquire), EPOLL_CTL_ADD, open.peer, &event);
}
void Service::remove(OpenFile& open) {
  ::epoll_ctl(epoll_.load(std::memory_order_acquire), EPOLL_CTL_DEL, open.peer, nullptr);
}

void Service::stop() {
  const MutexLock lock(mutex_);
  if (!has_thread_) return;
  stopping_ = true;
  constexpr std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_, &one, sizeof one);
  ::pthread_join(thread_, nullptr);
  has_thread_ = false;
  close_epoll();
}

void Service::forget() {
  mutex_.reset();
  const MutexLock lock(mutex_);
  has_thread_ = false;
  close_epoll();
  (void)programs_.release();  // the thread may have been in the middle of it
  programs_ = std::make_unique<Programs>();
}

void Service::serve_until_unused() {
  {
    const MutexLock lock(mutex_);
    if (!open_epoll()) return;
    has_thread_ = true;  // this one: a call that is served may spread handles, and begin()
  }
  loop(true);
}

void Service::loop(bool until_unused) {
  const int epoll = epoll_.load(std::memory_order_acquire);
  const auto used = [this] {
    bool any = false;
    descriptors_.each_own([&](OpenFile&) { any = true; });
    return any;
  };
  while (!stopping_.load() && (!until_unused || used())) {
    epoll_event event{};
    const int ready = ::epoll_wait(epoll, &event, 1, -1);
    if (ready != 1 || event.data.ptr == nullptr) continue;
    OpenFile& open = *static_cast<OpenFile*>(event.data.ptr);
    if ((event.events & EPOLLIN) != 0 && (event.events & EPOLLHUP) == 0) {
      serve(open);
    } else {
      Descriptors::hung_up(open);
    }
  }
}

// --- a call --------------------------------------------------------------------------------------------------

void Service::serve(OpenFile& open) {
  const Descriptors::Use use = Descriptors::use_for_service(open);
  if (!use) return;
  Packet call;
  if (!receive_packet(open.peer, call)) return;
  const int reply = hide_descriptor(call.descriptor);
  if (reply < 0) return;
  Packet told;
  std::string text;
  if (const auto program = program_behind(reply)) {
    const RemoteProgram::Conversation conversation(*program, reply);
    const Caller::Serving serving(*program);
    told = answer(open, call, *program, text);
  } else {
    told.head.result = -ENODEV;
  }
  told.head.verb = Verb::answer;
  send_packet(reply, told, std::as_bytes(std::span(text)));
  close_hidden(reply);
}

// The process that made the reply socket: the kernel says who that was.
std::shared_ptr<RemoteProgram> Service::program_behind(int reply) {
  ucred credentials{};
  socklen_t bytes = sizeof credentials;
  if (::getsockopt(reply, SOL_SOCKET, SO_PEERCRED, &credentials, &bytes) != 0) return nullptr;
  const auto known = programs_->find(credentials.pid);
  if (known != programs_->end() && known->second->alive()) return known->second;
  std::erase_if(*programs_, [](const auto& entry) { return !entry.second->alive(); });
  auto made = without_throwing([&] { return RemoteProgram::create(credentials.pid, owner_); });
  if (!made) return nullptr;
  (*programs_)[credentials.pid] = *made;
  return *made;
}

Packet Service::answer(OpenFile& open, const Packet& call, RemoteProgram&, std::string& text) {
  const auto& value = call.head.value;
  File& file = *open.file;
  Packet told;
  std::int64_t& result = told.head.result;
  switch (call.head.verb) {
    case Verb::ioctl:
      result = file.ioctl(static_cast<unsigned int>(value[0]), value[1]);
      break;
    case Verb::read:
    case Verb::write:
      result = transfer(open, value[0], value[1], static_cast<off_t>(value[2]), call.head.verb == Verb::write);
      break;
    case Verb::poll:
      result = file.poll();
      break;
    case Verb::describe:
      told.head.value = {file.device_number(), static_cast<std::uint64_t>(open.flags.load())};
      text = file.path();
      break;
    case Verb::mmap: {
      MmapPlan plan;
      result = file.mmap(value[0], value[1], static_cast<int>(value[2]), static_cast<int>(value[3]), plan);
      told.head.value = {static_cast<std::uint64_t>(plan.kind), plan.offset};
      if (result == 0 && plan.kind == MmapPlan::Kind::memory) told.descriptor = plan.descriptor;
      break;
    }
    case Verb::mmio_read:
    case Verb::mmio_write:
    case Verb::mmio_enabled:
      result = access_bar(file, call.head, told.head.value[0]);
      break;
    default:
      result = -EINVAL;
  }
  return told;
}

}  // namespace softiommu::launch
