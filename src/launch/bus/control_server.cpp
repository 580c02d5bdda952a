// SPDX-License-Identifier: BSD-3-Clause
#include "launch/bus/control_server.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>

#include <fmt/format.h>

namespace softiommu::launch {
namespace {

using Verb = ControlHead::Verb;

// Of a command, and the change that it means.
std::pair<std::string_view, std::string> split_command(std::string_view text) {
  const std::size_t blank = std::min(text.find(' '), text.size());
  return {text.substr(0, blank), std::string(text.substr(std::min(blank + 1, text.size())))};
}

std::string says(const std::vector<Change>& changes) {
  std::string text;
  for (const Change& change : changes) text += change.text() + "\n";
  return text;
}

}  // namespace

ControlServer::ControlServer(const std::string& run_dir, System& system)
    : vfio_(system, {}), control_(system, vfio_), bus_(system, control_, run_dir + "/view") {}

Result<std::unique_ptr<ControlServer>> ControlServer::create(const std::string& run_dir, System& system) {
  std::unique_ptr<ControlServer> server(new ControlServer(run_dir, system));
  TRY(server->bus_.show());
  server->first_state_ = server->state();
  server->watch_.follow(server->bus_.folders());
  server->listen_ = TRY(listen_control(run_dir));
  server->wake_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (server->wake_ < 0) return fail(errno, "no event descriptor");
  return server;
}

ControlServer::~ControlServer() {
  end();
  for (const int fd : descriptors()) {
    if (fd != watch_.descriptor()) ::close(fd);
  }
}

std::set<int> ControlServer::descriptors() const {
  std::set<int> all;
  for (const int fd : {listen_, wake_, watch_.descriptor()}) {
    if (fd >= 0) all.insert(fd);
  }
  for (const auto& [fd, engine] : peers_) all.insert(fd);
  return all;
}

// --- the loop ------------------------------------------------------------------------------------------------

Result<> ControlServer::begin() {
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);  // signals are the launcher's
  const auto entry = [](void* self) -> void* {
    auto* const server = static_cast<ControlServer*>(self);
    eventfd_t count = 0;
    while (::eventfd_read(server->wake_, &count) != 0) server->serve_once(-1);
    return nullptr;
  };
  const int error = ::pthread_create(&thread_, nullptr, entry, this);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  has_thread_ = error == 0;
  if (!has_thread_) ::close(std::exchange(listen_, -1));  // who connects is refused, and does not wait for an answer
  return has_thread_ ? Result<>{} : fail(error, "no thread for the run's state");
}

void ControlServer::end() {
  if (!has_thread_) return;
  ::eventfd_write(wake_, 1);
  ::pthread_join(thread_, nullptr);
  has_thread_ = false;
}

void ControlServer::serve_for(std::chrono::milliseconds time) {
  const auto until = std::chrono::steady_clock::now() + time;
  std::chrono::milliseconds left = time;
  do {  // once at least, also where the thread was held up
    serve_once(static_cast<int>(left.count()));
    left = std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
  } while (left.count() > 0);
}

void ControlServer::serve_once(int milliseconds) {
  std::vector<pollfd> list;
  for (const int fd : descriptors()) list.push_back({fd, POLLIN, 0});
  if (::poll(list.data(), list.size(), milliseconds) <= 0) return;
  for (const pollfd& entry : list) {
    if (entry.revents == 0) continue;
    if (entry.fd == listen_) {
      accept_peer();
    } else if (entry.fd == watch_.descriptor()) {
      take_unseen_writes();
    } else if (peers_.contains(entry.fd)) {
      receive(entry.fd);
    }
  }
}

void ControlServer::accept_peer() {
  const int peer = ::accept4(listen_, nullptr, nullptr, SOCK_CLOEXEC);
  if (peer < 0) return;
  // Who takes nothing for that long is given up.
  constexpr timeval kPatience{.tv_sec = 5, .tv_usec = 0};
  ::setsockopt(peer, SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof kPatience);
  peers_[peer] = false;
}

void ControlServer::drop(int peer) {
  ::close(peer);
  peers_.erase(peer);
  for (Operation& operation : operations_) {
    if (operation.client == peer) operation.client = -1;
    std::erase_if(operation.outstanding, [&](const auto& wait) { return wait.first == peer; });
  }
  for (Request& request : queue_) {
    if (request.client == peer) request.client = -1;
  }
  finish_operations();
}

void ControlServer::receive(int peer) {
  auto packet = receive_control(peer);
  if (!packet) return drop(peer);
  switch (packet->head.verb) {
    case Verb::kHello:
      return welcome(peer);
    case Verb::kAnswer:
      return answered(peer, packet->head.number, packet->head.result);
    case Verb::kStore:
    case Verb::kCommand:
      return take({peer, *std::move(packet)});
    default:
      return drop(peer);
  }
}

// --- engines -------------------------------------------------------------------------------------------------

// What was changed before it came.
void ControlServer::welcome(int peer) {
  for (const Change& change : history_) {
    if (!send_control(peer, {.verb = Verb::kChange, .result = 0, .number = 0}, change.text())) return drop(peer);
  }
  if (!send_control(peer, {.verb = Verb::kReady, .result = 0, .number = 0})) return drop(peer);
  peers_[peer] = true;
}

void ControlServer::tell(Operation& operation) {
  for (const Change& change : operation.changes) {
    remember(change);
    const std::uint64_t number = next_number_++;
    for (const auto& [peer, engine] : peers_) {
      if (!engine) continue;
      if (send_control(peer, {.verb = Verb::kChange, .result = 0, .number = number}, change.text())) {
        operation.outstanding.emplace(peer, number);
      } else {
        ::shutdown(peer, SHUT_RDWR);  // the loop hears its end and drops it, when no operation is half told
      }
    }
  }
  if (state() == first_state_)  // as if nothing had been, but for what users know
    std::erase_if(history_, [](const Change& change) { return change.kind != Change::Kind::token; });
}

void ControlServer::remember(const Change& change) {
  if (change.leaves_nothing()) return;
  if (change.kind == Change::Kind::token) {
    std::erase_if(history_,
                  [&](const Change& old) { return old.kind == Change::Kind::token && old.bdf == change.bdf; });
  }
  history_.push_back(change);
}

void ControlServer::answered(int engine, std::uint64_t number, int result) {
  for (Operation& operation : operations_) {
    if (operation.outstanding.erase({engine, number}) != 0 && result < 0 && operation.answer.result >= 0)
      operation.answer.result = result;
  }
  finish_operations();
}

// --- operations ----------------------------------------------------------------------------------------------

void ControlServer::take(Request request) {
  const Command* const command = request.packet.head.verb == Verb::kCommand ? command_of(request.packet.text) : nullptr;
  if (command != nullptr && !command->waits) return operate(request);
  queue_.push_back(std::move(request));
  begin_waiting();
}

void ControlServer::begin_waiting() {
  while (operations_.empty() && !queue_.empty()) {
    const Request request = std::move(queue_.front());
    queue_.pop_front();
    operate(request);
  }
}

void ControlServer::operate(const Request& request) {
  Operation operation{.client = request.client};
  operation.answer.verb = Verb::kAnswer;
  if (auto changes = change(request, operation)) {
    operation.changes = *std::move(changes);
    if (operation.text.empty()) operation.text = says(operation.changes);
    tell(operation);
  } else {
    operation.answer.result = -changes.error().code;
    operation.text = changes.error().why;
  }
  operations_.push_back(std::move(operation));
  watch_.follow(bus_.folders());
  finish_operations();
}

void ControlServer::take_unseen_writes() {
  for (const std::string& place : watch_.written()) {
    const auto written = bus_.take_written(place);
    if (!written) continue;
    queue_.push_back(
        {-1, {.head = {.verb = Verb::kStore, .result = 0, .number = 0}, .text = written->file + '\0' + written->line}});
  }
  begin_waiting();
}

Result<PciBus::Changes> ControlServer::change(const Request& request, Operation& operation) {
  const std::string_view text = request.packet.text;
  if (request.packet.head.verb == Verb::kStore) {
    const std::size_t end = text.find('\0');
    if (end == std::string_view::npos) return fail(EINVAL, "a file's name, and what was written");
    const std::string_view data = text.substr(end + 1);
    operation.answer.result = static_cast<int>(data.size());
    return bus_.store(text.substr(0, end), data);
  }
  const Command* const command = command_of(text);
  if (command == nullptr) return fail(EINVAL, "no such command");
  return (this->*command->run)(text, operation);
}

// --- commands ------------------------------------------------------------------------------------------------

constexpr ControlServer::Command ControlServer::kCommands[] = {
    {"list", false, &ControlServer::list},   {"unplug", false, &ControlServer::unplug},
    {"plug", true, &ControlServer::plug},    {"rescan", true, &ControlServer::rescan},
    {"token", false, &ControlServer::token},
};

const ControlServer::Command* ControlServer::command_of(std::string_view text) {
  const auto row = std::ranges::find(kCommands, split_command(text).first, &Command::word);
  return row == std::end(kCommands) ? nullptr : row;
}

Result<PciBus::Changes> ControlServer::list(std::string_view /*text*/, Operation& operation) {
  operation.text = functions_text();
  return PciBus::Changes{};
}

Result<PciBus::Changes> ControlServer::unplug(std::string_view text, Operation& /*operation*/) {
  return bus_.unplug(split_command(text).second);
}

Result<PciBus::Changes> ControlServer::plug(std::string_view text, Operation& /*operation*/) {
  return bus_.plug(split_command(text).second);
}

Result<PciBus::Changes> ControlServer::rescan(std::string_view /*text*/, Operation& /*operation*/) {
  return bus_.store("/sys/bus/pci/rescan", "1");
}

Result<PciBus::Changes> ControlServer::token(std::string_view text, Operation& /*operation*/) {
  return bus_.apply(TRY(Change::parse(text)));
}

// --- engines have followed -----------------------------------------------------------------------------------

void ControlServer::finish_operations() {
  for (std::size_t i = 0; i < operations_.size();) {
    if (!operations_[i].outstanding.empty()) {
      ++i;
      continue;
    }
    const Operation done = std::move(operations_[i]);
    operations_.erase(operations_.begin() + static_cast<std::ptrdiff_t>(i));
    if (!done.changes.empty() && done.answer.result < 0) undo(done);
    if (done.client >= 0) send_control(done.client, done.answer, done.text);
    i = 0;
  }
  begin_waiting();
}

// A process could not follow, because it uses what a driver would take: what the others did is taken back.
void ControlServer::undo(const Operation& operation) {
  Operation back;
  for (auto change = operation.changes.rbegin(); change != operation.changes.rend(); ++change) {
    const auto inverse = change->inverse();
    if (inverse && bus_.apply(*inverse)) back.changes.push_back(*inverse);
  }
  tell(back);
  back.outstanding.clear();  // who did not follow has nothing to take back
}

std::string ControlServer::state() const {
  std::string text;
  for (const auto& function : control_.functions())
    text += fmt::format("{} {} {}\n", function.bdf, function.driver, function.num_vfs);
  return text;
}

std::string ControlServer::functions_text() const {
  std::string text;
  for (const auto& function : control_.functions()) {
    const FunctionIdentity& id = function.hardware->identity();
    text += fmt::format("{} {:04x}:{:04x}", function.bdf, id.vendor, id.device);
    text += function.driver.empty() ? " no driver" : fmt::format(" {}", function.driver);
    if (function.group) text += fmt::format(", group {}", *function.group);
    if (function.vfio_number) text += fmt::format(", vfio{}", *function.vfio_number);
    if (function.total_vfs != 0)
      text += fmt::format(", {} of {} virtual functions", function.num_vfs, function.total_vfs);
    if (!function.physfn.empty()) text += fmt::format(", of {}", function.physfn);
    text += "\n";
  }
  return text;
}

}  // namespace softiommu::launch
