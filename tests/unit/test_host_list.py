"""nnp_compute(), a host code's way in: its own list with ghosts gives what the own list gives."""

import numpy as np
import pytest

from nnpcore import Model, _core
from nnpcore.neighbors import neighbor_list


def ghosted(positions, species, cell, cutoff):
    """(x with ghosts, species, first, index, owner): a list as a host code would hand it over."""
    i, j, shifts = neighbor_list("ijS", positions, cell, True, cutoff)
    ghosts, index = {}, []
    for a, shift in zip(j, shifts, strict=True):
        key = (int(a), *map(int, shift))
        index.append(int(a) if not shift.any() else len(positions) + ghosts.setdefault(key, len(ghosts)))
    x = np.array([*positions, *(positions[k[0]] + np.array(k[1:]) @ cell for k in ghosts)])
    owner = np.array([*range(len(positions)), *(k[0] for k in ghosts)])
    first = np.searchsorted(i, np.arange(len(positions) + 1)).astype(np.int64)
    return x, np.ascontiguousarray(species[owner], dtype=np.int32), first, np.array(index, dtype=np.int32), owner


@pytest.fixture
def case(seed=3):
    rng = np.random.default_rng(seed)
    model = Model.msr(["Ge", "Sb", "Te"], rc=4.6, rc3=4.0, n2=3, n3=2, hidden=(8, 8), seed=1, e0=[1.0, 2.0, 3.0])
    cell = np.diag([8.0, 8.4, 8.1]) + rng.uniform(-0.4, 0.4, (3, 3))
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3), -1).reshape(-1, 3) / 3
    positions = grid @ cell + rng.uniform(-0.3, 0.3, (27, 3))
    return model, positions, rng.integers(0, 3, 27), cell


@pytest.mark.parametrize("precision", [0, 1])
def test_host_list_gives_what_the_own_list_gives(case, precision):
    model, positions, species, cell = case
    x, s, first, index, owner = ghosted(positions, species, cell, model.cutoff + 0.3)
    work = _core.Workspace(model.core, 1, precision)
    energy, energies, forces, virial, virials = work.compute_list(s, x, first, index)
    want = model.compute(positions, species, cell, virials=True, precision=("float64", "float32")[precision])
    tolerance = (1e-11, 1e-4)[precision]
    folded, per_atom = np.zeros((27, 3)), np.zeros((27, 9))
    np.add.at(folded, owner, forces)
    np.add.at(per_atom, owner, virials)
    assert energy == pytest.approx(want.energy, abs=tolerance)
    np.testing.assert_allclose(energies[:27], want.energies, atol=tolerance)
    np.testing.assert_allclose(folded, want.forces, atol=tolerance)
    six = want.virial[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
    np.testing.assert_allclose(virial, six, atol=10 * tolerance)
    np.testing.assert_allclose(per_atom.reshape(-1, 3, 3), want.virials, atol=10 * tolerance)


def test_threads_do_not_change_a_bit(case):
    model, positions, species, cell = case
    x, s, first, index, _ = ghosted(positions, species, cell, model.cutoff)
    one, three = (_core.Workspace(model.core, n).compute_list(s, x, first, index) for n in (1, 3))
    assert one[0] == three[0]
    assert np.array_equal(one[2], three[2])


def test_ignored_atoms_are_not_there(case):
    model, positions, species, cell = case
    x, s, first, index, owner = ghosted(positions, species, cell, model.cutoff)
    s[owner == 5] = -1
    energy, energies, forces, *_ = _core.Workspace(model.core).compute_list(s, x, first, index)
    keep = np.arange(27) != 5
    want = model.compute(positions[keep], species[keep], cell)
    assert energy == pytest.approx(want.energy, abs=1e-11)
    assert energies[5] == 0 and not forces[owner == 5].any()


def test_bad_lists_are_named(case):
    model, positions, species, cell = case
    x, s, first, index, _ = ghosted(positions, species, cell, model.cutoff)
    work = _core.Workspace(model.core)
    bad = index.copy()
    bad[7] = len(x)
    with pytest.raises(_core.NnpError, match="neighbour 7 of atom 0"):
        work.compute_list(s, x, first, bad)
    wrong = s.copy()
    wrong[3] = 3
    with pytest.raises(_core.NnpError, match="atom 3 has species 3"):
        work.compute_list(wrong, x, first, index)
    x[4, 1] = np.nan
    with pytest.raises(_core.NnpError, match="atom 4"):
        work.compute_list(s, x, first, index)
