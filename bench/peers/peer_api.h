// SPDX-License-Identifier: BSD-3-Clause
// The functions of kp.h and peer.h that the differential test calls, of Linux (linked) and of ours (loaded).
#pragma once

#include "library.h"
#include "peer.h"

struct PeerApi {
  decltype(&kp_init) init;
  decltype(&kp_destroy) destroy;
  decltype(&kp_unmap) unmap;
  decltype(&kp_iova_to_phys) iova_to_phys;
  decltype(&kp_read_dirty) read_dirty;
  decltype(&kp_bitmap) bitmap;
  decltype(&peer_create) create;
  decltype(&peer_map) map;
  decltype(&peer_root_of) root_of;
  decltype(&peer_words) words;
};

inline PeerApi linked_peer() {
  return {kp_init,   kp_destroy,  kp_unmap, kp_iova_to_phys, kp_read_dirty,
          kp_bitmap, peer_create, peer_map, peer_root_of,    peer_words};
}

inline PeerApi loaded_peer(const char* path) {
  void* const library = open_library(path);
  PeerApi api{};
  find_function(library, "kp_init", api.init);
  find_function(library, "kp_destroy", api.destroy);
  find_function(library, "kp_unmap", api.unmap);
  find_function(library, "kp_iova_to_phys", api.iova_to_phys);
  find_function(library, "kp_read_dirty", api.read_dirty);
  find_function(library, "kp_bitmap", api.bitmap);
  find_function(library, "peer_create", api.create);
  find_function(library, "peer_map", api.map);
  find_function(library, "peer_root_of", api.root_of);
  find_function(library, "peer_words", api.words);
  return api;
}
