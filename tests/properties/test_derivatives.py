"""Forces, virial and per-atom virials as derivatives of the engine's own energies."""

import numpy as np
import pytest
from reference.systems import CASES, MASKS, TRICLINIC, agree, case, distorted, largest, random_system


def ridders(f, h=0.05, shrink=1.4, n=10):
    """(df/dq, error estimate) at q = 0 by Ridders' extrapolation from step h."""
    table = np.zeros((n, n))
    best, error = 0.0, np.inf
    for a in range(n):
        table[a, 0] = (f(h) - f(-h)) / (2 * h)
        h /= shrink
        factor = shrink**2
        for b in range(1, a + 1):
            table[a, b] = (table[a, b - 1] * factor - table[a - 1, b - 1]) / (factor - 1)
            factor *= shrink**2
            e = max(abs(table[a, b] - table[a, b - 1]), abs(table[a, b] - table[a - 1, b - 1]))
            if e < error:
                best, error = table[a, b], e
        if a and abs(table[a, a] - table[a - 1, a - 1]) > 2 * error:
            break
    return best, error


def fourth_order(f, h):
    return (f(-2 * h) - 8 * f(-h) + 8 * f(h) - f(2 * h)) / (12 * h)


def energy_along(model, x, s, cell, pbc, i, a):
    def f(q):
        moved = x.copy()
        moved[i, a] += q
        return model.compute(moved, s, cell=cell, pbc=pbc).energy

    return f


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("lattice", ["fcc", "bcc", "diamond"])
def test_forces(name, lattice, rng):
    """Ridders from 0.05 A: max(1e-8, 5 x its own error).

    A cutoff's kink in the second derivative can fool the estimate where a step crosses it: shorter ones then decide.
    """
    c = case(name)
    x, s, cell = distorted(lattice, c.n_species, rng)
    forces = c.model.compute(x, s, cell=cell, pbc=True).forces
    sharp = 0
    for i in range(min(4, len(x))):
        for a in range(3):
            f = energy_along(c.model, x, s, cell, True, i, a)
            for h in (0.05, 0.01, 0.002):
                slope, error = ridders(f, h)
                if abs(forces[i, a] + slope) <= max(1e-8, 5 * error):
                    break
            else:
                pytest.fail(f"atom {i} axis {a}: force {forces[i, a]:.12g}, differences give {-slope:.12g}")
            sharp += error < 1e-7 * max(1.0, largest(forces))
    assert sharp >= 4  # the estimates themselves must mean something


@pytest.mark.parametrize("name", CASES)
def test_every_force_component(name, rng):
    """Every component, small steps: 1e-7 relative to the largest force."""
    c = case(name)
    x, s = random_system(rng, c.n_species, 10, min_distance=1.7)
    forces = c.model.compute(x, s, cell=TRICLINIC, pbc=True).forces
    slopes = [
        [fourth_order(energy_along(c.model, x, s, TRICLINIC, True, i, a), 2e-5) for a in range(3)]
        for i in range(len(x))
    ]
    agree(forces, -np.array(slopes), 1e-7)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("pbc", MASKS, ids=lambda m: "".join("FT"[p] for p in m))
def test_virial_is_the_strain_derivative(name, pbc, rng):
    """W = -dE/d(strain): nine components, with every mask; atoms, and cell where periodic, are strained."""
    c = case(name)
    x, s = random_system(rng, c.n_species, 8, min_distance=1.7)
    out = c.model.compute(x, s, cell=TRICLINIC, pbc=pbc, virials=True)

    def strained(a, b, q):
        m = np.eye(3)
        m[a, b] += q
        return c.model.compute(x @ m, s, cell=TRICLINIC @ m, pbc=pbc).energy

    slopes = [[fourth_order(lambda q, a=a, b=b: strained(a, b, q), 2e-5) for b in range(3)] for a in range(3)]
    agree(out.virial, -np.array(slopes), 1e-7, "virial")
    agree(out.virial, out.virial.T, 1e-12, "symmetry")
    agree(out.virials.sum(axis=0), out.virial, 1e-12, "sum of virials")
    agree(out.energies.sum(), out.energy, 1e-12, "sum of energies")
    volume = abs(np.linalg.det(TRICLINIC))
    agree(out.stress, -(out.virial / volume).ravel()[[0, 4, 8, 5, 2, 1]], 1e-14, "stress")


@pytest.mark.parametrize("name", CASES)
def test_per_atom_virials(name, rng):
    """W_i = -sum_j r_ji (x) d eps_j/d x_i: what acts on atom i, in a cluster."""
    c = case(name)
    x, s = random_system(rng, c.n_species, 7, np.eye(3) * 6.0, 1.7)
    out = c.model.compute(x, s, pbc=False, virials=True)
    for i in (0, 4):
        expected = np.zeros((3, 3))
        for b in range(3):
            step = np.zeros_like(x)
            step[i, b] = 1.0

            def energies(q, step=step):
                return c.model.compute(x + q * step, s, pbc=False).energies

            expected[:, b] = -((x[i] - x) * fourth_order(energies, 2e-5)[:, None]).sum(axis=0)
        agree(out.virials[i], expected, 1e-7)


def test_pair_virials_are_split_evenly(rng):
    """For a pair potential both atoms have half of r (x) F."""
    c = case("zbl")
    x, s = np.array([[0.0, 0, 0], [1.1, 0.6, -0.4]]), np.array([0, 2], dtype=np.int32)
    out = c.model.compute(x, s, pbc=False, virials=True)
    agree(out.virials[0], out.virials[1], 1e-13)
    agree(out.virials[0], 0.5 * np.outer(x[1] - x[0], out.forces[1]), 1e-13)
