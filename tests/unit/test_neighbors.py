"""The core's neighbour list: against brute force and other codes, its order, threads, refresh, errors."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

from nnpcore import _core
from nnpcore.neighbors import neighbor_list

MASKS = list(itertools.product((False, True), repeat=3))


def random_case(seed):
    """(x, cell, pbc, cutoff): skewed, left-handed, tiny, oblique or elongated cells, unwrapped atoms."""
    rng = np.random.default_rng(seed)
    pbc = np.array(MASKS[seed % 8])
    kind = seed // 8 % 5
    edge = (1.5, 4.0, 8.0, 5.0, 3.0)[kind] * rng.uniform(0.8, 1.2)
    cell = edge * (np.eye(3) + rng.uniform(-0.4, 0.4, (3, 3)))
    if kind == 3:  # sheared by several lattice vectors
        cell[1] += rng.integers(-4, 5) * cell[0]
        cell[2] += rng.integers(-4, 5) * cell[1]
    if kind == 4:
        cell[0] *= 6
    if seed % 3 == 0:
        cell[[0, 1]] = cell[[1, 0]]
    n = int(rng.integers(1, 4) if kind == 0 else rng.integers(5, 60))
    x = rng.random((n, 3)) @ cell
    x += (rng.integers(-3, 4, (n, 3)) * pbc) @ cell
    return np.ascontiguousarray(x), cell, pbc, float(rng.uniform(1.0, 3.5))


def brute_force(x, cell, pbc, cutoff):
    """Sorted (i, j, S): every image up to a bound by the distance of the lattice planes."""
    kept = [d for d in range(3) if pbc[d]]
    found = set()
    frac_range = np.zeros(3, dtype=int)
    if kept:
        inverse = np.linalg.pinv(cell[kept])  # x @ inverse: fractions along the periodic axes
        for column, d in enumerate(kept):
            s = x @ inverse[:, column]
            frac_range[d] = int(np.ceil(cutoff * np.linalg.norm(inverse[:, column]) + np.ptp(s)))
    for image in itertools.product(*(range(-r, r + 1) for r in frac_range)):
        delta = x[None, :, :] - x[:, None, :] + np.array(image) @ cell
        close = np.einsum("ijc,ijc->ij", delta, delta) < cutoff**2
        if image == (0, 0, 0):
            np.fill_diagonal(close, False)
        found.update((int(i), int(j), *image) for i, j in zip(*np.nonzero(close), strict=True))
    return sorted(found)


def as_tuples(i, j, shifts):
    return sorted(zip(i.tolist(), j.tolist(), *shifts.T.tolist(), strict=True))


def build(x, cell, pbc, cutoff, threads=1):
    neigh = _core.NeighList()
    neigh.build(x, cell, None if pbc is None else np.ascontiguousarray(pbc, dtype=np.intc), cutoff, threads)
    return neigh


def same(a, b):
    return all(np.array_equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("seed", range(60))
def test_against_brute_force(seed):
    x, cell, pbc, cutoff = random_case(seed)
    i, j, d, vectors, shifts = neighbor_list("ijdDS", x, cell, pbc, cutoff)
    assert as_tuples(i, j, shifts) == brute_force(x, cell, pbc, cutoff)
    np.testing.assert_allclose(vectors, x[j] - x[i] + shifts @ cell, atol=1e-12)
    np.testing.assert_allclose(d, np.linalg.norm(vectors, axis=1), rtol=1e-14)
    assert np.all(np.diff(i) >= 0)
    assert not shifts[:, ~pbc].any()


@pytest.mark.parametrize("seed", range(1, 60, 3))
def test_core_list_is_the_same_set(seed):
    """List order, owners, shifts and images of the core's own list, by brute force."""
    x, cell, pbc, cutoff = random_case(seed)
    n = len(x)
    a = build(x, cell, pbc, cutoff).arrays()
    assert sorted(a["order"]) == list(range(n))
    owner_row = np.concatenate([np.arange(n), a["owner"]])
    atom = a["order"][owner_row]
    np.testing.assert_array_equal(a["x"][:, :3], x[atom] + a["shift"])
    np.testing.assert_allclose(a["shift"], a["image"] @ cell, atol=1e-11)
    np.testing.assert_array_equal(a["x_built"], x[a["order"]])
    rows = np.repeat(np.arange(n), np.diff(a["first"]))
    shifts = a["image"][a["index"]] - a["image"][rows]
    assert as_tuples(a["order"][rows], atom[a["index"]], shifts) == brute_force(x, cell, pbc, cutoff)
    r2 = ((a["x"][a["index"], :3] - a["x"][rows, :3]) ** 2).sum(axis=1)
    assert np.all(r2 < cutoff**2)


@pytest.mark.parametrize("seed", range(0, 60, 4))
def test_against_ase(seed):
    neighborlist = pytest.importorskip("ase.neighborlist")
    x, cell, pbc, cutoff = random_case(seed)
    i, j, shifts = neighborlist.primitive_neighbor_list("ijS", pbc, cell, x, cutoff)
    assert as_tuples(*neighbor_list("ijS", x, cell, pbc, cutoff)) == as_tuples(i, j, shifts)


@pytest.mark.parametrize("seed", range(7, 60, 8))
def test_against_vesin(seed):
    vesin = pytest.importorskip("vesin")
    x, cell, _, cutoff = random_case(seed)
    i, j, shifts = vesin.NeighborList(cutoff=cutoff, full_list=True).compute(
        points=x, box=cell, periodic=True, quantities="ijS"
    )
    ours = neighbor_list("ijS", x, cell, True, cutoff)
    assert as_tuples(*ours) == as_tuples(i, j, np.asarray(shifts, dtype=int))


@pytest.mark.parametrize("seed", range(7, 60, 8))
def test_against_matscipy(seed):
    neighbours = pytest.importorskip("matscipy.neighbours")
    x, cell, pbc, cutoff = random_case(seed)
    i, j, shifts = neighbours.neighbour_list("ijS", positions=x, cell=cell, pbc=pbc, cutoff=cutoff)
    assert as_tuples(*neighbor_list("ijS", x, cell, pbc, cutoff)) == as_tuples(i, j, shifts)


def liquid(n, density=0.05, seed=1):
    rng = np.random.default_rng(seed)
    edge = (n / density) ** (1 / 3)
    return rng.random((n, 3)) * edge, np.eye(3) * edge


@pytest.mark.parametrize("periodic", [True, False])
def test_threads_do_not_change_a_bit(periodic):
    x, cell = liquid(20_000)
    pbc = [periodic] * 3
    one = build(x, cell, pbc, 5.0)
    expected = one.arrays()
    for threads in (2, 3, 8):
        many = build(x, cell, pbc, 5.0, threads)
        assert same(expected, many.arrays())


def test_list_is_symmetric_where_pairs_sit_at_the_cutoff():
    """A lattice whose third shell lies at the cutoff to the last bit or so."""
    a = 0.1 + 0.2
    grid = np.stack(np.meshgrid(*[np.arange(6.0)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    x = np.ascontiguousarray(grid * a + 0.037)
    for cutoff in (2 * a, np.sqrt(3) * a, a):
        i, j, shifts = neighbor_list("ijS", x, np.eye(3) * 6 * a, True, cutoff)
        assert len(i) > 0 or cutoff == a
        assert as_tuples(i, j, shifts) == as_tuples(j, i, -shifts)


def test_history_does_not_change_a_bit():
    x, cell = liquid(3000)
    expected = build(x, cell, [True] * 3, 4.0).arrays()
    used = build(*liquid(9000, seed=2), [True] * 3, 5.0)
    used.build(x[:100].copy(), None, None, 3.0)
    used.build(x, cell, np.ones(3, dtype=np.intc), 4.0)
    assert same(expected, used.arrays())


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512"])
def test_instruction_sets_agree(isa):
    code = (
        "import numpy, hashlib; from nnpcore import _core\n"
        "x = numpy.random.default_rng(5).random((4000, 3)) * 40\n"
        "g = numpy.stack(numpy.meshgrid(*[numpy.arange(12.0)] * 3), -1).reshape(-1, 3) * 1.5\n"
        "h = hashlib.sha256()\n"
        "for p, e, rc in ((x, 40, 5.0), (g.copy(), 18, 4.5)):\n"
        "    s = _core.NeighList(); s.build(p, numpy.eye(3) * e, numpy.ones(3, numpy.intc), rc)\n"
        "    a = s.arrays(); h.update(a['first'].tobytes() + a['index'].tobytes())\n"
        "print(h.hexdigest())"
    )

    def digest(name):
        env = {**os.environ, "NNPCORE_ISA": name}
        return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout

    assert len(digest(isa)) == 65
    assert digest(isa) == digest("")


@pytest.mark.parametrize("seed", [15, 23, 6, 31, 0])
@pytest.mark.parametrize("threads", [1, 3])
def test_refresh(seed, threads):
    x, cell, pbc, cutoff = random_case(seed)
    neigh = build(x, cell, pbc, cutoff)
    before = neigh.arrays()
    assert neigh.refresh(x, threads) == 0.0
    assert same(before, neigh.arrays())
    step = np.random.default_rng(seed).normal(size=x.shape) * 0.1
    moved = x + step
    largest = neigh.refresh(moved, threads)
    assert largest == pytest.approx(((moved - x) ** 2).sum(axis=1).max(), rel=1e-12)
    after = neigh.arrays()
    atom = before["order"][np.concatenate([np.arange(len(x)), before["owner"]])]
    np.testing.assert_array_equal(after["x"][:, :3], moved[atom] + before["shift"])
    assert neigh.refresh_sorted(np.ascontiguousarray(x[before["order"]]), threads) == 0.0
    assert same(before, neigh.arrays())
    assert neigh.refresh_sorted(np.ascontiguousarray(moved[before["order"]]), threads) == largest
    assert same(after, neigh.arrays())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [0, 41, 299])
def test_refresh_reports_positions_that_are_not_finite(value, where):
    x, cell = liquid(300)
    neigh = build(x, cell, [True] * 3, 3.0)
    x[where, 1] = value
    assert neigh.refresh(x, 1) == np.inf
    assert neigh.refresh(x, 2) == np.inf


def test_species_travel_with_atoms_and_ghosts():
    x, cell = liquid(200)
    species = (np.arange(200) % 7 - 1).astype(np.intc)
    neigh = _core.NeighList()
    neigh.build(x, cell, np.ones(3, dtype=np.intc), 4.0, 1, species)
    a = neigh.arrays()
    atom = a["order"][np.concatenate([np.arange(200), a["owner"]])]
    np.testing.assert_array_equal(a["x"][:, 3], species[atom])


def test_neighbours_lie_close_in_memory():
    x, cell = liquid(20_000)
    a = build(x, cell, [True] * 3, 5.0).arrays()
    near = np.abs(np.diff(a["x"][:20_000, :3], axis=0)).max(axis=1)
    assert np.median(near) < 10 < np.median(np.abs(np.diff(x, axis=0)).max(axis=1))


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_atoms(n):
    x = np.arange(3.0 * n).reshape(n, 3)
    for cell, pbc in ((None, None), (np.zeros((3, 3)), False), (np.eye(3) * 50, True)):
        i, d = neighbor_list("id", x, cell, pbc, 6.0)
        assert len(i) == (2 if n == 2 else 0)
        np.testing.assert_allclose(d, np.sqrt(27))
    neigh = build(x, None, None, 6.0)
    assert neigh.refresh(x) == 0.0
    with pytest.raises(ValueError, match="periodic axes need a cell"):
        neighbor_list("i", x, None, True, 6.0)


def test_atom_sees_its_own_images():
    i, j, d, shifts = neighbor_list("ijdS", np.array([[100.0, -50.0, 7.0]]), np.eye(3) * 2.0, True, 2.5)
    assert len(i) == 6 and not i.any() and not j.any()
    np.testing.assert_allclose(d, 2.0)
    assert sorted(map(tuple, np.abs(shifts))) == [(0, 0, 1)] * 2 + [(0, 1, 0)] * 2 + [(1, 0, 0)] * 2


def test_non_periodic_axes_may_have_any_vector():
    x = np.random.default_rng(3).random((40, 3)) * 5
    slab = np.array([[5.0, 0, 0], [1.0, 6.0, 0], [0, 0, 0]])
    expected = as_tuples(*neighbor_list("ijS", x, slab, [True, True, False], 3.0))
    slab[2] = slab[0] + slab[1]
    assert as_tuples(*neighbor_list("ijS", x, slab, [True, True, False], 3.0)) == expected
    wire = np.array([[0, 0, 0], [0, 0, 0], [2.0, 3.0, 1.0]])
    found = as_tuples(*neighbor_list("ijS", x, wire, [False, False, True], 3.0))
    assert found == brute_force(x, wire, np.array([False, False, True]), 3.0)


def test_coincident_atoms_are_listed():
    i, j, d = neighbor_list("ijd", np.zeros((3, 3)), np.eye(3) * 10, True, 1.0)
    assert len(i) == 6 and np.all(i != j) and np.all(d == 0)


def test_outlier_and_sparse_systems():
    rng = np.random.default_rng(8)
    cluster = rng.random((500, 3)) * 12
    expected = as_tuples(*neighbor_list("ijS", cluster, None, False, 3.0))
    far = np.concatenate([cluster, [[1e9, -1e9, 3e7]]])
    assert as_tuples(*neighbor_list("ijS", far, None, False, 3.0)) == expected
    gas = rng.random((300, 3)) * 1e7
    assert len(neighbor_list("i", gas, None, False, 1.0)) == 0


def test_dense_system():
    x = np.random.default_rng(9).random((300, 3)) * 3
    assert as_tuples(*neighbor_list("ijS", x, np.eye(3) * 3, True, 1.0)) == brute_force(
        x, np.eye(3) * 3, np.ones(3, bool), 1.0
    )


@pytest.mark.parametrize(
    ("cell", "cutoff", "text"),
    [
        (np.zeros((3, 3)), 3.0, "zero length"),
        ([[1, 0, 0], [0, 1, 0], [1, 1, 0]], 3.0, "singular"),
        ([[1, 0, 0], [0, 1, 0], [1, 1, 1e-8]], 3.0, "singular"),
        (np.eye(3) * 1e-4, 6.0, "periodic images"),
        (np.eye(3) * 10, 1e5, "periodic images"),
        (np.eye(3) * 1e13, 6.0, "too long"),
        (np.eye(3), 1e300, "cutoff"),
    ],
)
def test_geometry_errors(cell, cutoff, text):
    with pytest.raises(_core.NnpError, match=text):
        neighbor_list("ij", np.zeros((2, 3)), cell, True, cutoff)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e13, -1e13])
def test_core_names_the_bad_atom(bad):
    x, cell = liquid(100)
    neigh = build(x, cell, [True] * 3, 3.0)
    x[57, 2] = bad
    with pytest.raises(_core.NnpError, match="atom 57: position") as caught:
        neigh.build(x, cell, np.ones(3, dtype=np.intc), 3.0)
    assert caught.value.code == 1
    assert neigh.n_pairs == 0 and neigh.arrays()["order"].size == 0


def test_core_rejects_atoms_too_many_cells_away():
    with pytest.raises(_core.NnpError, match=r"atom 1: .* cells away"):
        neighbor_list("i", [[0, 0, 0], [1e11, 0, 0]], np.eye(3), True, 0.5)


def test_images_of_an_oblique_cell_fit_an_int():
    """The second vector is 10^6 of the first and a little more: images of the cell as given are large numbers."""
    cell = np.array([[1, 0, 0], [1e6 - 3, 1.01, 0], [0, 0, 1e4]])
    rows = 1.01 * np.arange(-199, 200)
    for cutoff in (50.3, 200.3):
        inside = rows[abs(rows) < cutoff]
        expected = (2 * np.floor(np.sqrt(cutoff**2 - inside**2)) + 1).sum() - 1
        assert build(np.zeros((1, 3)), cell, [True] * 3, cutoff).n_pairs == expected
    with pytest.raises(_core.NnpError, match="periodic images"):
        build(np.zeros((1, 3)), cell, [True] * 3, 3000.3)


@pytest.mark.parametrize("cutoff", [0.0, -1.0, np.nan, np.inf])
def test_core_rejects_cutoff(cutoff):
    with pytest.raises(_core.NnpError, match="cutoff"):
        build(np.zeros((1, 3)), None, None, cutoff)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"quantities": "ijx"}, "quantities: 'ijx'"),
        ({"quantities": ""}, "quantities"),
        ({"positions": np.zeros((4, 2))}, r"positions: shape \(4, 2\), expected \(4, 3\)"),
        ({"positions": [[0, 0, 0], [0, np.nan, 0]]}, "positions: row 1 is not finite"),
        ({"positions": [["a", "b", "c"]]}, "positions: not an array"),
        ({"cell": np.eye(2)}, "cell: shape"),
        ({"cell": np.full((3, 3), np.nan)}, "cell: row 0 is not finite"),
        ({"pbc": [True, False]}, "pbc: shape"),
        ({"cutoff": -1}, "cutoff: -1"),
        ({"cutoff": None}, "cutoff: None"),
        ({"cutoff": np.nan}, "cutoff: nan"),
    ],
)
def test_python_names_the_bad_argument(change, text):
    arguments = {"quantities": "ij", "positions": np.zeros((2, 3)), "cell": np.eye(3), "pbc": True, "cutoff": 1.0}
    with pytest.raises(ValueError, match=text):
        neighbor_list(**{**arguments, **change})


def test_forms_of_the_answer():
    x, cell = liquid(50)
    assert isinstance(neighbor_list("d", x, cell, True, 4.0), np.ndarray)
    j, i = neighbor_list("ji", x.tolist(), np.diag(cell), [1, 1, 1], 4)
    assert np.array_equal(i, neighbor_list("i", x, cell, True, 4.0)) and not np.array_equal(i, j)
