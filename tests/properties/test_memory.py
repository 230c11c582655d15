"""Memory does not grow: 100,000 steps of dynamics with rebuilds, thousands of calls of everything else."""

import ctypes
import gc

import numpy as np
import pytest
from reference.systems import TRICLINIC, case, random_system

from nnpcore import Model, structures
from nnpcore.md import MD
from nnpcore.neighbors import neighbor_list
from nnpcore.training import make_trainer


class Mallinfo(ctypes.Structure):
    """glibc's struct mallinfo2."""

    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]


def in_use():
    """Bytes that malloc has given out."""
    try:
        call = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        pytest.skip("the C library has no mallinfo2()")
    call.restype = Mallinfo
    gc.collect()
    info = call()
    return info.uordblks + info.hblkhd


def growth(work, rounds):
    """Bytes in use after that many rounds more than after the first few of them."""
    for _ in range(20):
        work()
    before = in_use()
    for _ in range(rounds):
        work()
    return in_use() - before


def test_dynamics():
    x, cell = structures.diamond(6.3, 1)
    x = x[:-1]
    md = MD(
        Model.stillinger_weber("mW"), x, "O", cell, temperature=900, ensemble="langevin", dt=4.0, skin=0.3, threads=1
    )
    md.run(50_000)  # until the list's arrays have had their largest sizes
    before, builds = in_use(), md.n_builds
    md.run(100_000)
    assert md.n_builds - builds > 5000
    assert in_use() - before < 20_000


def test_calls(rng):
    c = case("msr3-rs-zbl")
    x, s = random_system(rng, 3, 14)
    trainer = make_trainer(c.model, 1, "float32")
    trainer.add(s, x, TRICLINIC, np.ones(3, np.int32), -4.0, np.zeros((14, 3)), np.zeros(6))
    frame, theta, bad = np.zeros(1, np.int32), c.model.theta, x.copy()
    bad[3] = bad[4]

    def refused():
        with pytest.raises(ValueError, match="closer"):
            c.model.compute(bad, s, cell=TRICLINIC)

    works = {
        "new workspaces": lambda: [c.model.compute(x, s, cell=TRICLINIC, n_threads=1, skin=k / 10) for k in (1, 2)],
        "compute": lambda: c.model.compute(x, s, cell=TRICLINIC, virials=True),
        "errors": refused,
        "neighbours": lambda: neighbor_list("ijdS", x, TRICLINIC, True, 4.0),
        "models": lambda: Model.from_bytes(c.model.to_bytes()),
        "gradient": lambda: trainer.gradient(theta, frame),
        "sketch": lambda: trainer.sketch(theta, frame, 1),
        "trainers": lambda: make_trainer(c.model, 1, "float64").add(s, x, TRICLINIC, np.ones(3, np.int32)),
    }
    grown = {name: growth(work, 300) for name, work in works.items()}
    assert max(grown.values()) < 10_000, grown
