"""The references against themselves: forces, virials and per-atom virials are derivatives of their own energies."""

import numpy as np
import pytest

from nnpcore.structures import random_liquid
from reference import classical, loss, msr
from reference.neighbors import pairs

CELL = np.array([[7.0, 0.4, -0.3], [1.1, 6.5, 0.2], [-0.6, 0.9, 7.4]])


def spec_of(n_species, rs=0.0):
    channels = n_species * (n_species + 1) // 2
    n2 = [[2 + (s + t) % 2 for t in range(n_species)] for s in range(n_species)]
    n3 = [[1 + (s + c) % 2 for c in range(channels)] for s in range(n_species)]
    return msr.Spec(n_species, 4.5, 4.1, n2, n3, hidden=(6, 5), rs=rs, e0=tuple(-1.0 - s for s in range(n_species)))


def potentials():
    rng = np.random.default_rng(0)
    out = {}
    for n_species, rs in ((1, 0.0), (1, 2.2), (2, 0.0), (3, 1.9)):
        spec = spec_of(n_species, rs)
        theta = msr.random_theta(spec, rng)
        out[f"msr{n_species}-rs{rs}"] = lambda x, s, c, p, spec=spec, theta=theta: msr.compute(
            spec, theta, x, s % spec.n_species, c, p
        )
    out["sw"] = lambda x, s, c, p: classical.stillinger_weber(classical.MW, x, c, p)
    out["lj"] = lambda x, s, c, p: classical.lennard_jones(0.1, 2.0, 3.0, 4.5, (0, 1), x, s % 2, c, p)
    out["zbl"] = lambda x, s, c, p: classical.zbl([8, 14, 32], 1.2, 3.3, x, s, c, p)
    return out


POTENTIALS = potentials()


def system(rng, n=9):
    return random_liquid(n, CELL, min_distance=1.6, rng=rng)[0], rng.integers(0, 3, n)


def derivative(f, h=2e-5):
    """df/dq at q = 0, of fourth order in h."""
    return (f(-2 * h) - 8 * f(-h) + 8 * f(h) - f(2 * h)) / (12 * h)


@pytest.mark.parametrize("name", POTENTIALS)
@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True), (False, False, False)])
def test_forces_and_virial_are_derivatives(name, pbc, rng):
    f = POTENTIALS[name]
    x, s = system(rng)
    cell = CELL if any(pbc) else None
    out = f(x, s, cell, pbc)
    step, strain = rng.normal(size=x.shape), rng.normal(size=(3, 3))
    slope = derivative(lambda q: f(x + q * step, s, cell, pbc).energy)
    assert -(out.forces * step).sum() == pytest.approx(slope, abs=2e-7 * max(1, abs(slope)))

    def strained(q):
        m = np.eye(3) + q * strain
        return f(x @ m, s, None if cell is None else cell @ m, pbc).energy

    slope = derivative(strained)
    assert -(out.virial * strain.T).sum() == pytest.approx(slope, abs=2e-7 * max(1, abs(slope)))
    assert np.abs(out.virial - out.virial.T).max() < 1e-11 * max(1, np.abs(out.virial).max())


@pytest.mark.parametrize("name", POTENTIALS)
def test_per_atom_virials_are_derivatives_of_energies(name, rng):
    """W_i = -sum_j r_ji (x) d eps_j / d x_i, in a cluster."""
    f = POTENTIALS[name]
    x, s = system(rng, 6)
    out = f(x, s, None, False)
    i = 2
    expected = np.zeros((3, 3))
    for b in range(3):
        step = np.zeros_like(x)
        step[i, b] = 1
        slope = derivative(lambda q, step=step: f(x + q * step, s, None, False).energies)
        expected[:, b] = -((x[i] - x) * slope[:, None]).sum(axis=0)
    assert out.virials[i] == pytest.approx(expected, abs=1e-6 * max(1, np.abs(expected).max()))


def test_pairs_find_every_image_of_unwrapped_atoms(rng):
    cell = np.diag([2.0, 2.5, 3.0])
    x = rng.random((3, 3)) @ cell
    i, j, d = pairs(x, cell, True, 4.9)
    far = x + np.array([[3, -2, 1], [0, 0, 0], [-4, 1, 2]]) @ cell
    i2, _, d2 = pairs(far, cell, True, 4.9)
    assert np.bincount(i).tolist() == np.bincount(i2).tolist()
    assert np.sort(np.linalg.norm(d, axis=1)) == pytest.approx(np.sort(np.linalg.norm(d2, axis=1)), abs=1e-12)
    # each atom sees every site of the lattice of images: 4/3 pi 4.9^3 3 / 15 = 99 on average
    assert 85 < np.bincount(i).mean() < 112 and (i == j).any()


def test_channels_count_unordered_pairs():
    for n in range(1, 6):
        seen = {msr.channel(n, t, u) for t in range(n) for u in range(n)}
        assert seen == set(range(n * (n + 1) // 2))
        formula = {(t, u): t * n - t * (t - 1) // 2 + (u - t) for t in range(n) for u in range(t, n)}
        assert all(msr.channel(n, u, t) == c for (t, u), c in formula.items())


@pytest.mark.parametrize("kind", ["cosine", "septic"])
def test_cutoff_functions_end_smoothly_and_have_their_derivatives(kind):
    """Value and slope (septic: curvature too) vanish at rc; derivatives against central differences."""
    value, slope, curvature = msr.outer(np.array([4.5]), 4.5, kind)
    assert abs(value) < 1e-15 and abs(slope) < 1e-15 and (kind == "cosine" or abs(curvature) < 1e-15)
    r, h = np.linspace(0.5, 4.4, 14), 1e-5
    (up, dup, _), (down, ddown, _) = (msr.outer(r + d, 4.5, kind) for d in (h, -h))
    _, slope, curvature = msr.outer(r, 4.5, kind)
    np.testing.assert_allclose(slope, (up - down) / (2 * h), atol=1e-9)
    np.testing.assert_allclose(curvature, (dup - ddown) / (2 * h), atol=1e-9)


@pytest.mark.parametrize("kind", ["cosine", "septic"])
def test_short_range_branch_is_smooth(kind):
    r = 1.9 + np.array([-1e-6, 1e-6])
    x, dx = msr.switch(r, 4.5, 1.9, kind)
    assert abs(x[0] - x[1] + 2e-6 * dx[0]) < 1e-11 and abs(dx[0] - dx[1]) < 1e-5
    assert msr.switch(np.array([1.0]), 4.5, 1.9, kind)[0][0] > msr.switch(np.array([1.0]), 4.5, 0.0, kind)[0][0]


def test_loss_by_hand(rng):
    spec = spec_of(1)
    theta = msr.random_theta(spec, rng)
    x, s = system(rng, 4)
    out = msr.compute(spec, theta, x, 0 * s, CELL, True)
    frame = loss.Frame(x, 0 * s, CELL, True, out.energy + 8.0, out.forces - 3.0, out.stress + 0.5, weight=2.0)
    square = loss.terms(spec, theta, [frame], loss.Loss("square", 1.0, 10.0, 100.0))
    assert square == pytest.approx([2 * (4 + 90 + 25), 2 * 4, 2 * 90, 2 * 25])
    huber = loss.terms(spec, theta, [frame], loss.Loss("huber", 1.0, 1.0, 1.0, 0.5, 10.0, 0.1))
    assert huber[1:] == pytest.approx([2 * 0.5 * 1.75, 2 * 4.5, 2 * 0.1 * 0.45])
