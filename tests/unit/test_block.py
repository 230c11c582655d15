"""The filter of csrc/block_impl.h on every instruction set of this machine: which neighbours, in which order and lane.

The reference does the same arithmetic in NumPy: differences in double, (x^2 + y^2) + z^2 in the working precision.
"""

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
INT, LONG, REAL = (np.ctypeslib.ndpointer(kind, flags="C") for kind in (np.intc, np.int64, np.float64))


@pytest.fixture(scope="module", params=[(bits, isa) for bits in (64, 32) for isa in range(3)], ids=str)
def library(request, tmp_path_factory):
    bits, isa = request.param
    if ISAS[isa] not in HAVE:
        pytest.skip(f"this machine or NNPCORE_ISA has no {ISAS[isa]}")
    if not shutil.which("cc"):
        pytest.skip("no C compiler")
    source, path = Path(__file__).parent / "block.c", tmp_path_factory.mktemp("block") / "block.so"
    flags = [f"-DNNP_REAL_BITS={bits}", f"-DNNP_ISA={isa}", f"-I{folder()}", "-O2", "-std=gnu11", "-Wno-psabi"]
    subprocess.run(["cc", "-shared", "-fPIC", *flags, str(source), "-o", str(path)], check=True)
    lib = ctypes.CDLL(str(path))
    lib.gather.argtypes = [ctypes.c_int] * 2 + [REAL, LONG, *[INT] * 4] + [ctypes.c_double] * 2 + [ctypes.c_int]
    lib.gather.argtypes += [INT, INT, REAL]
    return lib, np.float64 if bits == 64 else np.float32


def aligned(x):
    """A copy of x [n][4] at a multiple of 32 bytes."""
    room = np.empty(x.size + 4)
    start = -room.ctypes.data % 32 // 8
    room = room[start : start + x.size].reshape(x.shape)
    room[:] = x
    return room


def expected(x, centre, listed, near, cut, kind):
    """(near, far): numbers of those of `listed` within the two cutoffs, in the list's order."""
    d = (x[listed, :3] - x[centre, :3]).astype(kind) ** 2
    r2 = (d[:, 0] + d[:, 1]) + d[:, 2]
    inner, outer = kind(near * near), kind(cut * cut)
    return listed[r2 < inner], listed[(r2 >= inner) & (r2 < outer)]


def check(library, x, lists, rows, near, cut):
    """lists[row][t]: listed numbers of species t; rows: the block's, one a lane."""
    lib, kind = library
    n, s = len(x), len(lists[0])
    x = aligned(x)
    counts = np.array([[len(part) for part in row] for row in lists])
    segment = np.cumsum(counts, axis=1).astype(np.intc)
    first = np.append(0, np.cumsum(segment[:, -1])).astype(np.int64)
    listed = np.array([k for row in lists for part in row for k in part] + [0], dtype=np.intc)
    rows = np.array(rows, dtype=np.intc)
    capacity = counts[rows[rows >= 0]].max(axis=0).astype(np.intc)
    room = max(1, int(capacity.max()))
    count, length = np.empty((len(rows), 2 * s), dtype=np.intc), np.empty(2 * s, dtype=np.intc)
    out = np.zeros((len(rows), 2 * s, room, 5))
    args = n, s, x, first, listed, segment, rows, capacity, near, cut, room, count, length, out
    assert lib.gather(*args) == 0, "wrote past its memory"
    for w, row in enumerate(rows):
        for part in range(2 * s):
            chosen = np.array([], dtype=int)
            if row >= 0:
                chosen = expected(x, row, np.array(lists[row][part // 2], dtype=int), near, cut, kind)[part % 2]
            assert count[w, part] == len(chosen) <= length[part]
            found = out[w, part, : length[part]]
            np.testing.assert_array_equal(found[: len(chosen), 4], chosen)
            assert (found[len(chosen) :, 4] == n).all()  # nobody
            assert (found[len(chosen) :, 3] >= kind(cut)).all()
            d = x[chosen, :3] - x[row, :3]
            np.testing.assert_allclose(found[: len(chosen), :3], d, atol=4 * np.finfo(kind).eps * cut)
            r = np.maximum(np.sqrt((d**2).sum(axis=1)), 1e-15)
            np.testing.assert_allclose(found[: len(chosen), 3], r, rtol=4 * np.finfo(kind).eps)
    np.testing.assert_array_equal(length, count.max(axis=0))


@pytest.mark.parametrize("cutoffs", [(0.0, 4.0), (2.5, 4.0), (4.0, 4.0), (4.0, 4.5)], ids=str)
@pytest.mark.parametrize("n_species", [1, 2, 3])
def test_filter(library, n_species, cutoffs):
    """Lists of 0 to 13 entries a species, lanes without an atom, atoms at exactly the cutoffs and on the centre."""
    lanes = library[0].width()
    for seed in range(6):
        rng = np.random.default_rng([seed, n_species])
        n = lanes + 30
        x = np.zeros((n, 4))
        x[:, :3] = rng.uniform(-3, 3, (n, 3))
        x[lanes] = x[0]
        for k, r in enumerate((2.5, 4.0)):
            x[lanes + 1 + k] = x[0] + [0, r, 0, 0]
        others = np.arange(lanes, n)
        most = (13, 1, 4, 7, 2, 30)[seed]
        lists = [
            [rng.permutation(others)[: rng.integers(0, most + 1)].tolist() for _ in range(n_species)] for _ in range(n)
        ]
        lists[0] = [others[: (k + 4) % 9].tolist() for k in range(n_species)]
        rows = rng.permutation(lanes)
        rows[1:][rng.random(lanes - 1) < 0.3] = -1
        check(library, x, lists, rows, *cutoffs)


@pytest.mark.parametrize("n", range(10))
def test_full_and_empty(library, n):
    """Every lane keeps all n of its list, near or far, or none: the ends of the parts' memory."""
    lanes = library[0].width()
    x = np.zeros((lanes + 9, 4))
    x[:, 0] = np.arange(len(x)) * 1e-3
    lists = [[list(range(lanes, lanes + n))]] * len(x)
    for near, cut in ((1.0, 2.0), (0.0, 2.0), (0.0, 1e-5), (1.0, 1.0)):
        check(library, x, lists, range(lanes), near, cut)
