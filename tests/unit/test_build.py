"""From a configuration to a model and back: E0, baselines, missing labels, and that the compiled core learns."""

from dataclasses import replace

import numpy as np
import pytest

from nnpcore import config, train
from nnpcore.data import DataError, Frame
from nnpcore.evaluate import predict
from nnpcore.model import Model
from nnpcore.training import Training


@pytest.fixture(scope="module")
def frames():
    """Distorted silicon crystals, 8 atoms each, labelled by Stillinger and Weber."""
    rng, truth = np.random.default_rng(4), Model.stillinger_weber("Si")
    sites = np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0], [1, 1, 1], [1, 3, 3], [3, 1, 3], [3, 3, 1]]) / 4
    made = []
    for k in range(24):
        cell = 5.43 * (np.eye(3) + rng.normal(0, 0.02, (3, 3)))
        positions = sites @ cell + rng.normal(0, 0.1, (8, 3))
        out = truth.compute(positions, ["Si"] * 8, cell=cell, pbc=True)
        made.append(Frame(["Si"] * 8, positions, cell, True, out.energy, out.forces, out.stress, source=f"si@{k}"))
    return made


def settings(**sections):
    return config.convert({"data": {"train": "none"}, "train": {"epochs": 1, "threads": 1}, **sections})


def test_the_core_learns_a_known_potential(frames):
    s = settings(
        model={"rc": 4.5, "rc3": 4.0, "n2": 4, "n3": 6},
        schedule={"kind": "cosine"},
        loss={"stress": 1.0},
        train={"epochs": 500, "threads": 1, "validate_every": 500},
    )
    with Training(train.build_model(s, frames), frames[:18], frames[18:], s, quiet=True) as training:
        training.initialise()
        result = training.run()
    spread = 1000 * np.sqrt(np.mean(np.concatenate([f.forces for f in frames[18:]]) ** 2))
    row = result.history[-1]
    assert row["valid_rmse_force[meV/A]"] < 0.12 * spread
    assert row["valid_rmse_energy[meV/atom]"] < 20
    _, forces, _ = predict(result.model, frames[18:])
    error = 1000 * np.sqrt(np.mean((forces - np.concatenate([f.forces for f in frames[18:]])) ** 2))
    assert error == pytest.approx(row["valid_rmse_force[meV/A]"], rel=1e-7)


def test_e0_is_fitted_to_what_the_baseline_leaves(frames):
    baseline = [{"kind": "sw", "name": "Si"}]
    shifted = [replace(f, energy=f.energy - 100.0 * len(f)) for f in frames]
    model = train.build_model(settings(model={"rc": 4.5, "baseline": baseline}), shifted)
    assert model.e0[0] == pytest.approx(-100.0, abs=1e-9)
    plain = train.build_model(settings(model={"rc": 4.5}), shifted)
    assert plain.e0[0] == pytest.approx(np.mean([f.energy / len(f) for f in shifted]))


def test_init_from_and_mass(frames, tmp_path):
    s = settings(model={"rc": 4.5, "mass": {"Si": 30.0}})
    model = train.build_model(s, frames)
    assert model.mass[0] == 30.0
    model.save(tmp_path / "m.nnp")
    assert train.build_model(settings(model={"init_from": "m.nnp"}), frames, tmp_path) == model


def test_unknown_species_are_named_before_anything_is_fitted(frames):
    with pytest.raises(DataError, match=r"si@0: species Si is not in the model \(Ge\)"):
        train.build_model(settings(model={"species": ["Ge"]}), frames)


def test_missing_labels_take_no_part(frames):
    """Frames without a label train as if its weight were 0, in the core and in the validation loss."""
    s = settings(model={"rc": 4.5}, loss={"energy": 1.0, "stress": 1.0})
    partly = [replace(f, energy=None, stress=None) if k % 2 else replace(f, forces=None) for k, f in enumerate(frames)]
    model = train.build_model(s, frames)
    with Training(model, partly[:18], partly[18:], s, quiet=True) as training:
        row = training.run().history[0]
    assert all(np.isfinite(value) for value in row.values())
    theta = np.array(model.theta)
    full = Training(model, frames[:2], [], s, quiet=True)
    part = Training(model, partly[:2], [], s, quiet=True)
    one = np.array([0], dtype=np.int32)
    terms, expected = part.trainer.gradient(theta, one, **part._loss(0.0))[0], full.trainer.gradient(
        theta, one, **{**full._loss(0.0), "w_force": 0.0}
    )[0]  # fmt: skip
    np.testing.assert_array_equal(terms, expected)
