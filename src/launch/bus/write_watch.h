// SPDX-License-Identifier: BSD-3-Clause
// Writes to files of sysfs that no preloaded library saw: by static programs, or inside libc.
//
// They end up in the view's own files, which nobody else writes but the launcher. Their effect comes a moment later,
// and nobody is told an errno.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

namespace softiommu::launch {

class WriteWatch {
 public:
  WriteWatch();  // without inotify it sees nothing
  ~WriteWatch();
  WriteWatch(const WriteWatch&) = delete;
  WriteWatch& operator=(const WriteWatch&) = delete;

  int descriptor() const { return inotify_; }  // readable: written() has something; -1: never
  // Looks at the files in these folders.
  void follow(const std::set<std::string>& folders);
  // The paths of files that changed since the last call, in the order in which each was written last: what a file
  // holds is of then.
  std::vector<std::string> written();

 private:
  int inotify_;
  std::map<std::string, int> watches_;
};

}  // namespace softiommu::launch
