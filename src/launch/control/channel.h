// SPDX-License-Identifier: BSD-3-Clause
// Packets on RUN/control, for those who have a C++ library: the engine, `softiommu ctl`, and the process that answers.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "launch/control/control_abi.h"

namespace softiommu::launch {

struct ControlPacket {
  ControlHead head{};
  std::string text = {};
};

// The socket's descriptors are close-on-exec. ENOENT, ECONNREFUSED: nobody answers for that run.
Result<int> connect_control(const std::string& run_dir);
Result<int> listen_control(const std::string& run_dir);

// False: the other side has gone.
bool send_control(int fd, const ControlHead& head, std::string_view text = {});
// EPIPE: the other side has gone; EAGAIN: nothing is there (a descriptor that does not wait).
Result<ControlPacket> receive_control(int fd);

}  // namespace softiommu::launch
