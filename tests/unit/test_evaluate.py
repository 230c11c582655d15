import json

import numpy as np
import pytest
from fake_trainer import FakeTrainer

from nnpcore import data, evaluate
from nnpcore.data import Frame
from nnpcore.model import Model

CELL = 10.0 * np.eye(3)


@pytest.fixture
def frames():
    rng = np.random.default_rng(1)
    made = []
    for n, kind in ((2, "a"), (3, "b"), (4, "b")):
        made.append(Frame(["Ar"] * n, rng.uniform(0, 5, (n, 3)), CELL, (1, 1, 1), -1.0 * n, rng.normal(size=(n, 3)),
                          rng.normal(size=6), config_type=kind))  # fmt: skip
    made.append(Frame(["Ar"], [[0, 0, 0]], config_type="b"))
    return made


def shifted(frames, d_energy, d_force, d_stress):
    energies = np.array([(f.energy or 0.0) + d_energy * len(f) for f in frames])
    forces = np.concatenate([(np.zeros((len(f), 3)) if f.forces is None else f.forces) + d_force for f in frames])
    return energies, forces, np.array([np.zeros(6) if f.stress is None else f.stress + d_stress for f in frames])


def test_errors_have_the_units_of_their_columns(frames):
    labels = evaluate.Labels(frames)
    row = evaluate.summary(labels.differences(*shifted(frames, 0.002, -0.03, 0.01)))
    assert row["rmse_energy[meV/atom]"] == pytest.approx(2.0) and row["mae_energy[meV/atom]"] == pytest.approx(2.0)
    assert row["rmse_force[meV/A]"] == pytest.approx(30.0) and row["mae_stress[GPa]"] == pytest.approx(1.602176634)


def test_table_by_config_type(frames):
    labels = evaluate.Labels(frames)
    energies, forces, stresses = shifted(frames, 0.0, 0.0, 0.0)
    forces[0, 0] += 0.6  # first frame, the only one of type a: 6 components
    table = evaluate.by_config_type(frames, labels, labels.differences(energies, forces, stresses))
    assert list(table) == ["a", "b", "total"]
    assert (table["b"]["frames"], table["b"]["atoms"], table["total"]["atoms"]) == (3, 8, 10)
    assert table["a"]["rmse_force[meV/A]"] == pytest.approx(600 / np.sqrt(6))
    assert table["b"]["rmse_force[meV/A]"] == 0.0
    assert table["total"]["rmse_force[meV/A]"] == pytest.approx(600 / np.sqrt(27))
    text = evaluate.format_table(table)
    assert len(text.splitlines()) == 5 and "meV/atom" in text


@pytest.mark.parametrize("kind", [0, 1])
def test_loss_terms_agree_with_a_trainer(kind):
    model = Model.msr(["Ar"], rc=4.0, n2=2, n3=1, hidden=[3], seed=3)
    rng = np.random.default_rng(0)
    frames = [
        Frame(["Ar"] * n, rng.uniform(0, 3.5, (n, 3)), energy=rng.normal(), forces=rng.normal(size=(n, 3)), weight=w)
        for n, w in ((3, 1.0), (5, 2.0))
    ]
    trainer = FakeTrainer(model.to_bytes())
    for f in frames:
        trainer.add(data.indices(f, ["Ar"]), f.positions, None, np.zeros(3), f.energy, f.forces, None, f.weight)
    loss = {"kind": kind, "w_energy": 0.3, "w_force": 1.2, "w_stress": 0.0}
    loss |= {"delta_energy": 0.1, "delta_force": 0.5, "delta_stress": 1.0}
    terms, _ = trainer.gradient(model.theta, [0, 1], **loss)
    labels = evaluate.Labels(frames)
    own = evaluate.loss_terms(labels, labels.differences(*trainer.predict(model.theta, [0, 1])), loss)
    np.testing.assert_allclose(own, terms, rtol=1e-12)


def test_strict_json_has_no_nan():
    value = {"a": [1.0, float("nan")], "b": {"c": float("inf")}}
    assert json.dumps(evaluate.strict_json(value), allow_nan=False) == '{"a": [1.0, null], "b": {"c": null}}'


def test_written_predictions_read_back(frames, tmp_path):
    pytest.importorskip("ase")
    from ase.io import read

    predictions = shifted(frames, 0.1, 0.2, 0.3)
    path = tmp_path / "out.xyz"
    evaluate.write_predictions(path, frames, predictions)
    images = read(path, ":")
    assert images[0].get_potential_energy() == pytest.approx(predictions[0][0])
    np.testing.assert_allclose(images[1].get_forces(), predictions[1][2:5], atol=1e-7)
    np.testing.assert_allclose(images[0].get_stress(), predictions[2][0], atol=1e-7)
    again = data.read_frames(path)  # REF_ labels win over the calculator's predictions
    for old, new in zip(frames[:3], again, strict=False):
        assert new.energy == pytest.approx(old.energy) and new.config_type == old.config_type
        np.testing.assert_allclose(new.forces, old.forces, atol=1e-7)
        np.testing.assert_allclose(new.stress, old.stress, atol=1e-7)
    # what has no label keeps none of its own, and is not mistaken for one by a reader that knows REF_ only
    assert images[3].info.get("REF_energy") is None
