// SPDX-License-Identifier: BSD-3-Clause
// Names for clang's check of locks (-Wthread-safety): each guarded member names its lock, other compilers see nothing.
#pragma once

#if defined(__clang__)
#define SOFTIOMMU_TS(x) __attribute__((x))
#else
#define SOFTIOMMU_TS(x)
#endif
#define GUARDED_BY(m) SOFTIOMMU_TS(guarded_by(m))
#define REQUIRES(...) SOFTIOMMU_TS(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) SOFTIOMMU_TS(locks_excluded(__VA_ARGS__))
