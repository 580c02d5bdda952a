// SPDX-License-Identifier: BSD-3-Clause
// The functions of kp.h of a shared library: those of the candidate.
#include "kp_api.h"
#include "library.h"

KpApi kp_api(const char* path) {
  void* const library = open_library(path);
  KpApi api{};
  find_function(library, "kp_init", api.init);
  find_function(library, "kp_shape_of", api.shape_of);
  find_function(library, "kp_create", api.create);
  find_function(library, "kp_destroy", api.destroy);
  find_function(library, "kp_map", api.map);
  find_function(library, "kp_unmap", api.unmap);
  find_function(library, "kp_iova_to_phys", api.iova_to_phys);
  find_function(library, "kp_mark_dirty", api.mark_dirty);
  find_function(library, "kp_read_dirty", api.read_dirty);
  find_function(library, "kp_bitmap", api.bitmap);
  return api;
}
