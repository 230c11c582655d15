"""Symmetries: what must not change the energy, and how forces must turn with the system."""

import numpy as np
import pytest
from reference.systems import CASES, TRICLINIC, agree, case, random_system


def rotation(rng):
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


@pytest.fixture(params=CASES)
def setup(request, rng):
    c = case(request.param)
    x, s = random_system(rng, c.n_species, 12, min_distance=1.7)
    return c.model, x, s, c.model.compute(x, s, cell=TRICLINIC, pbc=True, virials=True)


def same(out, expected, turn=None, order=slice(None)):
    turn = np.eye(3) if turn is None else turn
    agree(out.energy, expected.energy, 1e-12, "energy")
    agree(out.energies, expected.energies[order], 1e-11, "energies")
    agree(out.forces, expected.forces[order] @ turn, 1e-10, "forces")
    agree(out.virial, turn.T @ expected.virial @ turn, 1e-10, "virial")
    if out.virials is not None:
        agree(out.virials, turn.T @ expected.virials[order] @ turn, 1e-10, "virials")


def test_rotation_and_inversion(setup, rng):
    model, x, s, expected = setup
    for turn in (rotation(rng), -np.eye(3), -rotation(rng)):
        same(model.compute(x @ turn, s, cell=TRICLINIC @ turn, pbc=True, virials=True), expected, turn)


def test_translation_and_wrapping(setup, rng):
    model, x, s, expected = setup
    same(model.compute(x + rng.normal(0, 5, 3), s, cell=TRICLINIC, pbc=True, virials=True), expected)
    wrapped = x + rng.integers(-3, 4, x.shape) @ TRICLINIC
    same(model.compute(wrapped, s, cell=TRICLINIC, pbc=True, virials=True), expected)


def test_permutation(setup, rng):
    model, x, s, expected = setup
    order = rng.permutation(len(x))
    same(model.compute(x[order], s[order], cell=TRICLINIC, pbc=True, virials=True), expected, order=order)


def test_forces_sum_to_zero(setup):
    _, x, _, expected = setup
    assert np.abs(expected.forces.sum(axis=0)).max() <= 1e-12 * len(x) * max(1.0, np.abs(expected.forces).max())


def test_unimodular_recell(setup):
    model, x, s, expected = setup
    for m in ([[1, 1, 0], [0, 1, 0], [0, 0, 1]], [[1, 0, 0], [2, 1, 0], [-1, 1, 1]], [[0, 1, 0], [1, 0, 0], [0, 0, 1]]):
        same(model.compute(x, s, cell=np.array(m) @ TRICLINIC, pbc=True, virials=True), expected)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_doubling(setup, axis):
    model, x, s, expected = setup
    cell = TRICLINIC.copy()
    cell[axis] *= 2
    out = model.compute(np.concatenate([x, x + TRICLINIC[axis]]), np.concatenate([s, s]), cell=cell, pbc=True)
    agree(out.energy, 2 * expected.energy, 1e-12)
    agree(out.forces, np.concatenate([expected.forces] * 2), 1e-11)
    agree(out.stress, expected.stress, 1e-12)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)])
def test_small_cell_is_its_supercell(name, axes, rng):
    """One cell a side, smaller than the cutoff, against three a side, for all seven masks."""
    c = case(name)
    small = TRICLINIC * 0.55
    x, s = random_system(rng, c.n_species, 3, small, 1.5)
    pbc = [a in axes for a in range(3)]
    expected = c.model.compute(x, s, cell=small, pbc=pbc)
    repeats = [3 if p else 1 for p in pbc]
    shifts = np.array([[i, j, k] for i in range(repeats[0]) for j in range(repeats[1]) for k in range(repeats[2])])
    many = (x[None] + (shifts @ small)[:, None]).reshape(-1, 3)
    cell = small * np.array(repeats)[:, None]
    out = c.model.compute(many, np.tile(s, len(shifts)), cell=cell, pbc=pbc)
    agree(out.energy / len(shifts), expected.energy, 1e-12)
    agree(out.forces, np.tile(expected.forces, (len(shifts), 1)), 1e-11)
