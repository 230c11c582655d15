"""The training loop on a NumPy stand-in for the core's trainer: it learns, stops, resumes and keeps the best."""

import os
import signal

import numpy as np
import pytest
from fake_trainer import FakeTrainer

from nnpcore import checkpoint, config, training
from nnpcore.data import DataError, Frame
from nnpcore.model import Model
from nnpcore.train import core
from nnpcore.training import Diverged, Training, bound_penalty


@pytest.fixture
def model():
    return Model.msr(["Ar"], rc=4.0, n2=2, n3=1, hidden=[3], seed=3)


@pytest.fixture
def frames(model):
    """12 clusters of 5 atoms labelled by the stand-in itself, with known weights."""
    rng = np.random.default_rng(0)
    truth = np.zeros(model.n_parameters)
    truth[:4] = 1.5, -2.0, 1.0, 0.5
    made = []
    for k in range(12):
        trainer = FakeTrainer(model.to_bytes())
        positions = rng.uniform(0, 3.5, (5, 3))
        trainer.add(np.zeros(5, np.int32), positions, None, np.zeros(3, np.int32), 0.0, np.zeros((5, 3)), None)
        energy, forces, _ = trainer.predict(truth, [0])
        made.append(Frame(["Ar"] * 5, positions, energy=energy[0], forces=forces, source=f"made@{k}"))
    return made


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    monkeypatch.setattr(training, "make_trainer", lambda model, *_: FakeTrainer(model.to_bytes()))


def settings(epochs=6, **sections):
    table = {"train": {"epochs": epochs, "batch": 4, "checkpoint_seconds": 0.0}, "optimizer": {"lr": 0.05}}
    for name, section in sections.items():
        table[name] = {**table.get(name, {}), **section}
    return config.convert(table)


def run(model, frames, settings, folder=None, callback=None, resume=False):
    with Training(model, frames[:9], frames[9:], settings, folder, quiet=True) as work:
        if resume:
            assert work.resume()
        return work.run(callback)


def test_training_lowers_the_errors_and_reports_them(model, frames):
    result = run(model, frames, settings(epochs=300, schedule={"kind": "cosine"}))
    first, last = result.history[0], result.history[-1]
    assert len(result.history) == 300
    assert last["valid_rmse_force[meV/A]"] < 0.1 * first["valid_rmse_force[meV/A]"]
    assert result.score == pytest.approx(min(row["valid_loss[1]"] for row in result.history), rel=1e-8)
    assert result.model.info["training"]["epoch"] == result.epoch
    assert last["step[1]"] == 300 * 3


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_resume_after_a_signal_gives_the_same_files_bit_for_bit(model, frames, tmp_path, ema):
    s = settings(epochs=6, train={"ema": ema}, loss={"energy": [0.1, 1.0]})
    run(model, frames, s, tmp_path / "whole")
    stops = iter([5, 11])  # steps after which SIGTERM comes, one of them in mid-epoch

    class Interrupted(FakeTrainer):
        calls, stop = 0, next(stops)

        def gradient(self, *a, **k):
            Interrupted.calls += 1
            if Interrupted.calls == Interrupted.stop:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().gradient(*a, **k)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "make_trainer", lambda model, *_: Interrupted(model.to_bytes()))
        result = run(model, frames, s, tmp_path / "parts")
        assert (result.stopped, result.signal) == ("signal", signal.SIGTERM)
        Interrupted.stop = next(stops)
        assert run(model, frames, s, tmp_path / "parts", resume=True).stopped == "signal"
        assert run(model, frames, s, tmp_path / "parts", resume=True).stopped == "epochs"
    for name in ("last.ckpt", "metrics.csv", "best.nnp"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name


def test_resume_from_every_checkpoint_even_when_files_are_ahead_of_it(model, frames, tmp_path):
    """As after kill -9: any checkpoint with the metrics.csv and best.nnp of a later moment."""
    s = settings(epochs=3)
    saved = []
    with pytest.MonkeyPatch.context() as patch:
        save = checkpoint.save
        patch.setattr(checkpoint, "save", lambda p, a, st: (saved.append(checkpoint.pack(a, st)), save(p, a, st)))
        run(model, frames, s, tmp_path / "whole")
    assert len(saved) >= 9
    for state in saved:
        folder = tmp_path / "killed"
        folder.mkdir(exist_ok=True)
        for name in ("metrics.csv", "best.nnp"):
            (folder / name).write_bytes((tmp_path / "whole" / name).read_bytes())
        (folder / "last.ckpt").write_bytes(state)
        run(model, frames, s, folder, resume=True)
        for name in ("last.ckpt", "metrics.csv", "best.nnp"):
            assert (tmp_path / "whole" / name).read_bytes() == (folder / name).read_bytes(), name


def test_a_finished_run_resumed_stays_as_it_is_and_can_be_lengthened(model, frames, tmp_path):
    steady = {
        "schedule": {"kind": "constant"},
        "loss": {"energy": 1.0},
    }  # nothing that depends on the length of the run
    run(model, frames, settings(epochs=3, **steady), tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.name != "train.log"}
    run(model, frames, settings(epochs=3, **steady), tmp_path, resume=True)
    assert {n: (tmp_path / n).read_bytes() for n in before if "prev" not in n} == {
        n: b for n, b in before.items() if "prev" not in n
    }
    longer = run(model, frames, settings(epochs=5, **steady), tmp_path, resume=True)
    whole = run(model, frames, settings(epochs=5, **steady))
    assert longer.model.theta.tobytes() == whole.model.theta.tobytes()


def test_resume_refuses_other_data_and_other_settings(model, frames, tmp_path):
    run(model, frames, settings(epochs=1), tmp_path)
    with pytest.raises(config.ConfigError, match=r"another loss\.energy"):
        run(model, frames, settings(epochs=1, loss={"energy": 0.7}), tmp_path, resume=True)
    with pytest.raises(config.ConfigError, match="data"):
        run(model, frames[::-1], settings(epochs=1), tmp_path, resume=True)


def test_divergence_stops_and_keeps_the_last_checkpoint(model, frames, tmp_path, monkeypatch):
    class Bad(FakeTrainer):
        calls = 0

        def gradient(self, *a, **k):
            Bad.calls += 1
            terms, grad = super().gradient(*a, **k)
            return (terms * np.nan, grad) if Bad.calls == 6 else (terms, grad)

    monkeypatch.setattr(training, "make_trainer", lambda model, *_: Bad(model.to_bytes()))
    with pytest.raises(Diverged, match=r"step 6, learning rate .* made@"):
        run(model, frames, settings(), tmp_path)
    _, state, _ = checkpoint.load(tmp_path / "last.ckpt")
    assert state["counters"]["adam_step"] == 5
    assert Model.load(tmp_path / "best.nnp").info["training"]["epoch"] == 1


def test_time_limit_ends_with_a_validation_and_the_callback_can_stop(model, frames):
    table = {"train": {"max_seconds": 0.5, "batch": 4}, "schedule": {"kind": "cosine"}, "optimizer": {"kind": "adam"}}
    result = run(model, frames, config.convert(table))
    assert result.stopped == "seconds"
    assert result.history[-1]["learning_rate[1]"] < 0.5 * result.history[0]["learning_rate[1]"]
    result = run(model, frames, settings(), callback=lambda row: row["epoch[1]"] == 2)
    assert result.stopped == "callback" and len(result.history) == 2


def test_metrics_columns_carry_units(model, frames, tmp_path):
    run(model, frames, settings(epochs=2), tmp_path)
    head, *rows = (tmp_path / "metrics.csv").read_text().splitlines()
    assert "valid_rmse_force[meV/A]" in head.split(",") and all("[" in name for name in head.split(","))
    assert [row.split(",")[0] for row in rows] == ["1", "2"]
    assert training.read_metrics(tmp_path / "metrics.csv")[1]["step[1]"] == 6


def test_full_disk_names_the_path_and_the_old_checkpoint_loads(model, frames, tmp_path, monkeypatch):
    run(model, frames, settings(epochs=1), tmp_path)

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left.*(last\.ckpt|metrics\.csv|best\.nnp)"):
        run(model, frames, settings(epochs=2), tmp_path, resume=True)
    monkeypatch.undo()
    assert checkpoint.load(tmp_path / "last.ckpt")[1]["counters"]["epoch"] == 1
    assert not list(tmp_path.glob(".*.tmp"))


def test_second_run_in_the_folder_is_refused(model, frames, tmp_path):
    with Training(model, frames[:9], frames[9:], settings(), tmp_path, quiet=True):
        before = sorted(p.name for p in tmp_path.iterdir())
        with pytest.raises(checkpoint.FolderInUse, match="already running"):
            Training(model, frames[:9], frames[9:], settings(), tmp_path, quiet=True)
        assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_bound_penalty_and_its_gradient():
    theta = np.array([4.0, 5.5, 7.0, 9.0])
    mask = np.array([True, True, True, False])
    value, grad = bound_penalty(theta, mask, 5.0, 2.0)
    assert value == pytest.approx(2.0 * (0.25 + 4.0))
    for k in range(4):
        h = 1e-6 * np.eye(4)[k]
        difference = (bound_penalty(theta + h, mask, 5.0, 2.0)[0] - bound_penalty(theta - h, mask, 5.0, 2.0)[0]) / 2e-6
        assert grad[k] == pytest.approx(difference, abs=1e-6)


def test_frames_the_model_does_not_know_are_named(model, frames):
    bad = Frame(["Kr"], [[0, 0, 0]], energy=0.0, forces=[[0, 0, 0]], source="odd.xyz@4")
    with pytest.raises(DataError, match=r"odd\.xyz@4: species Kr"):
        Training(model, [*frames, bad], [], settings())


def test_core_keeps_atoms_apart_and_vanishes_on_the_data():
    """The core is zero at all distances of the frames; below them it repels."""
    frames = [Frame(["O"] * 2, [[0, 0, 0], [d, 0, 0]], energy=0.0, forces=np.zeros((2, 3))) for d in (2.0, 2.5)]
    (term,) = core(frames, 4.0)
    potential = Model.msr(["O"], rc=4.0, n2=1, n3=0, hidden=[1], baseline=[term])
    potential.theta = np.zeros(potential.n_parameters)
    assert [potential.compute(f.positions, "O").energy for f in frames] == [0.0, 0.0]
    close = potential.compute([[0, 0, 0], [1.0, 0, 0]], "O")
    assert close.energy > 5 and close.forces[1, 0] > 10
    assert core([Frame(["O"], [[0, 0, 0]], energy=0.0)], 4.0) == []


def test_exponents_stay_within_reach(model, frames):
    """Huge steps cannot take an exponent out of what float32 holds; a start beyond the limit widens it."""
    settings = config.TrainConfig(
        train=config.Train(epochs=3, batch=4), optimizer=config.Optimizer(kind="adam", lr=1e3, exponent_scale=1.0)
    )
    for first, reach in ((1.0, training.EXPONENT_LIMIT), (40.0, 40.0)):
        model.theta = np.where(np.arange(model.n_parameters) == 0, first, model.theta)
        with Training(model, frames, frames, settings, quiet=True) as run:
            run.run()
            assert np.abs(run.state.theta[model.exponents]).max() == reach
