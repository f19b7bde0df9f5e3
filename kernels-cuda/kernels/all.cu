// Every kernel, as one translation unit: what nvcc is given.
