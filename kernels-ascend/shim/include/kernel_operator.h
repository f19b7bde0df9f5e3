// The small part of AscendC that the kernels of this project use, on the CPU.
//
// The name of this header is the one that bisheng has for the real thing, so that kernels are compiled unchanged. Names,
// parameters and units are those of AscendC's public interface reference; the code is ours. README.md says what is
// modelled and what is checked.
#pragma once

#include "shim/copy.h"
#include "shim/entry.h"
#include "shim/queue.h"
#include "shim/vector.h"
