"""Simulations in a run folder: files, resuming after signals and kill -9, locks, refusals."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from nnpcore import analysis, checkpoint, config, md_run
from nnpcore.md import Diverged, md_main
from nnpcore.md_config import MDConfig
from nnpcore.md_run import run
from nnpcore.validate import InputError

FILES = ("thermo.csv", "traj.xyz", "rdf.csv")
BASE = {
    "model": {"builtin": "mW"},
    "structure": {"lattice": "diamond", "cells": 2, "density": 0.99, "displace": 0.1},
    "md": {"ensemble": "bussi", "dt": 5.0, "steps": 60, "temperature": 350.0, "tau": 50.0, "threads": 1},
    "output": {"thermo": 7, "trajectory": 20},
    "rdf": {"r_max": 5.0, "bins": 40, "every": 3},
}
COMMAND = [sys.executable, "-c", "import sys; from nnpcore.cli import main; sys.exit(main(sys.argv[1:]))", "md"]
HOME = Path(md_run.__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(HOME), "OMP_WAIT_POLICY": "passive"}


def settings(**sections):
    table = json.loads(json.dumps(BASE))
    for name, values in sections.items():
        if values is None:
            del table[name]
        else:
            table[name] = {**table.get(name, {}), **values}
    return config.convert(table, MDConfig)


def write(folder, **sections):
    path = folder / "md.toml"
    path.write_text(config.dumps(settings(**sections)))
    return path


def contents(folder):
    return {name: (folder / name).read_bytes() for name in FILES}


def end_state(folder):
    arrays, document, _ = checkpoint.load(folder / "restart.ckpt")
    document.pop("identity")
    return {k: v.tobytes() for k, v in arrays.items()}, document


def test_files_of_a_run(tmp_path):
    result = run(write(tmp_path), quiet=True)
    folder = tmp_path / "md"
    assert result.folder == folder and result.signal is None
    thermo = analysis.read_csv(folder / "thermo.csv")
    assert thermo["step"].tolist() == list(range(0, 61, 7))
    assert np.allclose(thermo["time[fs]"], 5 * thermo["step"])
    assert thermo["temperature[K]"][0] == pytest.approx(350, rel=1e-10)
    assert np.allclose(thermo["total[eV]"], thermo["potential[eV]"] + thermo["kinetic[eV]"], rtol=1e-10)
    trace = sum(thermo[f"stress_{k}[GPa]"] for k in ("xx", "yy", "zz"))
    assert np.allclose(thermo["pressure[GPa]"], -trace / 3, atol=1e-10)
    rdf = analysis.read_csv(folder / "rdf.csv")
    assert len(rdf["r[A]"]) == 40 and np.allclose(rdf["g"], result.rdf.total, rtol=1e-9)
    assert config.load(folder / "config.resolved.toml", MDConfig) == settings()
    assert "done" in (folder / "md.log").read_text()


def test_trajectory_is_what_ase_reads(tmp_path):
    ase_io = pytest.importorskip("ase.io")
    result = run(write(tmp_path, output={"velocities": True, "forces": True}), quiet=True)
    frames = ase_io.read(tmp_path / "md" / "traj.xyz", ":")
    assert [a.info["step"] for a in frames] == [0, 20, 40, 60]
    last, md = frames[-1], result.simulation
    assert np.allclose(last.positions, md.positions, atol=1e-8) and np.allclose(last.cell, md.cell)
    assert np.allclose(last.arrays["vel"], md.velocities, rtol=1e-9)
    assert np.allclose(last.get_forces(), md.forces, rtol=1e-6, atol=1e-8) and last.pbc.all()
    assert last.get_potential_energy() == pytest.approx(md.thermo()["potential"], rel=1e-11)


@pytest.mark.parametrize("ensemble", ["nve", "langevin", "bussi"])
def test_stopping_and_resuming_changes_no_byte(tmp_path, ensemble):
    whole, parts = (tmp_path / name for name in ("whole", "parts"))
    for folder in (whole, parts):
        folder.mkdir()
    run(write(whole, md={"ensemble": ensemble}), quiet=True)
    for steps in (0, 11, 20, 41, 60):
        run(write(parts, md={"ensemble": ensemble}), [f"md.steps={steps}"], resume=True, quiet=True)
    assert contents(whole / "md") == contents(parts / "md")
    assert end_state(whole / "md") == end_state(parts / "md")


def killed(job, checkpoint_path, delay):
    """Kill the job a delay after it has written a checkpoint; False where it ended before."""
    before = checkpoint_path.stat().st_ino if checkpoint_path.exists() else None
    while job.poll() is None:
        if checkpoint_path.exists() and checkpoint_path.stat().st_ino != before:
            time.sleep(delay)
            break
        time.sleep(0.002)
    job.kill()
    return job.wait() < 0


def test_kill_and_resume_changes_no_byte(tmp_path):
    whole, parts = (tmp_path / name for name in ("whole", "parts"))
    for folder in (whole, parts):
        folder.mkdir()
    more = {"structure": {"cells": 3}, "md": {"steps": 2500, "ensemble": "langevin"}, "rdf": {"every": 20}}
    more["output"] = {"checkpoint_seconds": 0.03, "thermo": 7, "trajectory": 40}
    run(write(whole, **more), quiet=True)
    command, rng, kills = [*COMMAND, str(write(parts, **more)), "--resume"], np.random.default_rng(3), 0
    for _ in range(4):
        job = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
        kills += killed(job, parts / "md" / "restart.ckpt", rng.uniform(0, 0.1))
    last = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert last.returncode == 0, last.stderr
    assert kills >= 2
    assert contents(whole / "md") == contents(parts / "md")
    assert end_state(whole / "md") == end_state(parts / "md")
    assert not list((parts / "md").glob(".*.tmp"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_finish_the_step_and_leave_a_checkpoint(tmp_path, number):
    path = write(tmp_path, md={"steps": 10**8})
    job = subprocess.Popen([*COMMAND, str(path)], env=ENVIRONMENT, stderr=subprocess.PIPE)
    log = tmp_path / "md" / "thermo.csv"
    limit = time.monotonic() + 60
    while not (log.exists() and log.stat().st_size > 20000) and time.monotonic() < limit:
        time.sleep(0.05)
    second = subprocess.run([*COMMAND, str(path), "--resume"], env=ENVIRONMENT, capture_output=True, text=True)
    assert second.returncode == 1 and "already running" in second.stderr and second.stderr.count("\n") == 1
    job.send_signal(number)
    job.wait(timeout=60)
    assert job.returncode == 128 + number
    step = end_state(tmp_path / "md")[1]["step"]
    result = run(path, [f"md.steps={step + 10}"], resume=True, quiet=True)
    assert result.simulation.step == step + 10


def test_checkpoints_without_any_output(tmp_path):
    path = write(tmp_path, output={"thermo": 0, "trajectory": 0}, rdf=None, md={"steps": 10**9})
    job = subprocess.Popen([*COMMAND, str(path), "--set", "output.checkpoint_seconds=0.1"], env=ENVIRONMENT)
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        time.sleep(0.1)
        if (tmp_path / "md" / "restart.ckpt").exists() and end_state(tmp_path / "md")[1]["step"] > 0:
            break
    job.kill()
    job.wait()
    assert end_state(tmp_path / "md")[1]["step"] > 0
    assert not (tmp_path / "md" / "thermo.csv").exists()


def test_a_held_folder_is_not_overwritten(tmp_path, capsys):
    path = write(tmp_path)
    run(path, quiet=True)
    before = contents(tmp_path / "md")
    assert md_main(path) == 2
    assert "--resume" in capsys.readouterr().err
    assert contents(tmp_path / "md") == before


def test_resuming_keeps_settings_and_model(tmp_path):
    path = write(tmp_path)
    run(path, quiet=True)
    with pytest.raises(config.ConfigError, match=r"md\.dt: 4\.0, but .* begun with 5\.0"):
        run(path, ["md.dt=4.0"], resume=True, quiet=True)
    with pytest.raises(config.ConfigError, match="with \\[rdf\\]"):
        run(write(tmp_path, rdf=None), resume=True, quiet=True)
    other = write(tmp_path, model={"builtin": "Si"})
    with pytest.raises(config.ConfigError, match="builtin"):
        run(other, resume=True, quiet=True)


def test_damaged_checkpoint_falls_back_to_the_one_before(tmp_path):
    path = write(tmp_path, output={"checkpoint_seconds": 0.0})
    run(path, quiet=True)
    before = contents(tmp_path / "md")
    last = tmp_path / "md" / "restart.ckpt"
    data = bytearray(last.read_bytes())
    data[len(data) // 2] ^= 1
    last.write_bytes(data)
    run(path, resume=True, quiet=True)
    assert contents(tmp_path / "md") == before
    last.write_bytes(data)
    checkpoint.previous(last).write_bytes(data[:100])
    with pytest.raises(checkpoint.CheckpointError, match=r"restart\.ckpt"):
        run(path, resume=True, quiet=True)


def test_a_file_shorter_than_its_checkpoint_is_refused(tmp_path):
    path = write(tmp_path)
    run(path, quiet=True)
    (tmp_path / "md" / "thermo.csv").write_text("step\n")
    with pytest.raises(checkpoint.CheckpointError, match=r"thermo\.csv: shorter"):
        run(path, ["md.steps=80"], resume=True, quiet=True)


def test_divergence_is_exit_code_3_and_keeps_the_state(tmp_path, capsys):
    path = write(tmp_path, md={"f_max": 0.5, "ensemble": "nve"})
    assert md_main(path) == 3
    assert "diverged: step 1: force on atom" in capsys.readouterr().err
    arrays, document, _ = checkpoint.load(tmp_path / "md" / "diverged.ckpt")
    assert document["step"] == 0 and np.isfinite(arrays["x"]).all()
    with pytest.raises(Diverged):
        run(path, resume=True, quiet=True)


def test_full_disk_leaves_a_run_that_goes_on(tmp_path):
    whole, full = (tmp_path / name for name in ("whole", "full"))
    for folder in (whole, full):
        folder.mkdir()
    more = {"output": {"checkpoint_seconds": 0.05, "thermo": 1}, "md": {"steps": 400}}
    run(write(whole, **more), quiet=True)
    path = write(full, **more)
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (40000, 40000));"
        "from nnpcore.md import md_main; sys.exit(md_main(sys.argv[1]))"
    )
    job = subprocess.run([sys.executable, "-c", limited, str(path)], env=ENVIRONMENT, capture_output=True, text=True)
    assert job.returncode == 1 and "cannot write" in job.stderr and str(full / "md") in job.stderr
    run(path, resume=True, quiet=True)
    assert contents(whole / "md") == contents(full / "md")


def test_dry_run_writes_nothing(tmp_path, capsys):
    assert md_main(write(tmp_path), dry_run=True) == 0
    assert "atoms: 64" in capsys.readouterr().out
    assert [p.name for p in tmp_path.iterdir()] == ["md.toml"]


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("md.thermostat=1", "md.thermostat: unknown key"),
        ('md.ensemble="npt"', "md.ensemble"),
        ("md.dt=-1.0", "md.dt"),
        ('model.file="x.nnp"', "one of file and builtin"),
        ('structure.file="x.xyz"', "one of file and lattice"),
        ('structure.lattice="random"', "structure.n: missing"),
        ('structure.species="Zr"', "'Zr' is not in the model"),
        ("structure.a=5.0", "one of density and a"),
    ],
)
def test_bad_settings_are_named(tmp_path, capsys, override, text):
    assert md_main(write(tmp_path), [override]) == 2
    error = capsys.readouterr().err
    assert text in error and error.count("\n") == 1
    assert not (tmp_path / "md").exists() or not (tmp_path / "md" / "restart.ckpt").exists()


def test_folder_that_cannot_be_made(tmp_path, capsys):
    (tmp_path / "md").write_text("a file")
    assert md_main(write(tmp_path)) == 1
    error = capsys.readouterr().err
    assert str(tmp_path / "md") in error and error.count("\n") == 1


def test_structure_from_a_file_with_velocities(tmp_path):
    ase = pytest.importorskip("ase")
    from ase import units

    atoms = ase.Atoms("O2", [[0, 0, 0], [2.9, 0, 0]], cell=[12, 12, 12], pbc=True)
    atoms.set_masses([18.015] * 2)
    atoms.set_velocities(np.array([[0, 0.001, 0], [0, -0.001, 0]]) / units.fs)
    ase.io.write(tmp_path / "start.extxyz", atoms)
    sections = {"model": {"builtin": "mW"}, "structure": {"file": "start.extxyz"}, "rdf": None}
    table = {**BASE, **sections, "md": {**BASE["md"], "ensemble": "nve", "steps": 0}}
    table.pop("rdf")
    path = tmp_path / "md.toml"
    path.write_text(config.dumps(table))
    result = run(path, quiet=True)
    assert np.allclose(result.simulation.velocities, [[0, 0.001, 0], [0, -0.001, 0]], atol=1e-9)
    assert np.allclose(result.simulation.masses, 18.015)
    with pytest.raises(InputError, match=r"missing\.xyz: no such file"):
        run(path, ['structure.file="missing.xyz"', 'output.folder="other"'], quiet=True)


def test_disordered_start():
    s = md_run.load_structure(
        settings(structure={"lattice": "random", "n": 100, "cells": None}), md_run.load_model(settings().model)
    )
    assert len(s.symbols) == 100
    assert 100 * 18.015 * 1.66053906660 / np.linalg.det(s.cell) == pytest.approx(0.99, rel=1e-12)
    d = s.positions[:, None] - s.positions
    d -= np.round(d / s.cell[0, 0]) * s.cell[0, 0]
    r = np.linalg.norm(d, axis=-1) + 10 * np.eye(100)
    assert r.min() > 0.79 * s.cell[0, 0] / 5


def test_mean_error_and_drift():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=4096)
    mean, error = analysis.mean_error(noise)
    assert abs(mean) < 4 * error and 0.8 / 64 < error < 1.8 / 64
    series = np.zeros(4096)
    for k in range(1, 4096):
        series[k] = 0.9 * series[k - 1] + noise[k]
    exact = np.sqrt(1 / (1 - 0.9) ** 2 / 4096)
    assert 0.6 * exact < analysis.mean_error(series)[1] < 1.6 * exact
    slope, error = analysis.drift(np.arange(4096.0), 3e-3 * np.arange(4096) + noise)
    assert abs(slope - 3e-3) < 4 * error and error < 1e-4
