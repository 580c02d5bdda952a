// SPDX-License-Identifier: BSD-3-Clause
#include "launch/bus/write_watch.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace softiommu::launch {

WriteWatch::WriteWatch() : inotify_(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) {}

WriteWatch::~WriteWatch() {
  if (inotify_ >= 0) ::close(inotify_);
}

void WriteWatch::follow(const std::set<std::string>& folders) {
  if (inotify_ < 0) return;
  std::erase_if(watches_, [&](const auto& entry) {
    const bool gone = !folders.contains(entry.first);
    if (gone) ::inotify_rm_watch(inotify_, entry.second);  // it went with its folder, perhaps
    return gone;
  });
  for (const std::string& folder : folders) {
    if (!watches_.contains(folder))
      watches_[folder] = ::inotify_add_watch(inotify_, folder.c_str(), IN_MODIFY | IN_ONLYDIR);
  }
}

std::vector<std::string> WriteWatch::written() {
  std::vector<std::string> files;
  alignas(inotify_event) std::array<char, 16384> room;
  for (ssize_t got; inotify_ >= 0 && (got = ::read(inotify_, room.data(), room.size())) > 0;) {
    for (ssize_t at = 0; at < got;) {
      const auto& event = *reinterpret_cast<const inotify_event*>(room.data() + at);
      const auto folder = std::ranges::find(watches_, event.wd, [](const auto& entry) { return entry.second; });
      if (folder != watches_.end() && event.len != 0) {
        std::string file = folder->first + "/" + event.name;
        std::erase(files, file);
        files.push_back(std::move(file));
      }
      at += static_cast<ssize_t>(sizeof event + event.len);
    }
  }
  return files;
}

}  // namespace softiommu::launch
