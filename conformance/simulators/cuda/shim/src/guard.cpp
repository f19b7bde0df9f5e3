// Kernels that go where there is no memory: SIGSEGV becomes a fault of the kernel.
//
// Only for addresses that somebody guards, device memory that is closed, and only while a fiber runs; a kernel calls
// nothing there that must not be left by a jump.

#include <signal.h>
#include <string.h>

#include <mutex>

#include "block.h"

namespace emulation {

namespace {

uintptr_t guarded_begin = 0;
uintptr_t guarded_end = 0;
struct sigaction before;

void on_signal(int number, siginfo_t* information, void* context) {
  uintptr_t at = reinterpret_cast<uintptr_t>(information->si_addr);
  if (at >= guarded_begin && at < guarded_end && is_running()) {
    fault("illegal address: %p is no device memory, or was freed", information->si_addr);
  }
  if (before.sa_flags & SA_SIGINFO) return before.sa_sigaction(number, information, context);
  if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) return before.sa_handler(number);
  // The instruction is tried again, and then it ends the process as it would have done.
  sigaction(number, &before, nullptr);
}

}  // namespace

}  // namespace emulation

/// Guards a range of addresses, until the process ends; there is one range.
extern "C" __attribute__((visibility("default"))) void emulation_guard(const void* begin, size_t bytes) {
  static std::once_flag once;
  std::call_once(once, [begin, bytes] {
    emulation::guarded_begin = reinterpret_cast<uintptr_t>(begin);
    emulation::guarded_end = emulation::guarded_begin + bytes;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = emulation::on_signal;
    // The handler is left by a jump, which does not give the signal back.
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSEGV, &action, &emulation::before);
  });
}
