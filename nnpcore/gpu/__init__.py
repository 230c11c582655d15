"""The GPU path: kernels of csrc/cuda through CuPy. Nothing here imports CuPy before a device is asked for."""
