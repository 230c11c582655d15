"""The device as the rest of the GPU path sees it: arrays, kernels, memory.

A backend has
    xp                            the array module: what NumPy and CuPy have in common is used, nothing else
    device(values, dtype)         a copy on the device;  host(array): a NumPy copy
    kernel(file, name, precision) a kernel of csrc/<file>, called as kernel(grid, block, args, shared_mem=bytes)
    launch(file, name, n, args)   the same for n threads in blocks of one size
    memory()                      (free, total) bytes
Scalars among a kernel's args are NumPy scalars of exactly the C type (np.int32, np.int64, np.float64).
"""

import functools

import numpy as np

from ..validate import InputError
from . import sources

BITS = {"float64": 64, "float32": 32}
REAL = {"float64": np.float64, "float32": np.float32}
DEFAULT_SHARED = 48 * 1024  # bytes of dynamic shared memory that a block gets without asking
OLDEST = 75  # compute capability 7.5: what the tests compile for
INSTALL = "pip install nnpcore[gpu] (for CUDA 12; nnpcore[gpu13] for CUDA 13)"


class GpuError(InputError):
    """No usable device, too little memory on it, or a kernel that does not compile; one line with the remedy."""


def flags(precision):
    """What the compiler is told, without the architecture.

    float32: division and square root to 2 units in the last place and no subnormal numbers, as the hardware is fast
    at. Products and sums are fused, as the CPU's kernels do.
    """
    known = ["--std=c++17", "-DNNP_GPU", f"-DNNP_REAL_BITS={BITS[precision]}", "--fmad=true"]
    fast = ["--ftz=true", "--prec-div=false", "--prec-sqrt=false"] if precision == "float32" else []
    return (*known, *fast)


class Backend:
    """The CUDA device of this process, through CuPy. Raises GpuError."""

    def __init__(self):
        self.xp = _import_cupy()
        _check_device(self.xp)
        self._modules, self._kernels = {}, {}

    @property
    def name(self):
        """The device's name."""
        return self.xp.cuda.runtime.getDeviceProperties(self.xp.cuda.Device().id)["name"].decode()

    def device(self, values, dtype=None):
        """A C-contiguous copy on the device."""
        return _guarded(self, lambda: self.xp.array(values, dtype=dtype, order="C"))

    def host(self, array):
        """A NumPy copy; waits for the kernels before it."""
        return self.xp.asnumpy(array)

    def memory(self):
        """(free, total) bytes; what CuPy holds and does not use counts as free."""
        free, total = self.xp.cuda.runtime.memGetInfo()
        pool = self.xp.get_default_memory_pool()
        return free + pool.free_bytes(), total

    def synchronize(self):
        """Wait until the device has done what it was given."""
        self.xp.cuda.Device().synchronize()

    def kernel(self, file, name, precision="float64"):
        """Kernel `name` of csrc/<file>, compiled once for the device. Raises GpuError."""
        key = (file, name, precision)
        if key not in self._kernels:
            module = self._modules.get((file, precision))
            if module is None:
                module = self.xp.RawModule(code=sources.expand(file), options=flags(precision))
                self._modules[file, precision] = module
            self._kernels[key] = _Kernel(self, module, file, name)
        return self._kernels[key]

    def launch(self, file, name, n, args, precision="float64", block=128, shared_mem=0):
        """Run a kernel with at least n threads in blocks of `block`."""
        if n > 0:
            self.kernel(file, name, precision)((-(-int(n) // block),), (block,), args, shared_mem=shared_mem)


class _Kernel:
    """One compiled kernel."""

    def __init__(self, backend, module, file, name):
        self.backend = backend
        try:
            self.function = module.get_function(name)
        except Exception as error:  # CuPy's CompileException, the driver's errors, or the want of NVRTC
            remedy = INSTALL if "libnvrtc" in str(error) else 'use device = "cpu", and please report this'
            raise GpuError(f"{file}: cannot be compiled for the GPU: {_first_error(error)}; {remedy}") from error

    def __call__(self, grid, block, args, shared_mem=0):
        if shared_mem > DEFAULT_SHARED:
            self.function.max_dynamic_shared_size_bytes = shared_mem
        _guarded(self.backend, lambda: self.function(grid, block, args, shared_mem=shared_mem))


def _first_error(error):
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if "error" in line), lines[0] if lines else type(error).__name__)


def _guarded(backend, call):
    """call(), with the device's want of memory as a GpuError."""
    try:
        return call()
    except backend.xp.cuda.memory.OutOfMemoryError as error:
        free, total = backend.memory()
        raise GpuError(
            f"the GPU's memory is full ({free / 1e9:.1f} of {total / 1e9:.1f} GB free): {_first_error(error)}"
        ) from error


def _version(number):
    """12.4 of 12040."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _import_cupy():
    try:
        import cupy
    except ImportError as error:
        raise GpuError(f'device "gpu" needs CuPy: {INSTALL} ({error})') from None
    return cupy


def _check_device(cupy):
    runtime = cupy.cuda.runtime
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        driver = runtime.driverGetVersion()
        if driver and "InsufficientDriver" in str(error):
            raise GpuError(
                f'device "gpu": the NVIDIA driver is of CUDA {_version(driver)}, older than CUDA '
                f"{_version(runtime.runtimeGetVersion())} of this CuPy: update the driver, or install the CuPy of an "
                f"older CUDA (pip install cupy-cuda12x[ctk])"
            ) from None
        what = "no NVIDIA driver is installed" if not driver else str(error)
        raise GpuError(f'device "gpu": {what}; use device = "cpu"') from None
    if count < 1:
        raise GpuError('device "gpu": there is no CUDA device here; use device = "cpu"')
    text = cupy.cuda.Device().compute_capability
    if int(text) < OLDEST:
        raise GpuError(
            f'device "gpu": compute capability {int(text) / 10:.1f}, at least {OLDEST / 10:.1f} is needed; '
            f'use device = "cpu"'
        )


@functools.cache
def _cuda():
    return Backend()


_substitute = None  # the tests' emulator


def get(device):
    """None for "cpu", the Backend for "gpu". Raises InputError for another word, GpuError without a usable device."""
    if device == "cpu":
        return None
    if device != "gpu":
        raise InputError(f'device: {device!r} is not one of "cpu", "gpu"')
    return _substitute or _cuda()


def check_memory(backend, bytes_per_atom, n_atoms, what):
    """GpuError where n_atoms of bytes_per_atom bytes do not fit, saying how many do."""
    free, total = backend.memory()
    if bytes_per_atom * n_atoms > free:
        raise GpuError(
            f"{what}: {n_atoms} atoms need about {bytes_per_atom * n_atoms / 1e9:.2f} GB on the GPU "
            f"({bytes_per_atom:.0f} bytes an atom), {free / 1e9:.2f} of {total / 1e9:.2f} GB are free: "
            f"about {int(free / bytes_per_atom)} atoms fit"
        )


__all__ = ["BITS", "REAL", "Backend", "GpuError", "check_memory", "flags", "get"]
