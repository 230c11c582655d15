"""Lattices, random starts and the relaxation, with the reference Stillinger-Weber as the potential."""

import json

import numpy as np
import pytest
from reference import classical
from reference.neighbors import pairs

from nnpcore import structures as st

LATTICES = {
    "sc": (st.sc(3.0), 1, 6, 3.0),
    "bcc": (st.bcc(3.0), 2, 8, 3.0 * np.sqrt(3) / 2),
    "fcc": (st.fcc(4.0), 4, 12, 4.0 / np.sqrt(2)),
    "diamond": (st.diamond(6.2), 8, 4, 6.2 * np.sqrt(3) / 4),
    "hexagonal_diamond": (st.hexagonal_diamond(4.4), 8, 4, 4.4 * np.sqrt(3 / 8)),
    "beta_tin": (st.beta_tin(5.7, 3.23), 4, 4, np.sqrt((5.7 / 2) ** 2 + (3.23 / 4) ** 2)),
    "clathrate_i": (st.clathrate_i(11.8), 46, 4, None),
    "clathrate_ii": (st.clathrate_ii(16.9), 136, 4, None),
    "bc8": (st.bc8(7.5), 16, 4, None),
}


@pytest.mark.parametrize("name", LATTICES)
def test_sites_and_coordination(name):
    (x, cell), n, coordination, bond = LATTICES[name]
    assert len(x) == n
    _, _, d = pairs(x, cell, True, 1.15 * (bond or 0.44 * (12 * abs(np.linalg.det(cell)) / n) ** (1 / 3)))
    i, _, _ = pairs(x, cell, True, np.linalg.norm(d, axis=1).min() * 1.08)
    assert np.bincount(i, minlength=n).tolist() == [coordination] * n
    if bond:
        assert np.linalg.norm(d, axis=1).min() == pytest.approx(bond, rel=1e-12)


def test_repeats_keep_density_and_energy():
    x, cell = st.diamond(6.2, (2, 1, 3))
    assert len(x) == 48 and np.allclose(np.diag(cell), [12.4, 6.2, 18.6])
    e = classical.stillinger_weber(classical.MW, x, cell).energy
    x1, cell1 = st.diamond(6.2)
    assert e == pytest.approx(6 * classical.stillinger_weber(classical.MW, x1, cell1).energy, rel=1e-13)


def test_bad_lattices_are_named():
    with pytest.raises(ValueError, match="lattice constant"):
        st.fcc(-1.0)
    with pytest.raises(ValueError, match="repeats"):
        st.fcc(4.0, (1, 0, 1))


def test_density_round_trip():
    v = st.density_to_volume(0.997, 1000 * 18.015)
    assert v ** (1 / 3) == pytest.approx(31.07, abs=0.01)
    assert st.volume_to_density(v, 1000 * 18.015) == pytest.approx(0.997, rel=1e-14)
    with pytest.raises(ValueError, match="density"):
        st.density_to_volume(0.0, 18.0)


@pytest.mark.parametrize("cell", [None, [9, 10, 11], [[9, 0, 0], [4, 8, 0], [-3, 3.5, 9]]])
def test_random_liquid_keeps_its_distance(cell):
    x, used = st.random_liquid(40, cell, density=1.0, mass=18.015, min_distance=2.0, rng=5)
    _, _, d = pairs(x, used, True, 4.0)
    assert x.shape == (40, 3) and np.linalg.norm(d, axis=1).min() >= 2.0
    again, _ = st.random_liquid(40, cell, density=1.0, mass=18.015, min_distance=2.0, rng=5)
    assert (x == again).all()


def test_random_liquid_says_when_it_cannot():
    with pytest.raises(ValueError, match="packing fraction"):
        st.random_liquid(20, 6.0, min_distance=2.5, rng=0)
    with pytest.raises(ValueError, match="expected cell, or density"):
        st.random_liquid(20)
    assert st.random_liquid(0, 5.0, rng=0)[0].shape == (0, 3)


def mw(x, cell):
    out = classical.stillinger_weber(classical.MW, x, cell)
    return out.energy, out.forces, out.stress


STARTS = {
    "diamond": lambda: st.diamond(6.3),
    "hex-diamond": lambda: st.hexagonal_diamond(4.3),
    "bcc": lambda: st.bcc(3.8),
    "fcc": lambda: st.fcc(4.7),
    "sc": lambda: st.sc(3.1),
    "beta-tin": lambda: st.beta_tin(5.6, 3.3),
    "bc8": lambda: st.bc8(7.4),
    "clathrate-I (46)": lambda: st.clathrate_i(11.8),
    "clathrate-II (136)": lambda: st.clathrate_ii(16.9),
}


@pytest.mark.parametrize("name", STARTS)
def test_relaxed_mw_crystals_match_lammps(name, shared):
    golden = json.loads((shared / "golden/mw/crystals.json").read_text())[f"mW|{name}"]
    x, cell = STARTS[name]()
    out = st.relax(mw, x, cell)
    assert out.converged
    assert out.energy / len(x) == pytest.approx(golden["e"], abs=1e-7)
    assert abs(np.linalg.det(out.cell)) / len(x) == pytest.approx(golden["vol"], abs=1e-3)
    assert out.cell[0, 0] == pytest.approx(golden["cell"][0], abs=1e-4)
    assert out.cell[2, 2] == pytest.approx(golden["cell"][2], abs=1e-4)


def test_relax_recovers_a_sheared_rattled_crystal():
    rng = np.random.default_rng(3)
    x, cell = st.diamond(6.2)
    strain = np.eye(3) + rng.normal(0, 0.02, (3, 3))
    out = st.relax(mw, x @ strain + rng.normal(0, 0.1, x.shape), cell @ strain, vary="full", max_force=1e-6)
    assert out.converged and out.energy / 8 == pytest.approx(-2 * 0.2683805, abs=1e-8)
    lengths = np.linalg.norm(out.cell, axis=1)
    assert lengths == pytest.approx(4 / np.sqrt(3) * 2 ** (1 / 6) * 2.3925, abs=1e-4)


def test_relax_under_pressure_and_with_fixed_cell():
    x, cell = st.diamond(6.2)
    out = st.relax(mw, x, cell, vary="isotropic", pressure=1.0)
    assert out.converged and np.mean(out.stress[:3]) * st.GPA == pytest.approx(-1.0, abs=1e-4)
    fixed = st.relax(lambda x, c: (*mw(x, c)[:2], None), x + 0.05 * np.sin(x * 7), cell, vary="none", max_force=1e-6)
    assert fixed.converged and (fixed.cell == cell).all()
    assert np.abs(fixed.forces).max() <= 1e-6


def test_relax_reports_failure():
    x, cell = st.diamond(6.5)
    assert not st.relax(mw, x, cell, max_steps=1).converged
    with pytest.raises(FloatingPointError, match="not finite"):
        st.relax(lambda x, c: (np.nan, 0 * x, np.zeros(6)), x, cell)
    with pytest.raises(ValueError, match="vary"):
        st.relax(mw, x, cell, vary="hexagonal")
