"""Stopping a simulation where atoms leave the range that the model was trained on."""

import ase.io
import numpy as np
import pytest
from test_md_run import FILES

from nnpcore import config, md_run
from nnpcore.md import MD, Extrapolated, md_main
from nnpcore.md_config import MDConfig
from nnpcore.model import Model

FUNCTIONS = [{"type": 2, "partners": ["Si"], "rc": 4.0, "eta": eta, "cutoff": 6} for eta in (0.1, 1.0)]
SITES = np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0], [1, 1, 1], [1, 3, 3], [3, 1, 3], [3, 3, 1]]) / 4
STEPS = 60


def model_of(low, high):
    ones = {"Si": [1.0, 1.0]}
    core = [{"kind": "zbl", "inner": 0.8, "outer": 2.0}]
    return Model.bp(
        ["Si"], FUNCTIONS, hidden=(4,), centre={"Si": [0.0, 0.0]}, factor=ones, minimum={"Si": list(low)},
        maximum={"Si": list(high)}, seed=2, baseline=core,
    )  # fmt: skip


@pytest.fixture(scope="module")
def crossing(tmp_path_factory):
    """(folder with model.nnp whose range atoms leave for the first time at step `event`, event)."""
    folder = tmp_path_factory.mktemp("outside")
    table = {
        "model": {"file": "model.nnp"},
        "structure": {"lattice": "diamond", "cells": 1, "a": 5.43, "displace": 0.02},
        "md": {"steps": STEPS, "dt": 1.0, "temperature": 900.0, "threads": 1, "outside_max": 0, "outside_every": 7},
        "output": {"thermo": 5, "trajectory": 20, "checkpoint_seconds": 0.0},
        "rdf": {"r_max": 2.7, "bins": 20, "every": 2},
    }
    (folder / "md.toml").write_text(config.dumps(config.convert(table, MDConfig)))
    model_of([-1e9, -1e9], [1e9, 1e9]).save(folder / "model.nnp")
    wide = md_run.run(folder / "md.toml", ["output.folder=wide"], quiet=True)
    assert wide.simulation.step == STEPS
    # the range of the first 30 steps: some later step leaves it
    settings = config.load(folder / "md.toml", MDConfig)
    model = model_of([-1e9, -1e9], [1e9, 1e9])
    start = md_run.load_structure(settings, model)
    md = MD(model, start.positions, "Si", start.cell, temperature=900.0, seed=1, dt=1.0)
    seen = []
    for _ in range(STEPS + 1):
        seen.append(fingerprints(md.positions, start.cell))
        md.run(1)
    seen = np.array(seen)  # [steps][atoms][2]
    low, high = seen[:30].min(axis=(0, 1)), seen[:30].max(axis=(0, 1))
    outside = ((seen < low - 1e-6 * abs(low)) | (seen > high + 1e-6 * abs(high))).any(axis=(1, 2))
    assert outside.any()
    model_of(low, high).save(folder / "model.nnp")
    return folder, int(np.argmax(outside))


def fingerprints(x, cell):
    """[n][2] by the model's own inputs."""
    from nnpcore import initial
    from nnpcore.data import Frame
    from nnpcore.training import make_trainer

    frame = Frame(["Si"] * len(x), x, cell, True)
    return initial.inputs(model_of([0, 0], [1, 1]), [frame], lambda m: make_trainer(m, 1, "float64"))[0]


def test_stops_at_the_first_step_and_keeps_the_frames(crossing, capsys):
    folder, event = crossing
    assert md_main(folder / "md.toml", ["output.folder=stop"]) == 3
    error = capsys.readouterr().err
    assert (
        f"step {event}: " in error and " of 8 atoms" in error and "outside_max = 0" in error and "Si function" in error
    )
    before, at = ase.io.read(folder / "stop" / "outside.xyz", ":")
    assert (before.info["step"], at.info["step"]) == (event - 1, event)
    wide = ase.io.read(folder / "wide" / "traj.xyz", ":")
    assert np.abs(before.positions - wide[event // 20].positions).max() < 1.0
    rows = np.genfromtxt(folder / "stop" / "thermo.csv", delimiter=",", names=True)
    assert rows["step"][-1] == event // 5 * 5
    kept = (folder / "stop" / "outside.xyz").read_bytes()
    assert md_main(folder / "md.toml", ["output.folder=stop"], resume=True) == 3  # it stands where it stood
    assert (folder / "stop" / "outside.xyz").read_bytes() == kept


@pytest.mark.parametrize("how", ["md.outside_max=8", 'md.on_outside="warn"'])
def test_going_on_gives_the_files_of_a_run_without_looks(crossing, how):
    folder, _ = crossing
    name, free = (prefix + how[3:8] for prefix in ("on_", "free_"))
    md_run.run(folder / "md.toml", [f"output.folder={free}", "md.outside_max=8"], quiet=True)
    with pytest.raises(Extrapolated):
        md_run.run(folder / "md.toml", [f"output.folder={name}"], quiet=True)
    md_run.run(folder / "md.toml", [f"output.folder={name}", how], resume=True, quiet=True)
    for file in FILES:
        assert (folder / name / file).read_bytes() == (folder / free / file).read_bytes(), file


def test_a_warning_changes_nothing_and_comes_once(crossing):
    folder, event = crossing
    md_run.run(folder / "md.toml", ["output.folder=warned", 'md.on_outside="warn"'], quiet=True)
    log = (folder / "warned" / "md.log").read_text()
    assert log.count("more than outside_max = 0") == 1 and f"step {event}:" in log
    assert len(ase.io.read(folder / "warned" / "outside.xyz", ":")) == 2
    for file in ("traj.xyz", "rdf.csv"):
        one, other = ((folder / name / file).read_bytes() for name in ("warned", "wide"))
        assert one == other, file


def test_a_model_without_ranges_is_refused(crossing, capsys):
    folder, _ = crossing
    table = {"model": {"builtin": "Si"}, "structure": {"lattice": "diamond", "cells": 1, "a": 5.43}}
    path = folder / "plain.toml"
    path.write_text(config.dumps(config.convert({**table, "md": {"outside_max": 3}}, MDConfig)))
    assert md_main(path) == 2
    assert "md.outside_max: the model keeps no range" in capsys.readouterr().err
