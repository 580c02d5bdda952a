// SPDX-License-Identifier: BSD-3-Clause
#include "launch/engine/follower.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>

#include "base/log.h"
#include "launch/control/channel.h"
#include "launch/engine/threads.h"

namespace softiommu::launch {
namespace {

constexpr ControlHead kHello{.verb = ControlHead::kHello, .result = 0, .number = 0};

}  // namespace

Follower::Follower(PciControl& control) : control_(control) {
  control_.on_change([this] { answer_what_is_done(); });
  control_.on_token([this](const std::string& pf, const std::string& uuid) { tell_token(pf, uuid); });
}

Follower::~Follower() {
  pause();
  forget();
}

void Follower::catch_up(const std::string& run_dir) {
  run_dir_ = run_dir;
  const auto socket = connect_control(run_dir);
  if (!socket) return;
  socket_ = hide_descriptor(*socket);
  wake_ = hide_descriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  send_control(socket_, kHello);
  for (;;) {
    const auto packet = receive_control(socket_);
    if (!packet || packet->head.verb != ControlHead::kChange) break;
    if (const auto change = Change::parse(packet->text)) (void)change->apply(control_);
  }
}

void Follower::resume() {
  if (has_thread_ || socket_ < 0 || wake_ < 0) return;
  has_thread_ = start_engine_thread(
      thread_,
      [](void* self) -> void* {
        ::prctl(PR_SET_NAME, "softiommu-follow");
        static_cast<Follower*>(self)->follow();
        return nullptr;
      },
      this);
  if (!has_thread_) log::error("softiommu: changes of the run's devices are not seen: no thread could be created");
}

void Follower::pause() {
  if (!has_thread_) return;
  ::eventfd_write(wake_, 1);
  ::pthread_join(thread_, nullptr);
  has_thread_ = false;
}

void Follower::forget() {
  mutex_.reset();
  has_thread_ = false;
  for (int* const fd : {&socket_, &wake_}) {
    if (*fd >= 0) close_hidden(std::exchange(*fd, -1));
  }
}

void Follower::follow() {
  for (;;) {
    pollfd list[] = {{socket_, POLLIN, 0}, {wake_, POLLIN, 0}};
    constexpr int kAskAgainMilliseconds = 10'000;  // as Linux, for as long as it waits
    const int ready = ::poll(list, std::size(list), any_pending() ? kAskAgainMilliseconds : -1);
    if (ready == 0) control_.ask_again();
    if (ready <= 0) continue;
    eventfd_t count = 0;
    if (::eventfd_read(wake_, &count) == 0) return;
    if (list[0].revents == 0) continue;
    const auto packet = receive_control(socket_);
    if (!packet) return;  // the launcher has gone: nothing changes any more
    if (packet->head.verb == ControlHead::kChange) apply(packet->text, packet->head.number);
  }
}

void Follower::apply(const std::string& text, std::uint64_t number) {
  auto applied = without_throwing([&]() -> Result<> {
    auto change = TRY(Change::parse(text));
    if (TRY(change.apply(control_)) == PciControl::Removal::done || change.kind == Change::Kind::unplug) {
      answer(number, 0);
      return {};
    }
    const MutexLock lock(mutex_);
    pending_.emplace_back(number, std::move(change));
    return {};
  });
  if (!applied) answer(number, -applied.error().code);
  answer_what_is_done();  // the last user may have gone before it was noted
}

void Follower::answer(std::uint64_t number, int result) const {
  send_control(socket_, {.verb = ControlHead::kAnswer, .result = result, .number = number});
}

bool Follower::any_pending() {
  const MutexLock lock(mutex_);
  return !pending_.empty();
}

// Users of the virtual functions may be in other processes: they know it when this returns.
void Follower::tell_token(const std::string& pf, const std::string& uuid) const {
  const auto connected = connect_control(run_dir_);
  if (!connected) return;
  const int socket = hide_descriptor(*connected);  // the program may close its own meanwhile, by number
  const Change change{.kind = Change::Kind::token, .bdf = pf, .token = uuid};
  send_control(socket, {.verb = ControlHead::kCommand, .result = 0, .number = 0}, change.text());
  (void)receive_control(socket);
  close_hidden(socket);
}

void Follower::answer_what_is_done() {
  const MutexLock lock(mutex_);
  std::erase_if(pending_, [this](const auto& entry) {
    const bool done = entry.second.is_done(control_);
    if (done) answer(entry.first, 0);
    return done;
  });
}

}  // namespace softiommu::launch
