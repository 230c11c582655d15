"""Random cells of every shape against the references: eight in the suite, NNPCORE_SOAK=seconds for more."""

import os
import time

import numpy as np
import pytest
from reference.systems import CASES, agree, case

from nnpcore.structures import random_liquid

SECONDS = float(os.environ.get("NNPCORE_SOAK", "0"))


def random_case(rng):
    """(name, x, s, cell, pbc): skewed, flat, long, tiny cells; n from 1 to 24; atoms often outside."""
    while True:
        cell = rng.normal(size=(3, 3)) * rng.uniform(1.0, 6.0)
        if rng.random() < 0.3:
            cell = np.diag(rng.uniform(2, 12, 3))
        if rng.random() < 0.2:
            cell = cell @ np.diag(10 ** rng.uniform(-0.5, 0.7, 3))
        heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
        if heights.min() < 0.8 or np.prod(2 * 4.8 / heights + 1) > 2000:
            continue
        distance = rng.uniform(0.8, 1.8)
        n = int(np.clip(abs(np.linalg.det(cell)) / (2.2 * distance**3), 1, 24))
        try:
            x, _ = random_liquid(n, cell, min_distance=distance, rng=rng)
        except ValueError:
            continue
        name = list(CASES)[rng.integers(len(CASES))]
        s = rng.integers(0, case(name).n_species, n).astype(np.int32)
        return name, x + (rng.random() < 0.5) * rng.integers(-3, 4, x.shape) @ cell, s, cell, rng.random(3) < 0.7


def check(seed):
    rng = np.random.default_rng(seed)
    name, x, s, cell, pbc = random_case(rng)
    c = case(name)
    expected = c.reference(x, s, cell, pbc)
    for precision, tolerance in (("float64", 1e-11), ("float32", 3e-4)):
        out = c.model.compute(
            x, s, cell=cell, pbc=pbc, virials=True, precision=precision, n_threads=int(rng.integers(1, 3))
        )
        for what in ("energy", "energies", "forces", "virial", "virials", "stress"):
            agree(getattr(out, what), getattr(expected, what), tolerance, f"seed {seed} {name} {precision} {what}")


@pytest.mark.parametrize("seed", range(8))
def test_random_cells(seed):
    check(seed)


@pytest.mark.skipif(not SECONDS, reason="set NNPCORE_SOAK to a number of seconds")
def test_soak():
    start, seed = time.monotonic(), int(time.time()) * 1000
    while time.monotonic() - start < SECONDS:
        seed += 1
        check(seed)
