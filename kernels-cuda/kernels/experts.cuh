// From ids of experts to those that are here.
#pragma once

#include "device.cuh"

/// The local expert of an id; -1 for one that is not here, and for an id that is none. `map` may be null.
__device__ __forceinline__ int32_t local_expert(int32_t id, const int32_t* map, uint32_t mapped, uint32_t experts) {
  if (map != nullptr) {
    if (id < 0 || uint32_t(id) >= mapped) return -1;
    id = map[id];
  }
  return id < 0 || uint32_t(id) >= experts ? -1 : id;
}
