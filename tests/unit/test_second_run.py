"""A second run in a folder that is in use: one line, exit code 1, nothing touched. train, md, demo; also --resume."""

import numpy as np
import pytest

from nnpcore import cli
from nnpcore.checkpoint import FolderLock
from nnpcore.data import Frame
from nnpcore.evaluate import write_predictions
from nnpcore.model import Model

TRAIN = (
    '[data]\ntrain = "train.xyz"\nvalid = 0.5\n[model]\nrc = 4.0\nn2 = 1\nn3 = 1\nhidden = [2]\n[train]\nepochs = 1\n'
)
MD = '[model]\nbuiltin = "mW"\n[structure]\nlattice = "diamond"\ncells = 1\ndensity = 0.99\n[md]\nsteps = 5\n'
RUNS = {
    "train": (["train", "train.toml"], "run"),
    "train --resume": (["train", "train.toml", "--resume"], "run"),
    "md": (["md", "md.toml"], "md"),
    "md --resume": (["md", "md.toml", "--resume"], "md"),
    "demo": (["demo", "--quick", "--out", "demo"], "demo"),
}
THERE = (
    "metrics.json",
    "report.html",
    "metrics.csv",
    "thermo.csv",
    "restart.ckpt",
    "last.ckpt",
    "best.nnp",
    ".x.1.tmp",
)


@pytest.mark.parametrize("name", RUNS)
def test_a_folder_in_use_is_left_alone(name, tmp_path, monkeypatch, capsys):
    pytest.importorskip("ase")
    silicon = Model.stillinger_weber("Si")
    x = np.array([[0.0, 0, 0], [2.4, 0, 0], [0, 2.4, 0]])
    out = silicon.compute(x, "Si")
    frames = [Frame(["Si"] * 3, x)] * 4
    write_predictions(
        tmp_path / "train.xyz", frames, ([out.energy] * 4, np.tile(out.forces, (4, 1)), np.full((4, 6), np.nan))
    )
    (tmp_path / "train.toml").write_text(TRAIN)
    (tmp_path / "md.toml").write_text(MD)
    monkeypatch.chdir(tmp_path)
    command, place = RUNS[name]
    folder = tmp_path / place
    with FolderLock(folder):
        for file in THERE:
            (folder / file).write_text(f"somebody's {file}")
        before = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.iterdir()}
        assert cli.main(command) == 1
        after = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.iterdir()}
    error = capsys.readouterr().err
    assert "already running" in error and place in error and error.count("\n") == 1
    assert before == after and len(after) == len(THERE) + 1
