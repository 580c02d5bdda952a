// SPDX-License-Identifier: BSD-3-Clause
// The lock of everything that is not a few nanoseconds of work: a call of a program passes ten of them, so that an
// uncontended one must cost two locked instructions and no call into libc.
//
// Order, outermost first: container or IOAS, group, domain, unit queue, device registers (a leaf).
// No lock is held while program memory is touched.
#pragma once

#include "base/futex_lock.h"

namespace softiommu {

using Mutex = FutexLock;
using MutexLock = FutexGuard;

}  // namespace softiommu
