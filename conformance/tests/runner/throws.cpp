// What a plugin in C++ does that forgets to catch: the exception goes on into its host.

#include <stdexcept>

extern "C" void throw_across(void);

extern "C" void throw_across(void) { throw std::runtime_error("nobody catches this"); }
