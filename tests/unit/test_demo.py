"""`nnpcore demo`: the quick one from outside, smaller ones for seeds, signals, failures; its liquids and crystals."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from nnpcore import cli, demo, demo_crystals, demo_liquid, plot, structures
from nnpcore.demo_liquid import STATE_POINTS, TRAINED, Sample, ice_like, stream
from nnpcore.model import Model

TINY = replace(demo.QUICK, n_train=27, frames=4, stride=20, n_test=64, test_frames=2, settle=100, steps=100)
TRAINED_NAMES = {point.name for point in TRAINED}
ALL_NAMES = {point.name for point in STATE_POINTS}
GOLDEN = {  # names in shared/golden/mw/crystals.json
    "ice Ic": "mW|diamond",
    "ice Ih": "mW|hex-diamond",
    "clathrate I": "mW|clathrate-I (46)",
    "clathrate II": "mW|clathrate-II (136)",
}
RUN = [sys.executable, "-c", "import sys; from nnpcore.cli import main; sys.exit(main())", "demo"]


@pytest.fixture
def tiny(monkeypatch):
    """Shrinks --quick until it says nothing about water any more, but takes every step."""
    recipe = demo.training_settings

    def settings(quick, seed, seconds):
        config = recipe(quick, seed, seconds)
        config.train.epochs = 4
        config.train.validate_every = 2
        return config

    monkeypatch.setattr(demo, "QUICK", TINY)
    monkeypatch.setattr(demo, "training_settings", settings)
    monkeypatch.setattr(plot, "available", lambda: False)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """(folder, finished process) of `nnpcore demo --quick`."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    done = subprocess.run([*RUN, "--quick", "--out", str(folder)], capture_output=True, text=True, timeout=300)
    return folder, done


def numbers(value, path=""):
    """(path, number) of everything in nested dicts and lists."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from numbers(inner, f"{path}/{key}")
    elif isinstance(value, list):
        for k, inner in enumerate(value):
            yield from numbers(inner, f"{path}/{k}")
    elif not isinstance(value, (str, bool)):
        yield path, value


def test_quick_measures_everything(quick):
    folder, done = quick
    assert done.returncode in (0, 3), done.stderr  # 3: so small a network may fail at densities it never saw
    metrics = json.loads((folder / "metrics.json").read_text())
    trained = {name: metrics["rdf_max_difference"][name] for name in TRAINED_NAMES}
    assert set(metrics["energy_rmse_meV_per_atom"]) == TRAINED_NAMES | {"total"}
    assert set(metrics["rdf_max_difference"]) == set(metrics["rdf_max_difference_error"]) == ALL_NAMES
    assert set(metrics["crystal_energy_error_meV"]) == {"ice Ic", "ice Ih", "clathrate I", "clathrate II"}
    assert {*demo.STAGES, "total"} == set(metrics["wall_seconds"])
    assert {"versions", "seed", "machine", "settings", "pressure_GPa", "energy_meV_per_molecule"} <= set(metrics)
    assert metrics["machine"]["cores"] >= 1 and metrics["machine"]["isa"] and metrics["seed"] == 1
    # a broken pipeline misses these by far: forces are 250 meV/A rms, g(r) goes up to 3, crystals have -530 meV
    assert all(0 < v < 150 for v in metrics["force_rmse_meV_per_A"].values())
    assert all(0 < v < 20 for v in metrics["energy_rmse_meV_per_atom"].values())
    assert all(0 < v < 1.6 for v in trained.values())
    assert all(0 < abs(v) < 60 for v in metrics["crystal_energy_error_meV"].values())
    missing = [path for path, v in numbers(metrics) if v is None and "/settings/" not in path]
    if metrics["status"] == "ok":
        assert not missing and not metrics["warnings"]
    else:
        assert metrics["warnings"]
    assert all(math.isfinite(v) for _, v in numbers(metrics) if v is not None)


def test_quick_liquids_of_mw_are_the_reference_liquids(quick, shared):
    """Energies of 270.9 K against long LAMMPS runs: 216 molecules for a few ps are that good."""
    metrics = json.loads((quick[0] / "metrics.json").read_text())
    golden = json.loads((shared / "golden" / "mw" / "mw_liquid.json").read_text())
    for entry in golden:
        name = f"{entry['rho_in'] or 0:.2f} g/cm3 {entry['T']:.1f} K"
        if name in ALL_NAMES and entry["T"] > 250:
            found = metrics["energy_meV_per_molecule"][name]["mW"]
            assert found["mean"] == pytest.approx(1e3 * entry["E_eV"], abs=5 * found["error"] + 2.0), name


def test_quick_writes_a_report_and_a_usable_model(quick):
    folder, done = quick
    model = Model.load(folder / "model.nnp")
    assert model.metadata["msr"]["rc"] == 4.54575 and model.metadata["msr"]["rc3"] == 4.3065
    assert model.n_fingerprints == [10] and model.info["demo"] == {"seed": 1, "quick": True}
    report = (folder / "report.html").read_text()
    assert "clathrate II" in report and "1.22 g/cm3" in report and "http" not in report
    if plot.available():
        names = {p.stem for p in folder.glob("*.png")}
        assert {"learning_curve", "parity", "pair_functions", "rdf_0.92_g_cm3_221.1_K"} <= names
        assert report.count("data:image/png;base64,") == len(names) and "no figure" not in report
    rows = (folder / "rdf_1.07_g_cm3_270.9_K.csv").read_text().splitlines()
    assert rows[0] == "r[A],g_mW,g_mW_error,g_network,g_network_error" and len(rows) > 50
    assert "ETA" in done.stderr and "training" in done.stderr and "report.html" in done.stdout
    assert not [p for p in folder.iterdir() if p.name.endswith(".tmp")]


def test_equal_seeds_agree_and_others_do_not(tiny, tmp_path):
    def result(name, seed):
        metrics = demo.run(tmp_path / name, quick=True, seed=seed)
        metrics.pop("wall_seconds")
        return metrics, (tmp_path / name / "model.nnp").read_bytes()

    (first, model), (again, same), (other, another) = result("a", 5), result("b", 5), result("c", 6)
    assert first == again and model == same
    assert model != another
    alike = dict(numbers(other))
    measured = ("energy_rmse", "force_rmse", "untrained_", "rdf_max_difference/", "energy_meV", "pressure_GPa")
    for path, value in numbers(first):
        if path[1:].startswith(measured) and value is not None:
            assert value != alike[path], path


def test_without_matplotlib_it_says_so(tiny, tmp_path, capsys):
    assert cli.main(["demo", "--quick", "--out", str(tmp_path / "out")]) in (0, 3)
    assert "matplotlib is not installed" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*.png"))
    assert "matplotlib" in (tmp_path / "out" / "report.html").read_text()


def test_a_diverged_simulation_is_no_silent_number(tiny, tmp_path, monkeypatch, capsys):
    real, lost = demo_liquid.nvt, STATE_POINTS[4].name

    def nvt(model, start, point, plan, seed, precision):
        if point.name == lost and model.method == "msr":
            return Sample(cell=start[1], failure="force of 5000 eV/A on atom 3")
        return real(model, start, point, plan, seed, precision)

    monkeypatch.setattr(demo, "nvt", nvt)
    assert cli.main(["demo", "--quick", "--out", str(tmp_path / "out")]) == 3
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["status"] == "diverged" and metrics["rdf_max_difference"][lost] is None
    assert any(lost in text and "5000 eV/A" in text for text in metrics["warnings"])
    assert "5000 eV/A" in capsys.readouterr().err
    assert lost in (tmp_path / "out" / "report.html").read_text()


def test_a_sample_that_froze_is_a_warning(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(demo_liquid, "ice_like", lambda positions, cell: 0.6)
    metrics = demo.run(tmp_path / "out", quick=True, seed=1)
    assert metrics["status"] != "ok" and sum("ice-like" in text for text in metrics["warnings"]) >= len(STATE_POINTS)


def test_a_cavity_is_tried_again_then_a_warning(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(demo_liquid, "largest_void", lambda positions, cell: 5.5)
    metrics = demo.run(tmp_path / "out", quick=True, seed=1)
    assert sum("cavity" in text for text in metrics["warnings"]) >= len(STATE_POINTS)
    assert {row["mW"] for row in metrics["attempts"].values()} == {demo_liquid.ATTEMPTS}
    assert metrics["largest_void_A"][TRAINED[0].name]["mW"] == 5.5  # taken all the same


def test_largest_void_of_a_lattice_with_a_hole():
    positions, cell = structures.sc(3.0, 8)
    full = demo_liquid.largest_void(positions, cell)
    assert 0.8 * 1.5 * 3**0.5 < full <= 1.5 * 3**0.5 + 1e-9  # the centre of a cube, or a grid point near it
    middle = positions - 12.0 + 1e-6  # a molecule stands there
    hollow = positions[(middle**2).sum(axis=1) > 6.5**2] + 20.0  # and the cell's border does not matter
    assert 5.5 < demo_liquid.largest_void(hollow, cell) <= 6.71


def test_old_results_do_not_survive_a_new_start(tiny, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    for name in ("metrics.json", "report.html", "rdf_old.csv", "mine.txt"):
        (out / name).write_text("old")

    def fails(self):
        raise RuntimeError("enough")

    monkeypatch.setattr(demo.Demo, "run_reference", fails)
    with pytest.raises(RuntimeError, match="enough"):
        demo.run(out, quick=True)
    assert {p.name for p in out.iterdir()} <= {"mine.txt", ".lock"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX signals")
@pytest.mark.parametrize(("stage", "signum"), [("reference", signal.SIGINT), ("training", signal.SIGTERM)])
def test_a_signal_leaves_no_half_file(tmp_path, stage, signum):
    out = tmp_path / "out"
    child = subprocess.Popen([*RUN, "--quick", "--out", str(out)], stderr=subprocess.PIPE, text=True)
    for line in child.stderr:
        if f" {stage}]" in line:
            break
    time.sleep(0.2)
    child.send_signal(signum)
    rest = child.communicate(timeout=60)[1]
    assert child.returncode == 128 + signum, rest
    assert "stopped" in rest and "Traceback" not in rest
    assert {p.name for p in out.iterdir()} <= {".lock"}


def test_a_negative_seed_is_bad_input(tmp_path, capsys):
    assert cli.main(["demo", "--quick", "--seed", "-1", "--out", str(tmp_path / "out")]) == 2
    assert "--seed" in capsys.readouterr().err


def test_random_streams_differ_by_every_label():
    values = {stream(s, a, b) for s in (0, 1, 2**40) for a in ("x", "y") for b in ("1", "2", "")}
    assert len(values) == 18 and all(0 <= v < 2**62 for v in values)
    assert stream(3, "x") == stream(3, "x")


def test_ice_like_tells_ices_from_liquid(rng):
    for crystal, repeats in ((structures.diamond(6.36), 3), (structures.hexagonal_diamond(4.5), (4, 2, 2))):
        positions, cell = structures.tile(*crystal, repeats)
        assert ice_like(positions + rng.normal(0, 0.15, positions.shape), cell) > 0.9
    plan = replace(TINY, n_train=216, frames=1)
    frames, ice = demo_liquid.training_frames(Model.stillinger_weber("mW"), 216, TRAINED[0], plan, 7)
    assert ice < 0.05 and ice_like(frames[0].positions, frames[0].cell) < 0.05


def test_block_error_of_independent_frames(rng):
    """Ideal gas: pairs in a bin are counts of independent frames, so the error follows from their number."""
    from nnpcore.sample import RDF

    n, edge, frames = 50, 10.0, 256
    rdf = RDF(np.zeros(n, dtype=int), ["O"], 5.0, 5)
    for _ in range(frames):
        rdf.add(rng.uniform(0, edge, (n, 3)), np.eye(3) * edge)
    shell = 4 / 3 * np.pi * np.diff(np.linspace(0, 5, 6) ** 3)
    pairs = 0.5 * n * (n - 1) * shell / edge**3  # mean and variance of the count of a frame
    expected = np.sqrt(pairs / frames) / pairs
    assert demo_liquid.block_error(rdf) == pytest.approx(expected, rel=0.7)
    assert (demo_liquid.block_error(rdf) > 0.8 * expected).all()


def test_comparison_takes_the_largest_difference_and_its_error():
    r = np.array([1.0, 2.0, 3.0])
    a = Sample(r=r, g=np.array([0.0, 2.0, 1.0]), g_error=np.array([0, 0.03, 0.01]), energy=(-0.4, 0.003))
    b = Sample(r=r, g=np.array([0.0, 1.9, 1.02]), g_error=np.array([0, 0.04, 0.01]), energy=(-0.41, 0.004))
    row = demo.compare(a, b)
    assert row["rdf_max_difference"] == pytest.approx(0.1) and row["rdf_max_difference_r_A"] == 2.0
    assert row["rdf_max_difference_error"] == pytest.approx(0.05)
    assert row["energy_meV_per_molecule"]["difference"] == {"mean": pytest.approx(-10), "error": pytest.approx(5)}
    lost = demo.compare(a, Sample(failure="lost"))
    assert math.isnan(lost["rdf_max_difference"]) and math.isnan(lost["pressure_GPa"]["network"]["mean"])


def test_crystals_of_mw_are_the_golden_ones(shared):
    """The same potential on both sides: no error, and energies and densities of LAMMPS."""
    mw = Model.stillinger_weber("mW")
    table = demo_crystals.compare(mw, mw)
    golden = json.loads((shared / "golden" / "mw" / "crystals.json").read_text())
    for name, key in GOLDEN.items():
        row = table[name]
        assert row["mW_converged"] and abs(row["error_meV"]) < 1e-9 and abs(row["relaxed_error_meV"]) < 1e-3
        assert row["mW_eV"] == pytest.approx(golden[key]["e"], abs=1e-6), name
        assert row["mW_density"] == pytest.approx(golden[key]["rho"], rel=2e-4), name


def test_a_relaxation_that_fails_gives_nan(monkeypatch):
    real, mw = structures.relax, Model.stillinger_weber("mW")

    def relax(compute, positions, cell, **options):
        calls.append(1)
        if len(calls) % 2 == 0:  # the network's
            raise FloatingPointError("not finite")
        return real(compute, positions, cell, **options)

    calls = []
    monkeypatch.setattr(structures, "relax", relax)
    row = demo_crystals.compare(mw, mw)["ice Ic"]
    assert row["mW_converged"] and not row["network_converged"] and math.isnan(row["relaxed_error_meV"])
    assert abs(row["error_meV"]) < 1e-9
