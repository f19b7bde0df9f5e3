// How a kernel that is compiled for the host is launched: what the simulator of CANN looks for in its binary.
#pragma once

#include <algorithm>
#include <tuple>
#include <utility>

#include "queue.h"

namespace shim {

/// A launch, as `conformance/simulators/cann` describes it.
struct Launch {
  /// The kernel's parameters one after another, eight bytes each; addresses are the host's.
  const uint64_t* arguments;
  uint64_t argument_count;
  uint32_t blocks;
  /// What the addresses point into.
  const Memory* memory;
  uint64_t memory_count;
  /// Gets what went wrong, ending in a zero byte.
  char* fault;
  uint64_t fault_bytes;
};

template <class T>
T Argument(uint64_t word) {
  static_assert(sizeof(T) == 8, "parameters are addresses and numbers of 64 bits");
  if constexpr (std::is_pointer_v<T>) {
    return reinterpret_cast<T>(word);
  } else {
    return T(word);
  }
}

template <class... T, size_t... index>
void Call(void (*kernel)(T...), const uint64_t* arguments, std::index_sequence<index...>) {
  kernel(Argument<T>(arguments[index])...);
}

/// Runs all blocks, one after the other; not 0 for a fault.
template <class... T>
int Run(void (*kernel)(T...), const Launch* launch) {
  Machine& machine = Machine::Current();
  try {
    if (launch->argument_count != sizeof...(T)) {
      throw Fault(std::to_string(launch->argument_count) + " arguments were passed, and the kernel has " +
                  std::to_string(sizeof...(T)));
    }
    for (uint32_t block = 0; block < launch->blocks; block++) {
      machine.Start(block, launch->blocks, launch->memory, launch->memory_count);
      Call(kernel, launch->arguments, std::index_sequence_for<T...>{});
      machine.Finish();
    }
    return 0;
  } catch (const std::exception& fault) {
    size_t length = std::min<size_t>(std::strlen(fault.what()), launch->fault_bytes - 1);
    std::memcpy(launch->fault, fault.what(), length);
    launch->fault[length] = 0;
    return 1;
  }
}

}  // namespace shim

/// After a kernel: its entry for the simulator. For bisheng kernels define this as nothing.
#define MXHAL_HOST_ENTRY(kernel) \
  extern "C" __attribute__((visibility("default"))) int kernel##_on_host(const shim::Launch* launch) { return shim::Run(kernel, launch); }
