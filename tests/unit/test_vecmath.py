"""csrc/math/vecmath.h and cutoff.h against NumPy in extended precision, every instruction set of this machine."""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from nnpcore import _core
from nnpcore.sources import folder

ISAS = ("baseline", "avx2", "avx512")
HAVE = ISAS[: ISAS.index(_core.isa()) + 1] if "NNPCORE_ISA" not in os.environ else ()
BOUND = {64: 1e-15, 32: 5e-7}  # relative; 4.5 and 4 units in the last place


@pytest.fixture(scope="module", params=[(bits, isa) for bits in (64, 32) for isa in range(3)], ids=str)
def library(request, tmp_path_factory):
    bits, isa = request.param
    if ISAS[isa] not in HAVE:
        pytest.skip(f"this machine or NNPCORE_ISA has no {ISAS[isa]}")
    if not shutil.which("cc"):
        pytest.skip("no C compiler")
    source, path = Path(__file__).parent / "vecmath.c", tmp_path_factory.mktemp("vecmath") / "vecmath.so"
    flags = [f"-DNNP_REAL_BITS={bits}", f"-DNNP_ISA={isa}", f"-I{folder()}", "-O2", "-fno-math-errno", "-Wno-psabi"]
    subprocess.run(["cc", "-shared", "-fPIC", *flags, str(source), "-o", str(path)], check=True)
    return ctypes.CDLL(str(path)), np.float64 if bits == 64 else np.float32, BOUND[bits]


def apply(library, name, x):
    lib, kind, _ = library
    x, y = x.astype(kind), np.empty(len(x), dtype=kind)
    pointer = np.ctypeslib.ndpointer(kind)
    getattr(lib, name).argtypes = [ctypes.c_int, pointer, pointer]
    getattr(lib, name)(len(x), x, y)
    return x.astype(np.longdouble), y.astype(np.longdouble)


def worst(found, true):
    return float(np.max(np.abs(found - true) / np.abs(true)))


@pytest.mark.parametrize(("name", "true", "reach"), [("map_exp", np.exp, (80, 700)), ("map_exp2", np.exp2, (1, 1))])
def test_exponentials(library, name, true, reach):
    """exp everywhere; exp2's own rounding |x| eps is not its fault, so near 0."""
    top = reach[library[1] is np.float64]
    x, y = apply(library, name, np.linspace(-top, top, 20011))
    assert worst(y, true(x)) < library[2]


def test_log(library):
    x, y = apply(library, "map_log", np.concatenate([np.geomspace(1e-30, 0.9, 9001), np.geomspace(1.1, 1e30, 9001)]))
    assert worst(y, np.log(x)) < library[2]
    x, y = apply(library, "map_log", np.linspace(0.9, 1.1, 2001))
    assert float(np.abs(y - np.log(x)).max()) < library[2]


def test_tanh(library):
    x, y = apply(library, "map_tanh", np.concatenate([np.linspace(-30, 30, 20001), [-1e30, 1e30]]))
    assert float(np.abs(y - np.tanh(x)).max()) < library[2]


@pytest.mark.parametrize("septic", [False, True])
def test_cutoff(library, septic):
    """x(r) and dx/dr, and exact zeros from Rc on."""
    lib, kind, bound = library
    rc = kind(4.5)
    r = np.append(np.linspace(0.001, 4.5, 9001), [4.5, 5.0, 1e6]).astype(kind)
    x, dx = np.empty_like(r), np.empty_like(r)
    pointer = np.ctypeslib.ndpointer(kind)
    real = ctypes.c_double if kind is np.float64 else ctypes.c_float
    lib.map_cutoff.argtypes = [ctypes.c_int, pointer, real, ctypes.c_int, pointer, pointer]
    lib.map_cutoff(len(r), r, rc, septic, x, dx)
    s = r.astype(np.longdouble) * (np.longdouble(np.pi) / np.longdouble(rc))
    inside = r < rc
    true, slope = 0.5 * (1 + np.cos(s)), -0.5 * (np.longdouble(np.pi) / np.longdouble(rc)) * np.sin(s)
    if septic:
        s /= np.longdouble(np.pi)
        true = 1 - s**4 * (35 - s * (84 - s * (70 - 20 * s)))
        slope = -140 * (s * (1 - s)) ** 3 / np.longdouble(rc)
    assert float(np.abs(x - true)[inside].max()) < bound
    assert float(np.abs(dx - slope)[inside].max()) < bound
    assert not x[~inside].any() and not dx[~inside].any()
