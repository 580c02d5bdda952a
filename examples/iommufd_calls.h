/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The calls of iommufd that vfio_dma makes, for systems whose headers are older than them (Linux 6.2 and 6.6).
 */
#ifndef IOMMUFD_CALLS_H
#define IOMMUFD_CALLS_H

#include <linux/vfio.h>

#if __has_include(<linux/iommufd.h>)
#include <linux/iommufd.h>
#else
struct iommu_ioas_alloc {
  __u32 size, flags, out_ioas_id;
};
struct iommu_ioas_map {
  __u32 size, flags, ioas_id, __reserved;
  __aligned_u64 user_va, length, iova;
};
struct iommu_ioas_unmap {
  __u32 size, ioas_id;
  __aligned_u64 iova, length;
};
#define IOMMU_IOAS_ALLOC _IO(';', 0x81)
#define IOMMU_IOAS_MAP _IO(';', 0x85)
#define IOMMU_IOAS_UNMAP _IO(';', 0x86)
#define IOMMU_IOAS_MAP_WRITEABLE 2
#define IOMMU_IOAS_MAP_READABLE 4
#endif

#ifndef VFIO_DEVICE_BIND_IOMMUFD
struct vfio_device_bind_iommufd {
  __u32 argsz, flags;
  __s32 iommufd;
  __u32 out_devid;
};
struct vfio_device_attach_iommufd_pt {
  __u32 argsz, flags, pt_id;
};
#define VFIO_DEVICE_BIND_IOMMUFD _IO(VFIO_TYPE, VFIO_BASE + 18)
#define VFIO_DEVICE_ATTACH_IOMMUFD_PT _IO(VFIO_TYPE, VFIO_BASE + 19)
#endif

#endif
