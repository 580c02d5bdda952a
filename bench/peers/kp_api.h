// SPDX-License-Identifier: BSD-3-Clause
// The functions of kp.h as a table of pointers, so that every page table is called in the same way.
#pragma once

#include "kp.h"

struct KpApi {
  decltype(&kp_init) init;
  decltype(&kp_shape_of) shape_of;
  decltype(&kp_create) create;
  decltype(&kp_destroy) destroy;
  decltype(&kp_map) map;
  decltype(&kp_unmap) unmap;
  decltype(&kp_iova_to_phys) iova_to_phys;
  decltype(&kp_mark_dirty) mark_dirty;
  decltype(&kp_read_dirty) read_dirty;
  decltype(&kp_bitmap) bitmap;
};

// kp_linked.cpp: the functions that are linked into the program. kp_loaded.cpp: those of a shared library; ends the
// program with a message if one is missing.
KpApi kp_api(const char* library);
