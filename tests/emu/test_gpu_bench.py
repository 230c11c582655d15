"""bench/bench_gpu.py runs through on the emulator; its figures mean nothing there."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent.parent / "bench" / "bench_gpu.py"


def test_the_table_by_kernel(emulated, monkeypatch):
    spec = importlib.util.spec_from_file_location("bench_gpu", SCRIPT)
    bench_gpu = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench_gpu)
    monkeypatch.setattr(bench_gpu, "bandwidth", lambda backend: 1e9)
    monkeypatch.setattr("nnpcore.bench.seed_box", lambda truth: small_box(truth))
    out = bench_gpu.bench([64], 2, say=lambda text: None)
    assert [run["potential"] for run in out["runs"]] == ["sw", "msr"]
    for run in out["runs"]:
        names = {k["kernel"] for k in run["kernels"]}
        assert {"nnp_md_drift", "nnp_forces", "nnp_md_kick", "nnp_fill"} < names
        assert "nnp_sw_rows" in names or "nnp_msr_inputs" in names
        assert run["atom-steps/s"] > 0
        assert run["energy change[eV/atom]"] == pytest.approx(0, abs=1e-3)


def small_box(truth):
    from nnpcore.structures import random_liquid

    x, cell = random_liquid(64, density=0.9978, mass=float(truth.mass[0]), rng=1)
    return x, 0 * x, cell
