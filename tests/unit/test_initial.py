import numpy as np
import pytest

from nnpcore import initial
from nnpcore.data import Frame
from nnpcore.model import Model
from nnpcore.training import make_trainer


def empty(model):
    return make_trainer(model, 1, "float64")


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(2)
    made = []
    for _ in range(6):
        species = rng.permutation(["Ge"] * 6 + ["Te"] * 6)
        grid = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1, 2], indexing="ij"), -1).reshape(-1, 3) * 3.0
        positions = grid + rng.normal(0, 0.3, (12, 3))
        made.append(Frame(species, positions, np.diag([6.0, 6.0, 9.0]), True, -40.0, np.zeros((12, 3))))
    return made


@pytest.fixture(scope="module")
def model():
    return Model.msr(["Ge", "Te"], rc=5.0, rc3=4.0, n2=[[2, 3], [4, 1]], n3=[[1, 2, 0], [2, 1, 3]], hidden=[5], seed=1)


def test_inputs_are_standardised_where_they_vary(model, frames):
    new = initial.initialise(model, frames, 3, empty)
    assert new.metadata["msr"] == model.metadata["msr"]
    for g in initial.inputs(new, frames, empty):
        np.testing.assert_allclose(g.mean(axis=0), 0.0, atol=1e-10)
    assert initial.initialise(model, frames, 3, empty) == new
    assert initial.initialise(model, frames, 4, empty) != new


def test_first_layer_sees_unit_variance(model, frames):
    g = initial.inputs(model, frames, empty)
    new = initial.standardised(model, g)
    for symbol, own in zip(model.species, g, strict=True):
        name = f"net.{symbol}.0.weight"
        ratio = model.tensors[name] / new.tensors[name]
        expected = np.maximum(own.std(axis=0), initial.SMALLEST)
        np.testing.assert_allclose(ratio, np.broadcast_to(expected[:, None], ratio.shape), rtol=1e-12)


def test_chosen_fingerprints_are_more_independent(model, frames):
    """Per species: the least eigenvalue of the correlation matrix grows; every channel keeps its candidates apart."""

    def least(m):
        return [np.linalg.eigvalsh(np.corrcoef(g.T))[0] for g in initial.inputs(m, frames, empty)]

    chosen = initial.independent(model, frames, 3, empty)
    random = [least(model.replace(theta=Model.msr(["Ge", "Te"], rc=5.0, rc3=4.0, n2=[[2, 3], [4, 1]],
              n3=[[1, 2, 0], [2, 1, 3]], hidden=[5], seed=k).theta)) for k in range(5)]  # fmt: skip
    assert (np.array(least(chosen)) > 3 * np.median(random, axis=0)).all()


def test_pivots_take_what_the_others_do_not_explain():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 500))  # nearly uncorrelated
    columns = [a, a + 1e-3 * b, a - 1e-3 * b, a, b, b + 1e-3 * a, a, a]  # one group of 8 candidates for one fingerprint
    g = np.stack([*columns, *([a] * 7), b], axis=1)
    ((first,), (second,)) = initial.pivots(g, [1, 1])
    assert first < 8 <= second and abs(np.corrcoef(g[:, first], g[:, second])[0, 1]) < 0.1
    assert initial.pivots(np.zeros((3, 16)), [1, 1]) == [[0], [8]]


def test_a_species_without_atoms_keeps_its_values(model, frames):
    only = [Frame(["Ge"] * 12, f.positions, f.cell, True) for f in frames]
    new = initial.initialise(model, only, 3, empty)
    for name, value in model.tensors.items():
        if ".Te." in name:
            np.testing.assert_array_equal(new.tensors[name], value)
