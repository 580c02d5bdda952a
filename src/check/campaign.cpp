// SPDX-License-Identifier: BSD-3-Clause
// Runs a plan's items in processes of their own: what can be made to fail, and the log, belong to a process, and a
// driver that crashes takes only its process along.
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <numeric>

#include "check/plan.h"
#include "check/report.h"

namespace softiommu::check {

namespace {

// An item that takes longer never ends.
constexpr unsigned kItemSeconds = 60;
constexpr int kPollMilliseconds = 100;

std::vector<DriverReport> empty_reports(std::span<const CheckedDriver> drivers) {
  std::vector<DriverReport> reports;
  for (const CheckedDriver& driver : drivers) reports.push_back({.name = driver.name});
  return reports;
}

bool write_all(int to, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(to, text.data(), text.size());
    if (written <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

// What a job has done so far, in memory that it shares with us.
struct Progress {
  std::atomic<std::size_t> current{0}, done{0};
};

// One process, and what came out of it.
class Job {
 public:
  Job(const Plan& plan, std::span<const CheckedDriver> drivers, std::vector<std::size_t> items)
      : plan_(plan), drivers_(drivers), items_(std::move(items)) {
    void* const shared = mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    progress_ = shared != MAP_FAILED ? new (shared) Progress : nullptr;
  }
  ~Job() {
    if (pipe_ >= 0) ::close(pipe_);
    if (progress_ != nullptr) munmap(progress_, sizeof(Progress));
  }
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  Result<> start();
  bool running() const { return process_ > 0; }
  int descriptor() const { return pipe_; }
  std::size_t done() const { return finished_ + progress_->done.load(std::memory_order_relaxed); }
  // Something can be read, or the process has ended.
  Result<> advance(std::vector<DriverReport>& all);

 private:
  [[noreturn]] void work(int to);
  Result<> ended(std::vector<DriverReport>& all);
  void take_lines(std::vector<DriverReport>& all);

  const Plan& plan_;
  std::span<const CheckedDriver> drivers_;
  std::vector<std::size_t> items_;
  Progress* progress_ = nullptr;
  std::size_t finished_ = 0;  // items of earlier processes
  pid_t process_ = -1;
  int pipe_ = -1;
  std::string read_;
};

Result<> Job::start() {
  int ends[2];
  if (progress_ == nullptr || ::pipe(ends) != 0) return fail(ENOMEM, "no pipe to another process");
  process_ = ::fork();
  if (process_ == 0) {
    ::close(ends[0]);
    work(ends[1]);
  }
  ::close(ends[1]);
  pipe_ = ends[0];
  return process_ > 0 ? Result<>{} : fail(EAGAIN, "no other process");
}

// Each item's report is a line, told when it is done.
void Job::work(int to) {
  for (std::size_t i = 0; i < items_.size(); ++i) {
    progress_->current.store(i);
    ::alarm(kItemSeconds);
    std::vector<DriverReport> reports = empty_reports(drivers_);
    plan_.run(items_[i], reports);
    const std::string line = report_line(reports);
    if (!write_all(to, line)) ::_exit(1);
    progress_->done.fetch_add(1);
  }
  ::_exit(0);
}

void Job::take_lines(std::vector<DriverReport>& all) {
  for (std::size_t end = read_.find('\n'); end != std::string::npos; end = read_.find('\n')) {
    if (auto reports = parse_line(std::string_view(read_).substr(0, end)))
      for (std::size_t i = 0; i < all.size(); ++i) merge_into(all[i], std::move((*reports)[i]));
    read_.erase(0, end + 1);
  }
}

Result<> Job::advance(std::vector<DriverReport>& all) {
  char bytes[65536];
  const ssize_t count = ::read(pipe_, bytes, sizeof bytes);
  if (count > 0) {
    read_.append(bytes, static_cast<std::size_t>(count));
    take_lines(all);
    return {};
  }
  return ended(all);
}

Result<> Job::ended(std::vector<DriverReport>& all) {
  int status = 0;
  ::waitpid(process_, &status, 0);
  ::close(pipe_);
  process_ = pipe_ = -1;
  read_.clear();
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  const std::size_t at = progress_->current.load();
  const int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  plan_.add_crash(items_[at],
                  signal == SIGALRM ? std::string("it does not end")
                  : signal != 0     ? std::string("it ends with ") + ::strsignal(signal)
                                    : std::string("it ends the process"),
                  all);
  finished_ += at + 1;
  items_.erase(items_.begin(), items_.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  progress_->done.store(0);
  return items_.empty() ? Result<>{} : start();
}

std::vector<std::vector<std::size_t>> deal(const std::vector<std::size_t>& items, unsigned jobs) {
  std::vector<std::vector<std::size_t>> hands(std::min<std::size_t>(jobs, std::max<std::size_t>(1, items.size())));
  for (std::size_t i = 0; i < items.size(); ++i) hands[i % hands.size()].push_back(items[i]);
  return hands;
}

Result<> run_in_processes(const Plan& plan, std::span<const CheckedDriver> drivers, const CheckOptions& options,
                          const std::vector<std::size_t>& items, std::vector<DriverReport>& all) {
  std::vector<std::unique_ptr<Job>> jobs;
  for (auto& hand : deal(items, options.jobs)) {
    jobs.push_back(std::make_unique<Job>(plan, drivers, std::move(hand)));
    TRY(jobs.back()->start());
  }
  for (;;) {
    std::vector<pollfd> waited;
    for (const auto& job : jobs) waited.push_back({job->running() ? job->descriptor() : -1, POLLIN, 0});
    if (std::ranges::none_of(jobs, [](const auto& job) { return job->running(); })) return {};
    ::poll(waited.data(), waited.size(), kPollMilliseconds);
    for (std::size_t i = 0; i < jobs.size(); ++i)
      if (waited[i].fd >= 0 && waited[i].revents != 0) TRY(jobs[i]->advance(all));
    std::size_t done = 0;
    for (const auto& job : jobs) done += job->done();
    if (options.progress) options.progress(done, items.size());
  }
}

// Also in a process of its own; a breach that cannot be shortened stays as it is.
void shorten_aside(const Plan& plan, std::size_t driver, Breach& breach) {
  int ends[2];
  if (::pipe(ends) != 0) return;
  const pid_t process = ::fork();
  if (process == 0) {
    ::close(ends[0]);
    ::alarm(kItemSeconds);
    plan.shorten(driver, breach);
    write_all(ends[1], breach.steps + "\n" + breach.what + "\n");
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string text;
  char bytes[4096];
  for (ssize_t count; (count = ::read(ends[0], bytes, sizeof bytes)) > 0;)
    text.append(bytes, static_cast<std::size_t>(count));
  ::close(ends[0]);
  int status = 0;
  if (process > 0) ::waitpid(process, &status, 0);
  const std::size_t end = text.find('\n');
  if (status != 0 || end == std::string::npos || text.back() != '\n') return;
  breach.steps = text.substr(0, end);
  breach.what = text.substr(end + 1, text.size() - end - 2);
}

}  // namespace

Result<CheckReport> check(std::span<const CheckedDriver> drivers, const CheckOptions& options) {
  if (options.shard.index == 0 || options.shard.index > options.shard.count)
    return fail(EINVAL, "a shard is I/N with I from 1 to N");
  return without_throwing([&]() -> Result<CheckReport> {
    const Plan plan = TRY(Plan::make(drivers, options));
    std::vector<std::size_t> items;
    for (std::size_t item = options.shard.index - 1; item < plan.size(); item += options.shard.count)
      items.push_back(item);
    CheckReport report{.seed = options.seed, .shards = {options.shard}, .drivers = empty_reports(drivers)};
    if (options.jobs == 0) {
      for (const std::size_t item : items) plan.run(item, report.drivers);
    } else {
      TRY(run_in_processes(plan, drivers, options, items, report.drivers));
    }
    for (std::size_t i = 0; i < report.drivers.size(); ++i)
      for (Breach& breach : report.drivers[i].breaches) {
        if (!options.steps.empty()) continue;
        options.jobs == 0 ? plan.shorten(i, breach) : shorten_aside(plan, i, breach);
      }
    return report;
  });
}

}  // namespace softiommu::check
