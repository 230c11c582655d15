"""The Kalman filter: its step against NumPy, what it observes, and training with it."""

import numpy as np
import pytest

from nnpcore import _core, config, kalman
from nnpcore.data import Frame
from nnpcore.model import Model
from nnpcore.training import Training

EDGES = np.array([0, 37, 300], dtype=np.int32)


def blocks(flat):
    """[P of each block] as views of the flat array."""
    begin = np.concatenate([[0], np.cumsum(np.diff(EDGES) ** 2)])
    return [flat[a:b].reshape(n, n) for a, b, n in zip(begin[:-1], begin[1:], np.diff(EDGES), strict=True)]


def covariance(rng):
    """Two blocks, positive definite, float32."""
    flat = np.zeros((np.diff(EDGES) ** 2).sum(), dtype=np.float32)
    for p in blocks(flat):
        a = rng.normal(size=p.shape)
        p[:] = a @ a.T / len(a) + 0.1 * np.eye(len(a))
        p[:] = (p + p.T) / 2
    return flat


@pytest.mark.parametrize("m", [1, 8, 21])
def test_step_is_the_filters(rng, m):
    flat, h = covariance(rng), rng.normal(size=(m, 300)).astype(np.float32)
    residual, noise = rng.normal(size=m), 0.3
    p = np.zeros((300, 300))
    for block, a, b in zip(blocks(flat), EDGES[:-1], EDGES[1:], strict=True):
        p[a:b, a:b] = block
    gain = p @ h.T.astype(float) @ np.linalg.inv(h.astype(float) @ p @ h.T + noise * np.eye(m))
    step = _core.kalman_step(EDGES, flat, h, residual, noise, 1)
    np.testing.assert_allclose(step, gain @ residual, atol=2e-5 * np.abs(gain @ residual).max())
    wanted = p - gain @ h @ p  # of which the filter keeps the blocks
    for block, a, b in zip(blocks(flat), EDGES[:-1], EDGES[1:], strict=True):
        np.testing.assert_allclose(block, wanted[a:b, a:b], atol=2e-5)
        assert (block == block.T).all()


def test_threads_change_no_bit(rng):
    flat, h, residual = covariance(rng), rng.normal(size=(40, 300)).astype(np.float32), rng.normal(size=40)
    one, two = flat.copy(), flat.copy()
    assert (
        _core.kalman_step(EDGES, one, h, residual, 0.1, 1) == _core.kalman_step(EDGES, two, h, residual, 0.1, 2)
    ).all()
    assert (one == two).all()


def test_bad_arguments_and_a_covariance_that_is_none(rng):
    flat, h = covariance(rng), rng.normal(size=(3, 300)).astype(np.float32)
    with pytest.raises(ValueError, match="edges"):
        _core.kalman_step(EDGES, flat, h, np.zeros(2), 1.0)
    with pytest.raises(ValueError, match="covariance"):
        _core.kalman_step(EDGES, flat[1:], h, np.zeros(3), 1.0)
    with pytest.raises(_core.NnpError, match="noise"):
        _core.kalman_step(EDGES, flat, h, np.zeros(3), 0.0)
    before = -flat
    with pytest.raises(_core.NnpError, match="positivity"):
        _core.kalman_step(EDGES, before, h, np.zeros(3), 1e-3)
    assert (before == -flat).all()


def crystals(n=10):
    """Distorted silicon, 8 atoms, labelled by Stillinger and Weber."""
    rng, truth = np.random.default_rng(4), Model.stillinger_weber("Si")
    sites = np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0], [1, 1, 1], [1, 3, 3], [3, 1, 3], [3, 3, 1]]) / 4
    made = []
    for _ in range(n):
        cell = 5.43 * (np.eye(3) + rng.normal(0, 0.02, (3, 3)))
        x = sites @ cell + rng.normal(0, 0.1, (8, 3))
        out = truth.compute(x, ["Si"] * 8, cell=cell, pbc=True)
        made.append(Frame(["Si"] * 8, x, cell, True, out.energy, out.forces, out.stress))
    return made


FUNCTIONS = [{"type": 2, "partners": ["Si"], "rc": 4.5, "eta": eta, "cutoff": 6} for eta in (0.05, 0.4, 1.5)] + [
    {"type": 9, "partners": ["Si", "Si"], "rc": 4.5, "eta": 0.1, "lambda": sign, "zeta": zeta, "cutoff": 6}
    for sign in (1, -1)
    for zeta in (1, 4)
]


def training(model, frames, folder=None, **optimizer):
    table = {
        "train": {"epochs": 4, "batch": 2, "threads": 1},
        "loss": {"energy": 1.0, "stress": 1.0},
        "optimizer": {"kind": "kalman", **optimizer},
    }
    return Training(model, frames[:8], frames[8:], config.convert(table), folder, quiet=True)


@pytest.mark.parametrize("method", ["bp", "msr"])
def test_learns_in_four_epochs(method):
    e0 = [-4.3]
    if method == "bp":
        model = Model.bp(["Si"], FUNCTIONS, hidden=(8,), e0=e0)
    else:
        model = Model.msr(["Si"], rc=4.5, n2=3, n3=3, hidden=[8], seed=1, e0=e0)
    with training(model, crystals()) as work:
        work.initialise()
        result = work.run()
    errors = [row["valid_rmse_force[meV/A]"] for row in result.history]
    truth = np.concatenate([f.forces for f in crystals()[8:]])
    assert errors[-1] < 0.2 * 1e3 * truth.std()
    assert result.history[-1]["step[1]"] == 16


def test_what_is_observed_is_what_the_loss_weighs(rng):
    frame = crystals(1)[0]
    model = Model.bp(["Si"], FUNCTIONS, hidden=(4,), e0=[-4.3])
    trainer = _core.Trainer(model.to_bytes(), 1, 0)
    trainer.add(
        np.zeros(8, np.int32),
        frame.positions,
        frame.cell,
        np.ones(3, np.int32),
        frame.energy,
        frame.forces,
        frame.stress,
    )
    theta, loss = np.array(model.theta), {"kind": 1, "w_energy": 2.0, "w_force": 1.0, "w_stress": 3.0}
    for delta in (1e6, 1e-3):  # all residuals inside Huber's parabola, and none
        loss |= {"delta_energy": delta, "delta_force": delta, "delta_stress": delta}
        _, grad = trainer.gradient(theta, np.zeros(1, np.int32), **loss)
        rows, residual, scale = kalman.observe(trainer, theta, 0, frame, rng.permutation(24), loss)
        h = trainer.jacobian(theta, 0, rows).astype(float)
        np.testing.assert_allclose(-(h.T @ (scale**2 * residual)) / 24, grad, atol=1e-5 * np.abs(grad).max())


def test_labels_that_lack_or_weigh_nothing_are_not_observed():
    frame = crystals(1)[0]
    model = Model.bp(["Si"], FUNCTIONS, hidden=(4,), e0=[-4.3])
    trainer = _core.Trainer(model.to_bytes(), 1, 0)
    trainer.add(np.zeros(8, np.int32), frame.positions, frame.cell, np.ones(3, np.int32), frame.energy, None, None)
    bare = Frame(["Si"] * 8, frame.positions, frame.cell, True, frame.energy, None, None)
    loss = {"kind": 0, "w_energy": 1.0, "w_force": 1.0, "w_stress": 1.0}
    rows, residual, _ = kalman.observe(trainer, np.array(model.theta), 0, bare, np.zeros(0, int), loss)
    assert rows.tolist() == [24] and np.isfinite(residual).all()
    loss["w_energy"] = 0.0
    assert not len(kalman.observe(trainer, np.array(model.theta), 0, bare, np.zeros(0, int), loss)[0])


def test_a_run_resumed_ends_with_the_same_bits(tmp_path):
    model = Model.bp(["Si"], FUNCTIONS, hidden=(8,), e0=[-4.3])
    with training(model, crystals(), tmp_path / "whole") as work:
        work.initialise()
        work.run()
    with training(model, crystals(), tmp_path / "parts") as work:
        work.initialise()
        assert work.run(lambda row: row["epoch[1]"] == 2).stopped == "callback"
    with training(model, crystals(), tmp_path / "parts") as work:
        assert work.resume()
        work.run()
    for name in ("last.ckpt", "metrics.csv", "best.nnp"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name
