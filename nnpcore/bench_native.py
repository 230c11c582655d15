"""What `nnpcore bench` compiles on the spot, where there is a C compiler: the machine's two peaks (bench_peak.c) and
the parts of a step of dynamics (bench_step.c, linked to libnnpcore.a). Without a compiler each figure is None."""

import ctypes
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from . import _core, library, sources

VECTOR_BYTES = {"baseline": 16, "avx2": 32, "avx512": 64}
WRAPPED = (
    "nnp_get_kernels",
    "nnp_plan_gather",
    "nnp_plan_build",
    "nnp_neigh_build",
    "nnp_neigh_move",
    "nnp_neigh_move_ghosts",
)
SPLIT = ("step", "forces", "gather", "refresh", "list", "plan", "builds", "halo")


def _pointer(array):
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_double))


class Native:
    """bench_peak.c and bench_step.c as functions; the library is compiled once, in a temporary folder."""

    def __init__(self):
        self._copies = {}
        self.peak_library = self._compile("bench_peak.c", [])
        self.step_library = self._compile_step()

    def _compile(self, name, flags):
        compiler = shutil.which(os.environ.get("CC", "cc"))
        if compiler is None:
            return None
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "bench.so")
            source = str(Path(__file__).with_name(name))
            command = [compiler, "-O3", "-shared", "-fPIC", source, *flags, "-o", str(path)]
            if subprocess.run(command, capture_output=True).returncode:
                return None
            return ctypes.CDLL(str(path))

    def _compile_step(self):
        try:
            static, include = library.get_library(static=True), sources.folder()
        except FileNotFoundError:
            return None
        wraps = [f"-Wl,--wrap={name}" for name in WRAPPED]
        openmp = ["-fopenmp"] if _core.has_openmp() else []
        return self._compile("bench_step.c", [f"-I{include}", static, *wraps, *openmp, "-lm"])

    def fma(self, isa, bits, threads, seconds=0.1):
        """GFLOP/s of fused multiply-adds on so many threads at once."""
        if self.peak_library is None:
            return None
        peak = self.peak_library.nnp_bench_peak
        peak.restype, peak.argtypes = ctypes.c_double, (ctypes.c_int, ctypes.c_int, ctypes.c_double)
        with ThreadPoolExecutor(threads) as pool:  # ctypes lets go of the interpreter
            return sum(pool.map(lambda _: peak(VECTOR_BYTES[isa], bits == 32, seconds), range(threads)))

    def copy(self, size, threads, seconds=0.1):
        """GB/s (read and written) of copies that touch about `size` bytes on so many threads: what a loop over data
        of that size can hope for, caches included. Measured once for each power of four."""
        if self.peak_library is None:
            return None
        size = 4 ** max(7, min(14, round(np.log(max(size, 1)) / np.log(4))))  # 16 kB to 256 MB
        if (size, threads) not in self._copies:
            copy = self.peak_library.nnp_bench_copy
            copy.restype, copy.argtypes = ctypes.c_double, (ctypes.c_double, ctypes.c_double)
            with ThreadPoolExecutor(threads) as pool:
                rates = pool.map(lambda _: copy(size / threads, seconds), range(threads))
                self._copies[size, threads] = sum(rates)
        return self._copies[size, threads]

    def step(self, model, system, precision, threads, steps, dt=5.0):
        """{step, forces, gather, refresh, list, plan, rest: microseconds an atom and step; builds a step; halo an
        atom} of NVE with skin 1 A. system: (positions, velocities, cell) of one species."""
        if self.step_library is None:
            return None
        x, v, cell = (np.ascontiguousarray(a, dtype=float) for a in system)
        out = np.zeros(len(SPLIT))
        run = self.step_library.nnp_bench_step_file
        run.argtypes = (
            [ctypes.c_char_p, ctypes.c_int]
            + 3 * [ctypes.POINTER(ctypes.c_double)]
            + [ctypes.c_int, ctypes.c_int, ctypes.c_double, ctypes.c_int, ctypes.POINTER(ctypes.c_double)]
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.nnp")
            model.save(path)
            arrays = map(_pointer, (x, v, cell))
            code = run(
                os.fsencode(path), len(x), *arrays, int(precision == "float32"), threads, dt, steps, _pointer(out)
            )
        if code:
            raise RuntimeError(f"bench_step.c: the core's error {code}")
        split = dict(zip(SPLIT, map(float, out), strict=True))
        split["rest"] = split["step"] - sum(split[k] for k in ("forces", "gather", "refresh", "list", "plan"))
        return split
