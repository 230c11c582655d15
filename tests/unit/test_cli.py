"""The command line from outside: run folder, exit codes, one-line errors."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from nnpcore import cli
from nnpcore.data import Frame
from nnpcore.evaluate import write_predictions
from nnpcore.model import Model

pytest.importorskip("ase")

CONFIG = """
[data]
train = "train.xyz"
valid = 0.2
[model]
rc = 4.5
n2 = 3
n3 = 2
hidden = [6]
[loss]
energy = 1
stress = 1
[train]
epochs = 3
threads = 1
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with train.toml and train.xyz: 15 distorted crystals with Stillinger-Weber's energies and forces."""
    rng, truth = np.random.default_rng(4), Model.stillinger_weber("Si")
    sites = np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0], [1, 1, 1], [1, 3, 3], [3, 1, 3], [3, 3, 1]]) / 4
    frames, energies, forces, stresses = [], [], [], []
    for k in range(15):
        cell = 5.43 * (np.eye(3) + rng.normal(0, 0.02, (3, 3)))
        frames.append(Frame(["Si"] * 8, sites @ cell + rng.normal(0, 0.1, (8, 3)), cell, True, config_type="ab"[k % 2]))
        out = truth.compute(frames[-1].positions, ["Si"] * 8, cell=cell, pbc=True)
        energies.append(out.energy), forces.append(out.forces), stresses.append(out.stress)
    write_predictions(tmp_path / "train.xyz", frames, (energies, np.concatenate(forces), stresses))
    (tmp_path / "train.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_train_writes_the_run_folder(folder, capsys):
    pytest.importorskip("matplotlib")
    assert cli.main(["train", "train.toml"]) == 0
    names = {p.name for p in (folder / "run").iterdir()}
    assert names >= {"config.resolved.toml", "train.log", "metrics.csv", "best.nnp", "last.ckpt", "report.html"}
    assert names >= {"parity_train.npz", "parity_valid.npz"}
    report = (folder / "run" / "report.html").read_text()
    assert report.count("data:image/png;base64,") == 3 and "no figure" not in report and "http" not in report
    log = (folder / "run" / "train.log").read_text()
    assert "epoch 3 " in log and "meV/atom" in log and "ETA" in log
    assert "done:" in capsys.readouterr().err
    parity = np.load(folder / "run" / "parity_valid.npz")
    assert parity["predicted_forces"].shape == (24, 3)


def test_eval_agrees_with_the_training_log(folder, capsys):
    assert cli.main(["train", "train.toml", "--set", "data.valid=train.xyz"]) == 0
    capsys.readouterr()
    assert cli.main(["eval", "run/best.nnp", "train.xyz", "-o", "out.xyz", "--json", "errors.json"]) == 0
    table = capsys.readouterr().out
    errors = json.loads((folder / "errors.json").read_text())["errors"]
    assert list(errors) == ["a", "b", "total"] and "total" in table
    last = Model.load("run/best.nnp").info["training"]["validation"]
    for column in ("rmse_energy[meV/atom]", "mae_force[meV/A]", "rmse_stress[GPa]"):
        assert errors["total"][column] == pytest.approx(last[column], rel=1e-7)
    from ase.io import read

    assert len(read("out.xyz", ":")) == 15


def test_a_second_start_needs_resume_and_the_resolved_file_resumes(folder, capsys):
    assert cli.main(["train", "train.toml"]) == 0
    before = (folder / "run" / "best.nnp").read_bytes()
    assert cli.main(["train", "train.toml"]) == 2
    assert "--resume" in capsys.readouterr().err
    assert cli.main(["train", "run/config.resolved.toml", "--resume", "--set", "train.epochs=4"]) == 0
    assert len((folder / "run" / "metrics.csv").read_text().splitlines()) == 5
    assert cli.main(["train", "train.toml", "--set", "train.folder=again"]) == 0
    assert (folder / "again" / "best.nnp").read_bytes() == before


def test_dry_run_writes_nothing(folder, capsys):
    assert cli.main(["train", "train.toml", "--dry-run"]) == 0
    assert "12 frames" in capsys.readouterr().out and not (folder / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "none.toml"], 2, "nnpcore train: none.toml: "),
        (["train", "train.toml", "--set", "loss.energi=1"], 2, "nnpcore train: train.toml: loss.energi: unknown key"),
        (["train", "train.toml", "--set", "data.train=other.xyz"], 2, "other.xyz: no such file"),
        (["train", "train.toml", "--set", "model.species=['Ge']"], 2, "species Si is not in the model (Ge)"),
        (["train", "train.toml", "--set", "optimizer.first_lr=1e300"], 3, "diverged at step "),
        (["train", "train.toml", "--set", "train.folder=/dev/null/run"], 1, "/dev/null/run: cannot use run folder"),
        (["eval", "none.nnp", "train.xyz"], 2, "none.nnp"),
        (["eval", "train.toml", "train.xyz"], 2, "train.toml"),
        (["info", "train.xyz"], 2, "train.xyz"),
    ],
)
def test_exit_codes_and_one_line_errors(folder, capsys, arguments, code, message):
    assert cli.main(arguments) == code
    said = capsys.readouterr().err.strip().splitlines()
    assert message in said[-1] and not any("Traceback" in line for line in said)
    assert cli.main([*arguments, "--traceback", *(["--resume"] if code == 3 else [])]) == code
    assert "Traceback" in capsys.readouterr().err


def test_usage_errors_and_help(capsys):
    for arguments, code in (([], 2), (["fly"], 2), (["train"], 2), (["--help"], 0), (["--version"], 0)):
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        assert caught.value.code == code
    said = capsys.readouterr().out
    assert all(f"\n    {verb} " in said for verb in ("demo", "train", "eval", "md", "info"))


def test_info(folder, capsys):
    Model.stillinger_weber("mW").save("mw.nnp")
    assert cli.main(["info", "mw.nnp"]) == 0
    assert "18.015 amu" in capsys.readouterr().out
    assert cli.main(["info", "mw.nnp", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["species"] == ["O"]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_signals_finish_the_step_and_leave_a_checkpoint(folder, signum):
    command = [sys.executable, "-m", "nnpcore.cli", "train", "train.toml", "--set", "train.epochs=100000"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ)
    deadline = time.monotonic() + 60
    metrics = folder / "run" / "metrics.csv"
    while time.monotonic() < deadline and not (metrics.exists() and metrics.read_text().count("\n") > 2):
        time.sleep(0.02)
    process.send_signal(signum)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signum
    assert "--resume goes on" in errors and "Traceback" not in errors
    assert cli.main(["train", "train.toml", "--resume", "--set", "train.epochs=1"]) == 0
