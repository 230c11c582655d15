"""bench/bench_gpu.py runs through on the emulator; its figures mean nothing there."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parent.parent.parent / "bench" / "bench_gpu.py"


@pytest.fixture
def bench_gpu(monkeypatch):
    """The script, on a small box of water."""
    spec = importlib.util.spec_from_file_location("bench_gpu", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "bandwidth", lambda backend: 1e9)
    monkeypatch.setattr("nnpcore.bench.seed_box", lambda truth: small_box(truth))
    return module


def test_the_table_by_kernel(emulated, monkeypatch, bench_gpu):
    rate = bench_gpu.fma_rate
    monkeypatch.setattr(bench_gpu, "fma_rate", lambda backend, precision: rate(backend, precision, 1, 8))
    out = bench_gpu.bench([64], 2, say=lambda text: None)
    assert [run["potential"] for run in out["runs"]] == ["sw", "msr", "bp", "narrow"]
    names = {"sw": "nnp_sw_rows", "msr": "nnp_msr_inputs", "bp": "nnp_bp_values", "narrow": "nnp_bp_gradient"}
    for run in out["runs"]:
        kernels = {k["kernel"]: k for k in run["kernels"]}
        assert {"nnp_md_drift", "nnp_forces", "nnp_md_kick", "nnp_fill"} < set(kernels)
        own = kernels[names[run["potential"]]]
        assert own["operations/atom"] > 100 and own["bytes/atom"] > 100 and own["bound"] in ("memory", "arithmetic")
        assert run["atom-steps/s"] > 0
        assert run["energy change[eV/atom]"] == pytest.approx(0, abs=1e-3)


def test_the_training_step(emulated, monkeypatch, bench_gpu):
    train = bench_gpu.beside("bench_train")
    _, x, cell = train.water(np.random.default_rng(0))
    case = train.CASES["water 768, MSR 20+40 140-140"]
    few = (["O", "H", "H"], x[:3], cell), {**case[1], "hidden": [4]}
    monkeypatch.setitem(train.CASES, "water 768, MSR 20+40 140-140", (lambda rng: few[0], few[1]))
    row = bench_gpu.training("float32", 2, 1, (1e9, 1e9))
    assert row["ms/frame"] > 0 and "nnp_net_gradient" in {k["kernel"] for k in row["kernels"]}


def test_counted_neighbours(emulated, bench_gpu):
    """Silicon without the shaking: 4 + 12 + 12 + 6 neighbours, pairs of them nearer than the cutoff by the lattice."""
    from nnpcore.gpu.system import System
    from nnpcore.structures import diamond

    x, cell = diamond(5.431, 2)
    system = System(emulated, [(np.zeros(len(x), np.int32), cell, np.ones(3, np.int32))], 1, 5.6, 0.5)
    system.build(x)
    found = bench_gpu.sample(system, 5.6, 4.0)
    assert found["n"] == 34 and found["near"] == 16 and found["pairs"] == 240 and found["listed"] >= 34
    d = x - x[0]
    d -= np.round(d @ np.linalg.inv(cell)) @ cell
    d = d[(np.linalg.norm(d, axis=1) < 4.0) & (np.linalg.norm(d, axis=1) > 0)]
    assert found["close"] == (np.linalg.norm(d[:, None] - d[None], axis=-1) < 4.0).sum() - 16


def test_without_a_device_it_says_so(tmp_path):
    if importlib.util.find_spec("cupy"):
        pytest.skip("CuPy is here")
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, cwd=SCRIPT.parents[1])
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "needs CuPy" in done.stderr


def small_box(truth):
    from nnpcore.structures import random_liquid

    x, cell = random_liquid(64, density=0.9978, mass=float(truth.mass[0]), rng=1)
    return x, 0 * x, cell
