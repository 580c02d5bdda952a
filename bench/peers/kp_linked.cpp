// SPDX-License-Identifier: BSD-3-Clause
// The functions of kp.h that are linked into the program: those of the kernel peers.
#include "kp_api.h"

KpApi kp_api(const char* /*library*/) {
  return {kp_init,  kp_shape_of,     kp_create,     kp_destroy,    kp_map,
          kp_unmap, kp_iova_to_phys, kp_mark_dirty, kp_read_dirty, kp_bitmap};
}
