"""The engine against the slow references: every output, every mask of periodic axes, small and odd cells."""

import numpy as np
import pytest
from reference import systems
from reference.systems import CASES, MASKS, TRICLINIC, agree, case, distorted, random_system

import nnpcore

CELLS = {
    "small": np.diag([2.4, 2.9, 2.6]),
    "needle": np.array([[2.2, 0.0, 0.3], [0.4, 12.0, 0.0], [0.0, -0.5, 9.0]]),
    "skewed": np.array([[4.0, 0.0, 0.0], [7.5, 4.2, 0.0], [-5.0, 6.0, 4.4]]),
    "left-handed": np.array([[0.3, 6.2, 0.0], [5.8, 0.0, 0.4], [0.0, 0.5, 6.6]]),
}


def compare(c, x, s, cell, pbc, tolerance=1e-12):
    expected = c.reference(x, s, cell, pbc)
    out = c.model.compute(x, s, cell=cell, pbc=pbc, virials=True)
    agree(out.energy, expected.energy, tolerance, "energy")
    agree(out.energies, expected.energies, tolerance, "energies")
    agree(out.forces, expected.forces, tolerance, "forces")
    agree(out.virial, expected.virial, tolerance, "virial")
    agree(out.virials, expected.virials, tolerance, "virials")
    if cell is None:
        assert out.stress is None
    else:
        agree(out.stress, expected.stress, tolerance, "stress")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("pbc", MASKS, ids=lambda m: "".join("FT"[p] for p in m))
def test_every_mask(name, pbc, rng):
    c = case(name)
    x, s = random_system(rng, c.n_species)
    x = x + rng.integers(-2, 3, (len(x), 3)) * np.array(pbc) @ TRICLINIC  # unwrapped atoms
    compare(c, x, s, TRICLINIC, pbc)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("cell", CELLS)
def test_odd_cells(name, cell, rng):
    c = case(name)
    n = 2 if cell == "small" else 5
    x, s = random_system(rng, c.n_species, n, CELLS[cell], 1.4)
    compare(c, x, s, CELLS[cell], (True, True, True), 2e-12)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("lattice", ["fcc", "bcc", "diamond"])
def test_distorted_crystals(name, lattice, rng):
    c = case(name)
    x, s, cell = distorted(lattice, c.n_species, rng)
    compare(c, x, s, cell, (True, True, True))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 9])
def test_clusters(name, n, rng):
    c = case(name)
    x, s = random_system(rng, c.n_species, n, np.eye(3) * 4.5, 1.4)
    compare(c, x, s, None, (False, False, False))


def test_one_atom_sees_its_own_images(rng):
    for name in ("mW", "msr1", "msr1-rs", "msr3"):
        c = case(name)
        s = np.array([c.n_species - 1], dtype=np.int32)
        compare(c, rng.normal(size=(1, 3)), s, CELLS["small"], (True, True, True))
        compare(c, rng.normal(size=(1, 3)), s, CELLS["small"], (False, True, False))


@pytest.mark.parametrize("name", CASES)
def test_slab_without_a_third_vector(name, rng):
    """A non-periodic axis may have a zero vector: no volume, no stress."""
    c = case(name)
    x, s = random_system(rng, c.n_species)
    cell = TRICLINIC.copy()
    cell[2] = 0
    expected = c.reference(x, s, cell, (True, True, False))
    out = c.model.compute(x, s, cell=cell, pbc=(True, True, False))
    agree(out.energy, expected.energy, 1e-12)
    agree(out.forces, expected.forces, 1e-12)
    assert out.stress is None


@pytest.mark.parametrize("name", CASES)
def test_float32(name, rng):
    """Float arithmetic on relative positions, double sums: median force error 3e-6, energy as its conditioning allows.

    A distance or a length of the potential that is wrong by one rounding, 2^-24, moves an atom's energy by that times
    its virial, sum of r dE/dr; the last operations move it by that times itself. Largest of 100 systems of each
    case: 2.7 of these.
    """
    c = case(name)
    x, s = random_system(rng, c.n_species, 14, TRICLINIC, 1.7)
    big = 1000.0 * TRICLINIC.sum(axis=0)  # far from the origin: relative positions must be taken in double
    exact = c.model.compute(x, s, cell=TRICLINIC, pbc=True, virials=True)
    out = c.model.compute(x + big, s, cell=TRICLINIC, pbc=True, virials=True, precision="float32")
    size = np.linalg.norm(exact.forces, axis=1)
    error = np.linalg.norm(out.forces - exact.forces, axis=1)
    assert np.median(error / size) <= 3e-6
    scale = np.abs(exact.energies).mean() + np.abs(np.einsum("nii->ni", exact.virials)).sum(axis=1).mean()
    assert abs(out.energy - exact.energy) / len(x) <= 4 * 2**-24 * scale
    agree(out.stress, exact.stress, 1e-5, "stress")
    agree(out.virials, exact.virials, 1e-5, "virials")


def test_cutoff_is_the_largest(rng):
    assert case("msr1").model.cutoff == systems.RC
    assert case("mW").model.cutoff == pytest.approx(1.8 * 2.3925, rel=1e-15)
    assert case("lj").model.cutoff == 4.4 and case("zbl").model.cutoff == 3.2


@pytest.mark.parametrize("name", ["mW", "msr1-sw", "msr3-rs-zbl"])
@pytest.mark.parametrize("skin", [0.3, 1.0])
def test_skin_changes_nothing(name, skin, rng):
    """A kept list gives what a fresh one does: small moves, moves beyond skin/2, other cells, species and sizes."""
    c = case(name)
    x, s = random_system(rng, c.n_species, 12, min_distance=1.7)
    cell, steps = TRICLINIC, [0.0, 0.02, 0.05, 0.12, 0.2, 0.6, 0.01, 0.01]
    for k, step in enumerate(steps):
        x = x + rng.uniform(-step, step, x.shape) / 3
        if k == 4:
            cell = TRICLINIC * 1.01
        if k == 5:
            s = s[::-1].copy()
        if k == 6:
            x, s = x[:-1], s[:-1]
        pbc = (True, True, k != 7)
        out = c.model.compute(x, s, cell=cell, pbc=pbc, virials=True, skin=skin)
        expected = c.reference(x, s, cell, pbc)
        agree(out.energy, expected.energy, 1e-12, f"step {k}")
        agree(out.forces, expected.forces, 1e-12, f"step {k}")
        agree(out.virials, expected.virials, 1e-12, f"step {k}")
        agree(out.stress, expected.stress, 1e-12, f"step {k}")


def test_a_new_theta_is_used_at_once(rng):
    """Assigning theta drops the packed parameters of earlier calls, with and without a kept list."""
    c = systems.msr_case(1)
    x, s = random_system(rng, 1)
    for skin in (0.0, 0.5):
        model = c.model.replace()
        before = model.compute(x, s, cell=TRICLINIC, pbc=True, skin=skin).energy
        model.theta = 0.9 * np.array(model.theta)
        after = model.compute(x, s, cell=TRICLINIC, pbc=True, skin=skin).energy
        assert after != before
        fresh = nnpcore.Model.from_bytes(model.to_bytes())
        assert after == fresh.compute(x, s, cell=TRICLINIC, pbc=True).energy
