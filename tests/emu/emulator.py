"""The kernels' unmodified sources on the CPU: a backend of NumPy arrays and fibers in place of CuPy and a device."""

import ctypes
import hashlib
import os
import re
import subprocess
from pathlib import Path

import numpy as np

from nnpcore.gpu import backend, sources

HERE = Path(__file__).parent
BUILD = HERE.parent.parent / "build" / "emu"
COMPILER = os.environ.get("CXX", "g++")
WARNINGS = [
    "-Wall",
    "-Wextra",
    "-Wno-unused-function",
    "-Wno-unused-parameter",
    "-Wno-attributes",
    "-Wno-unknown-pragmas",
    "-Werror",
]
FLAGS = [
    "-std=c++17",
    "-O1",
    "-fPIC",
    "-shared",
    "-fvisibility=hidden",
    "-U_FORTIFY_SOURCE",
    "-ffp-contract=off",
    "-g0",
]
if os.environ.get("NNPCORE_EMU_SANITIZE"):  # needs LD_PRELOAD of the sanitizer's library
    FLAGS += ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-g"]


# what the driver code takes from its array module; CuPy 14.2 has them all. One more: look there first.
COMMON = {
    "arange",
    "argsort",
    "array",
    "concatenate",
    "cumsum",
    "empty",
    "empty_like",
    "flatnonzero",
    "full",
    "isfinite",
}
COMMON |= {"maximum", "searchsorted", "sqrt", "where", "zeros"}


class Numpy:
    """What numpy and CuPy have in common, with what empty() gives filled by 0xFF: nobody may count on zeros."""

    def __getattr__(self, name):
        if name not in COMMON:
            raise AttributeError(f"xp.{name}: is it in CuPy too? then add it to COMMON in {__file__}")
        return getattr(np, name)

    @staticmethod
    def empty(shape, dtype=np.float64):
        array = np.empty(shape, dtype)
        array.view(np.uint8).fill(0xFF) if array.ndim and array.size else None
        return array

    @staticmethod
    def empty_like(other):
        return Numpy.empty(other.shape, other.dtype)


MOST_SHARED = 99 * 1024  # bytes of shared memory a block can have on every device since compute capability 8.6


def launch_bounds(text):
    """{kernel: most threads of a block} of a source."""
    pattern = r"^NNP_KERNEL\s+(?:__launch_bounds__\s*\((\d+)[^)]*\)\s*)?(\w+)\s*\("
    return {name: int(most or 1024) for most, name in re.findall(pattern, text, re.M)}


def compile_source(text, precision, name):
    """Path of the library of a kernel file's expanded text; kept under build/emu by what it depends on."""
    runtime = (HERE / "cuda_emu.cpp").read_text()
    header = (HERE / "cuda_emu.h").read_text()
    exports = "\n".join(f"EMU_EXPORT({kernel})" for kernel in sources.kernels(text))
    bits = f"#define NNP_REAL_BITS {backend.BITS[precision]}\n"
    source = f'{bits}#include "{HERE}/cuda_emu.cpp"\n{text}\n#line 1 "exports"\n{exports}\n'
    key = hashlib.sha256("\0".join([source, runtime, header, *FLAGS, *WARNINGS]).encode()).hexdigest()[:16]
    path = BUILD / f"{Path(name).stem}_{precision}_{key}.so"
    if path.exists():
        return path
    BUILD.mkdir(parents=True, exist_ok=True)
    cpp = path.with_suffix(f".{os.getpid()}.cpp")
    cpp.write_text(source)
    made = path.with_suffix(f".{os.getpid()}.tmp")
    done = subprocess.run([COMPILER, *FLAGS, *WARNINGS, str(cpp), "-o", str(made)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[:4000]}")
    cpp.unlink()
    made.replace(path)
    return path


class EmulatedKernel:
    """A kernel, called as CuPy's RawKernel is; refuses arguments that CuPy would pass wrongly."""

    def __init__(self, library, name, most_threads, owner):
        self.function, self.name, self.owner = getattr(library, f"emu_{name}"), name, owner
        self.most_threads = most_threads
        self.error = library.emu_last_error
        self.error.restype = ctypes.c_char_p
        text = ctypes.create_string_buffer(1024)
        getattr(library, f"sig_{name}")(text)
        self.types = text.value.decode().split()

    def __call__(self, grid, block, args, shared_mem=0):
        if len(args) != len(self.types):
            raise TypeError(f"{self.name}: {len(args)} arguments, the kernel has {len(self.types)}")
        threads = int(np.prod(block))
        if (
            min(*grid, *block) < 1
            or threads > self.most_threads
            or (threads > 1 and threads % 32)
            or shared_mem > self.owner.most_shared
        ):
            where = f"{grid} blocks of {block} threads, {shared_mem} bytes shared"
            raise ValueError(f"{self.name}: {where}; launch bounds {self.most_threads}, {self.owner.most_shared} bytes")
        keep, pointers = [], []
        for k, (value, wanted) in enumerate(zip(args, self.types, strict=True)):
            self._check(k, value, wanted)
            if wanted[0] == "P":
                holder = ctypes.c_void_p(value.ctypes.data)
                pointers.append(ctypes.cast(ctypes.pointer(holder), ctypes.c_void_p))
            else:
                holder = np.array(value)
                pointers.append(ctypes.c_void_p(holder.ctypes.data))
            keep.append(holder)
        threes = [(ctypes.c_uint * 3)(*([*map(int, size)] + [1, 1])[:3]) for size in (grid, block)]
        array = (ctypes.c_void_p * len(pointers))(*pointers)
        self.owner.launches.append(self.name)
        if self.function(*threes, ctypes.c_size_t(shared_mem), ctypes.c_uint(self.owner.seed), array):
            raise RuntimeError(f"{self.name}: {self.error().decode()}")

    def _check(self, k, value, wanted):
        if wanted[0] == "P":
            good = isinstance(value, np.ndarray) and value.flags.c_contiguous
            kind = f"{value.dtype.kind}{value.dtype.itemsize}" if good else ""
            good = good and (wanted[1] == "V" or kind.replace("u", "i") == wanted[1:].replace("u", "i"))
        else:
            good = isinstance(value, np.generic) and f"{value.dtype.kind}{value.dtype.itemsize}" == wanted
        if not good:
            shown = getattr(value, "dtype", type(value).__name__)
            raise TypeError(f"{self.name}: argument {k} is {shown}, the kernel wants {wanted} (C-contiguous)")


class EmulatedBackend:
    """Stands in for nnpcore.gpu.backend.Backend. seed: order of the threads; block: threads of every launch()."""

    name = "emulator"
    most_shared = MOST_SHARED

    def __init__(self, seed=0, block=None, memory=(8 << 30, 8 << 30)):
        self.xp, self.seed, self.block = Numpy(), seed, block
        self.launches, self._libraries, self._memory = [], {}, memory

    def device(self, values, dtype=None):
        return np.array(values, dtype=dtype, order="C")

    def host(self, array):
        return np.array(array)

    def memory(self):
        return self._memory

    def synchronize(self):
        pass

    def kernel(self, file, name, precision="float64"):
        key = (file, precision)
        if key not in self._libraries:
            text = sources.expand(file)
            self._libraries[key] = ctypes.CDLL(str(compile_source(text, precision, file))), launch_bounds(text)
        library, bounds = self._libraries[key]
        return EmulatedKernel(library, name, bounds[name], self)

    def launch(self, file, name, n, args, precision="float64", block=128, shared_mem=0):
        block = self.block or block
        if n > 0:
            self.kernel(file, name, precision)((-(-int(n) // block),), (block,), args, shared_mem=shared_mem)
