"""Neighbour list on the device against the C core's, and forces, virials and sums of a whole potential."""

import numpy as np
import pytest

import nnpcore
from nnpcore.gpu import gather
from nnpcore.gpu.baseline import Baseline
from nnpcore.gpu.system import System
from nnpcore.validate import InputError

CASES = {
    "cube": (np.eye(3) * 9.0, (1, 1, 1), 40, 3.1),
    "small cell": (np.array([[3.0, 0, 0], [1.2, 2.9, 0], [-0.7, 0.4, 3.3]]), (1, 1, 1), 4, 5.0),
    "very skewed": (np.array([[4.0, 0, 0], [17.0, 4.0, 0], [9.0, -13.0, 5.0]]), (1, 1, 1), 9, 3.5),
    "slab": (np.array([[5.0, 0.3, 0], [0, 6.0, 0.2], [0, 0, 1.0]]), (1, 1, 0), 20, 3.0),
    "wire": (np.array([[5.0, 0, 2.0], [0, 1.0, 0], [0, 0, 1.0]]), (1, 0, 0), 15, 3.0),
    "cluster": (None, (0, 0, 0), 25, 4.0),
}


def structure(case, rng, n_species=2):
    cell, pbc, n, cutoff = CASES[case]
    x = rng.uniform(-8, 12, (n, 3)) if cell is None else rng.uniform(-1.5, 2.5, (n, 3)) @ cell
    if not all(pbc):
        x = x + 0.0
    return x, rng.integers(0, n_species, n).astype(np.int32), cell, np.array(pbc, np.int32), cutoff


def pairs_of(system, host):
    """Sorted [(i, j, rounded vector)] of the device's list in the caller's order."""
    names = ("order", "slice_first", "count", "index", "owner", "x")
    order, slice_first, count, index, owner, x = (host(getattr(system, name)) for name in names)
    out = []
    for i in range(system.n):
        first = slice_first[i // 32] + i % 32
        for j in index[first + 32 * np.arange(count[i])]:
            row = j if j < system.n else owner[j - system.n]
            out.append((int(order[i]), int(order[row]), *np.round(x[j, :3] - x[i, :3], 6) + 0.0))
    return sorted(out)


def core_pairs(x, cell, pbc, cutoff):
    i, j, d = nnpcore.neighbors.neighbor_list("ijD", x, cell, pbc, cutoff)
    return sorted((int(a), int(b), *np.round(v, 6) + 0.0) for a, b, v in zip(i, j, d, strict=True))


@pytest.mark.parametrize("case", CASES)
def test_list_has_the_pairs_of_the_core(device, rng, case):
    x, species, cell, pbc, cutoff = structure(case, rng)
    system = System(device, [(species, cell, pbc)], 2, cutoff, clash=0)
    system.build(x)
    assert pairs_of(system, device.host) == core_pairs(x, cell, pbc, cutoff)
    assert int(system.count.max()) > 0


def test_random_lattices(emu):
    """Oblique and small cells, open sides, atoms far outside: several in one batch."""
    rng = np.random.default_rng(0)
    for _ in range(6):
        structures, positions, cutoff = [], [], rng.uniform(1.0, 4.0)
        while len(structures) < 5:
            cell, pbc = rng.normal(scale=rng.uniform(1, 5), size=(3, 3)), rng.integers(0, 2, 3)
            width = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
            if (width[pbc > 0] < 0.7).any() or width.min() < 0.05:
                continue
            n = int(rng.integers(1, 12))
            structures.append((rng.integers(0, 2, n).astype(np.int32), cell, pbc.astype(np.int32)))
            positions.append(rng.uniform(-3, 4, (n, 3)) @ cell)
        system = System(emu, structures, 2, cutoff, clash=0)
        system.build(np.concatenate(positions))
        found = pairs_of(system, emu.host)
        for k, (_, cell, pbc) in enumerate(structures):
            first, last = system.structure_counts[k : k + 2]
            mine = sorted((i - first, j - first, *d) for i, j, *d in found if first <= i < last)
            assert mine == core_pairs(positions[k], cell, pbc, cutoff)
            assert all(0 <= j < last - first for _, j, *_ in mine)


def crowd(rng, n, least=1.6, box=7.0):
    """n positions in a cube, no two (nor their images) closer than least."""
    x = np.empty((0, 3))
    while len(x) < n:
        p = rng.uniform(0, box, 3)
        d = x - p
        d -= box * np.rint(d / box)
        if len(x) == 0 or (d**2).sum(axis=1).min() > least**2:
            x = np.vstack([x, p])
    return x


def models():
    """Classical potentials, alone and together."""
    sw = nnpcore.Model.stillinger_weber("Si")
    lj = nnpcore.Model.lennard_jones(["Si", "Ge"], [[0.2, 0.3], [0.3, 0.4]], [[2.0, 2.2], [2.2, 2.4]], 5.0)
    zbl = nnpcore.Model.zbl(["Si", "Ge"], 1.0, 2.6)
    mixed = lj.replace(baseline=[sw, lj, zbl], e0=[-1.5, 0.25])
    return {"sw": sw, "lj": lj, "zbl": zbl, "mixed": mixed}


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("name", models())
def test_baselines_give_the_numbers_of_the_core(device, rng, name, precision):
    model = models()[name]
    structures, positions = [], []
    for n, box in ((37, 7.0), (8, 4.1)):
        species = rng.integers(0, len(model.species), n).astype(np.int32)
        structures.append((species, np.eye(3) * box, (1, 1, 1)))
        positions.append(crowd(rng, n, 1.5, box))
    structures.append((np.zeros(1, np.int32), None, (0, 0, 0)))  # nobody near
    positions.append(np.zeros((1, 3)))
    emu, host = device, device.host
    for block, seed in ((32, 0), (96, 5)):
        emu.block, emu.seed = block, seed  # of the emulator's launches
        system = System(emu, structures, len(model.species), model.cutoff)
        system.build(np.concatenate(positions))
        energy, gradient = emu.xp.empty(system.n), gather.pair_array(system, precision)
        Baseline(emu, model, precision).evaluate(system, energy, gradient, add=False)
        system.check(0)
        e0 = emu.device(model.e0)
        emu.launch(gather.FORCE, "nnp_add_e0", system.n, (np.int32(system.n), system.x, e0, energy), precision)
        forces = host(system.to_caller(gather.forces(system, gradient, precision)))
        energies = host(system.to_caller(energy))
        virials = host(system.to_caller(gather.atom_virials(system, gradient, precision))).reshape(-1, 3, 3)
        columns = [energy[None], gather.row_virials(system, gradient, precision)]
        totals = host(gather.sums(system, emu.xp.concatenate(columns)))
        tolerance = {"float64": 1e-13, "float32": 1e-6}[precision] * (1 if emu.name == "emulator" else 10)
        for k, (species, cell, pbc) in enumerate(structures):
            part = slice(system.structure_counts[k], system.structure_counts[k + 1])
            want = model.compute(positions[k], species, cell, pbc, virials=True, precision=precision)
            scale = np.abs(want.energies).max() + 1
            np.testing.assert_allclose(energies[part], want.energies, rtol=0, atol=tolerance * scale)
            np.testing.assert_allclose(totals[0, k], want.energy, rtol=0, atol=tolerance * scale * len(species))
            scale = np.abs(want.forces).max() + 1
            np.testing.assert_allclose(forces[part], want.forces, rtol=0, atol=10 * tolerance * scale)
            scale = np.abs(want.virials).max() + 1
            np.testing.assert_allclose(virials[part], want.virials, rtol=0, atol=10 * tolerance * scale)
            v = totals[1:, k]
            virial = np.array([[v[0], v[3], v[4]], [v[3], v[1], v[5]], [v[4], v[5], v[2]]])
            np.testing.assert_allclose(virial, want.virial, rtol=0, atol=10 * tolerance * scale * len(species))


def test_reverse_is_the_opposite_entry(emu, rng):
    x, species, cell, pbc, cutoff = structure("small cell", rng)
    system = System(emu, [(species, cell, pbc)], 2, cutoff, clash=0)
    system.build(x)
    for i in range(system.n):
        first = system.slice_first[i // 32] + i % 32
        for p in first + 32 * np.arange(system.count[i]):
            q = system.reverse[p]
            assert system.reverse[q] == p
            j = system.index[p]
            row = j if j < system.n else system.owner[j - system.n]
            assert (q - system.slice_first[row // 32]) % 32 == row % 32
            there = system.x[j, :3] - system.x[i, :3]
            back = system.x[system.index[q], :3] - system.x[row, :3]
            np.testing.assert_allclose(there, -back, atol=1e-12)


def test_entries_stand_by_species_and_results_do_not_depend_on_threads(emu, rng):
    x, species, cell, pbc, cutoff = structure("cube", rng, 3)
    lists = []
    for block, seed in ((32, 0), (64, 3), (128, 11)):
        emu.block, emu.seed = block, seed
        system = System(emu, [(species, cell, pbc)], 3, cutoff)
        system.build(x)
        lists.append((system.order, system.index, system.reverse, system.segment))
    for other in lists[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(lists[0], other, strict=True))
    for i in range(system.n):
        first = system.slice_first[i // 32] + i % 32
        partners = system.index[first + 32 * np.arange(system.count[i])]
        runs = np.searchsorted(system.segment[:, i], np.arange(system.count[i]), side="right")
        assert np.array_equal(system.x[partners, 3], runs)


def test_refresh_moves_atoms_and_ghosts(emu, rng):
    x, species, cell, pbc, cutoff = structure("slab", rng)
    system = System(emu, [(species, cell, pbc)], 2, cutoff, clash=0)
    rows = system.build(x)
    before = system.x.copy()
    move = rng.normal(size=rows.shape)
    system.refresh(rows + move)
    owners = np.concatenate([np.arange(system.n), system.owner])
    np.testing.assert_allclose(system.x[:, :3] - before[:, :3], move[owners], atol=1e-12)


def test_bad_input_is_named(emu, rng):
    species, cell = np.zeros(3, np.int32), np.eye(3) * 8
    system = System(emu, [(species, cell, (1, 1, 1))], 1, 3.0)
    with pytest.raises(InputError, match="atom 1: position nan 0 0 is not finite"):
        system.build(np.array([[0.0, 0, 0], [np.nan, 0, 0], [2, 2, 2]]))
    two = System(emu, [(species, cell, (1, 1, 1)), (species, None, (0, 0, 0))], 1, 3.0)
    with pytest.raises(InputError, match=r"structure 1: atom 2: position 0 0 1e\+13 is beyond"):
        two.build(np.array([[0.0, 0, 0], [3, 0, 0], [6, 0, 0], [0, 0, 0], [3, 0, 0], [0, 0, 1e13]]))
    with pytest.raises(InputError, match=r"atoms 0 and 2 \(a periodic image\) are closer than 0.001"):
        system.build(np.array([[0.0, 0, 0], [4.0, 0, 0], [7.9999, 0, 1e-4]]))
    with pytest.raises(InputError, match="cell is singular"):
        System(emu, [(species, np.ones((3, 3)), (1, 1, 1))], 1, 3.0)
    with pytest.raises(InputError, match="structure 1: cell vector 2 has length 0"):
        System(emu, [(species, cell, (1, 1, 1)), (species, np.diag([1.0, 1, 0]), (1, 1, 1))], 1, 3.0)
    with pytest.raises(InputError, match="too many periodic images"):
        System(emu, [(species, np.diag([8, 8, 1e-3]), (1, 1, 1))], 1, 3.0)


def test_nothing_to_do(emu):
    system = System(emu, [], 1, 3.0)
    system.build(np.empty((0, 3)))
    assert system.n_total == system.entries == 0
    assert gather.sums(system, np.empty((2, 0))).shape == (2, 0)
