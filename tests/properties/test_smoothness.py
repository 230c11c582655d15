"""Dimers and trimers from deep inside to beyond the cutoff: the energy is the integral of the force.

A jump at a cutoff passes finite differences, virials and periodicity; only this and NVE see it. The cosine cutoffs
and the short-range branch have kinks in higher derivatives at RC, RC3 and RS: the grid has those on its nodes, so
that no interval straddles one, for the equal sides of an equilateral trimer and for r and 2r of a straight one.
"""

import numpy as np
import pytest
from reference.systems import CASES, case

D = 2e-3
START, END = 1.2, 5.2


def path_energies(model, shape, s, radii):
    """E and dE/dr of the shape [n, 3] scaled by each of the radii: [m, 2]. One call, the molecules 32 A apart."""
    sites = np.stack(np.unravel_index(np.arange(len(radii)), (16, 16, 16)), axis=1) * 32.0
    x = shape[None] * radii[:, None, None] + sites[:, None]
    out = model.compute(x.reshape(-1, 3), np.tile(s, len(radii)), pbc=False)
    slopes = -(out.forces.reshape(x.shape) * shape).sum(axis=(1, 2))
    return np.column_stack([out.energies.reshape(len(radii), -1).sum(axis=1), slopes])


def shapes():
    dimer = np.array([[0, 0, 0], [0.6, 0, 0.8]])
    equilateral = np.array([[0, 0, 0], [1, 0, 0], [0.5, np.sqrt(3) / 2, 0]])
    straight = np.array([[0, 0, 0], [-0.6, 0.8, 0], [0.6, -0.8, 0]])
    return {"dimer": dimer, "equilateral": equilateral, "straight": straight}


def species_choices(n_species, n):
    if n == 2:
        return [(a, b) for a in range(n_species) for b in range(a, n_species)]
    return [(a, b, c) for a in range(n_species) for b in range(n_species) for c in range(b, n_species)][::n_species]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("shape", shapes())
def test_energy_is_the_integral_of_the_force(name, shape):
    c = case(name)
    geometry = shapes()[shape]
    steps = np.arange(round(START / D), round(END / D) + 1)
    for species in species_choices(c.n_species, len(geometry)):
        s = np.array(species, dtype=np.int32)
        nodes = path_energies(c.model, geometry, s, steps * D)
        middle = path_energies(c.model, geometry, s, (steps[:-1] + 0.5) * D)
        e, de = nodes.T
        residual = e[1:] - e[:-1] - D / 6 * (de[:-1] + 4 * middle[:, 1] + de[1:])
        worst = np.argmax(np.abs(residual))
        scale = max(1.0, np.abs(nodes).max())
        assert abs(residual[worst]) <= 1e-10 * scale, f"species {species} at r = {steps[worst] * D:.3f}"


@pytest.mark.parametrize("name", CASES)
def test_zero_beyond_the_cutoff(name):
    """Beyond the cutoff: E of the isolated atoms exactly, no force; just inside: continuous in both."""
    c = case(name)
    rc = c.model.cutoff
    alone = [c.model.compute(np.zeros((1, 3)), [t], pbc=False).energy for t in range(c.n_species)]
    for a in range(c.n_species):
        for b in range(c.n_species):
            for gap in (1e-9, 1e-3, 1.0, 100.0):
                out = c.model.compute([[0, 0, 0], [0, rc + gap, 0]], [a, b], pbc=False)
                assert out.energy == pytest.approx(alone[a] + alone[b], abs=1e-14)
                assert not out.forces.any()
            inside = c.model.compute([[0, 0, 0], [0, rc - 1e-6, 0]], [a, b], pbc=False)
            assert inside.energy == pytest.approx(alone[a] + alone[b], abs=1e-9)
            assert np.abs(inside.forces).max() < 1e-2


def test_isolated_msr_atom_has_e0_and_the_network_of_no_neighbours():
    c = case("msr3")
    for t in range(3):
        expected = c.reference(np.zeros((1, 3)), [t]).energy
        assert c.model.compute(np.zeros((1, 3)), [t], pbc=False).energy == pytest.approx(expected, abs=1e-14)
