"""Nothing, one atom, and bad input: the right result, or an error that names what is wrong."""

import numpy as np
import pytest
from reference import msr, systems
from reference.systems import CASES, RS, TRICLINIC, agree, case, msr_case, random_system, spec

ERRORS = (ValueError, RuntimeError)  # InputError, NnpError
PRECISIONS = ("float64", "float32")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_atoms(name, precision):
    model = case(name).model
    for cell, pbc in ((None, False), (TRICLINIC, True)):
        out = model.compute(np.zeros((0, 3)), [], cell=cell, pbc=pbc, virials=True, precision=precision)
        assert out.energy == 0.0 and out.energies.shape == (0,) and out.forces.shape == (0, 3)
        assert out.virials.shape == (0, 3, 3) and not out.virial.any()
        assert out.stress is None if cell is None else not out.stress.any()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_one_atom(name, precision):
    c = case(name)
    for t in range(c.n_species):
        out = c.model.compute([[3.0, -2.0, 1e3]], [t], pbc=False, precision=precision)
        tolerance = 1e-13 if precision == "float64" else 1e-6
        agree(out.energies, c.reference(np.zeros((1, 3)), [t]).energies, tolerance)
        assert not out.forces.any() and not out.virial.any()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_coincident_atoms(name, precision, rng):
    """Two atoms on one point: an error naming one of them, never a number."""
    c = case(name)
    x, s = random_system(rng, c.n_species, 6)
    s[:] = 0
    for cell, pbc in ((None, False), (TRICLINIC, True)):
        for other in (x[2], x[2] + (TRICLINIC[0] if pbc else 0), x[2] + 1e-200):
            bad = x.copy()
            bad[5] = other
            with pytest.raises(ERRORS, match=r"\b(2|5)\b"):
                c.model.compute(bad, s, cell=cell, pbc=pbc, precision=precision)


@pytest.mark.parametrize("name", ["mW", "msr3"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_positions(name, bad, rng):
    c = case(name)
    x, s = random_system(rng, c.n_species, 6)
    x[4, 1] = bad
    for cell, pbc in ((None, False), (TRICLINIC, True)):
        with pytest.raises(ERRORS, match=r"positions.*\b4\b|atom 4\b"):
            c.model.compute(x, s, cell=cell, pbc=pbc)


@pytest.mark.parametrize("value", [1e9, 1e300])
def test_absurd_positions(value, rng):
    """Far away is an error or right, and quick either way; in a cluster distance alone is no error."""
    c = case("msr3")
    x, s = random_system(rng, c.n_species, 6)
    far = x.copy()
    far[4] += value
    expected = c.reference(np.delete(x, 4, axis=0), np.delete(s, 4)).energy + c.reference(x[:1], s[4:5]).energy
    try:
        out = c.model.compute(far, s, pbc=False)
    except ERRORS as error:
        assert value > 1e100 or "4" in str(error)
    else:
        assert out.energy == pytest.approx(expected, rel=1e-12)
    try:
        out = c.model.compute(far, s, cell=TRICLINIC, pbc=True)
    except ERRORS:
        pass
    else:
        assert np.isfinite(out.energy) and np.isfinite(out.forces).all()


BAD_CELLS = {
    "singular": [[5, 0, 0], [10, 0, 0], [0, 0, 6]],
    "zero": np.zeros((3, 3)),
    "nan": [[5, 0, 0], [0, np.nan, 0], [0, 0, 6]],
    "inf": [[5, 0, 0], [0, np.inf, 0], [0, 0, 6]],
    "sliver": [[5, 0, 0], [5, 1e-9, 0], [0, 0, 6]],
    "tiny": np.eye(3) * 1e-8,
    "denormal": np.eye(3) * 1e-310,
    "huge": np.eye(3) * 1e300,
}


@pytest.mark.parametrize("cell", BAD_CELLS)
def test_bad_cells(cell):
    """An error that says cell (or finite energies where the cell is merely huge), in bounded time and memory."""
    model = case("msr1").model
    x = np.array([[0.1, 0.2, 0.3], [1.7, 0.4, 1.9]])
    try:
        out = model.compute(x, [0, 0], cell=BAD_CELLS[cell], pbc=True)
    except ERRORS as error:
        assert "cell" in str(error) or "image" in str(error)
    else:
        assert cell == "huge" and out.energy == pytest.approx(model.compute(x, [0, 0], pbc=False).energy, rel=1e-12)


def test_singular_cell_of_a_non_periodic_axis_is_fine(rng):
    c = case("mW")
    x, s = random_system(rng, 1, 5)
    expected = c.model.compute(x, s, pbc=False)
    for cell in (np.zeros((3, 3)), [[1, 2, 3], [1, 2, 3], [0, 0, 0]]):
        out = c.model.compute(x, s, cell=cell, pbc=False)
        agree(out.forces, expected.forces, 1e-13)
        assert out.stress is None


def test_unknown_species_are_named():
    model = case("msr2").model
    x = [[0.0, 0, 0], [2.0, 0, 0]]
    with pytest.raises(ERRORS, match="Xe"):
        model.compute(x, ["O", "Xe"], pbc=False)
    for index in (2, -1, 1000000):
        with pytest.raises(ERRORS, match="atom 1"):
            model.compute(x, [0, index], pbc=False)


def test_symbols_and_indices_are_the_same(rng):
    model = case("msr2").model
    x, s = random_system(rng, 2, 6)
    out = model.compute(x, [model.species[t] for t in s], pbc=False)
    assert (out.forces == model.compute(x, s, pbc=False).forces).all()


@pytest.mark.parametrize(
    "positions, species, keywords, named",
    [
        ([[0, 0]], [0], {}, "positions"),
        ([[0, 0, 0]], [0, 0], {}, "species"),
        ([[0, 0, 0]], [0], {"cell": np.eye(2)}, "cell"),
        ([["a", 0, 0]], [0], {}, "positions"),
        ([[0, 0, 0]], [0.5], {}, "species"),
        ([[0, 0, 0]], [0], {"pbc": (True, False)}, "pbc"),
        ([[0, 0, 0]], [0], {"precision": "float16"}, "precision"),
        ([[0, 0, 0]], [0], {"n_threads": -1}, "thread"),
    ],
)
def test_bad_arguments_are_named(positions, species, keywords, named):
    with pytest.raises(ERRORS, match=named):
        case("msr1").model.compute(positions, species, **{"pbc": False, **keywords})


def test_nan_weights_are_refused():
    model = case("msr1").model.replace()
    theta = np.array(model.theta)
    theta[7] = np.nan
    with pytest.raises(ERRORS):
        model.theta = theta
    assert np.isfinite(model.theta).all()


def test_an_error_leaves_the_model_usable(rng):
    c = case("msr3")
    x, s = random_system(rng, 3, 8)
    expected = c.model.compute(x, s, cell=TRICLINIC, pbc=True)
    bad = x.copy()
    bad[1] = bad[0]
    with pytest.raises(ERRORS):
        c.model.compute(bad, s, cell=TRICLINIC, pbc=True)
    out = c.model.compute(x, s, cell=TRICLINIC, pbc=True)
    assert out.energy == expected.energy and (out.forces == expected.forces).all()


def test_any_layout_of_the_arrays(rng):
    """Fortran order, strides, other types: the same bits; inputs untouched."""
    c = case("msr2")
    x, s = random_system(rng, 2, 9)
    expected = c.model.compute(x, s, cell=TRICLINIC, pbc=True)
    wide = np.zeros((9, 6))
    wide[:, ::2] = x
    x.flags.writeable = False
    for positions, species in ((np.asfortranarray(x), s.astype(np.int64)), (wide[:, ::2], list(s)), (x.tolist(), s)):
        out = c.model.compute(positions, species, cell=np.asfortranarray(TRICLINIC), pbc=[1, 1, 1])
        assert (out.forces == expected.forces).all() and out.energy == expected.energy


def test_ridiculous_numbers_of_neighbours():
    """No cap on neighbours: a cell of 0.5 A has thousands within the cutoff."""
    c = case("zbl")
    x = np.zeros((1, 3))
    cell = np.eye(3) * 0.5
    agree(c.model.compute(x, [2], cell=cell, pbc=True).energy, c.reference(x, [2], cell, True).energy, 1e-12)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("alpha", [5.0, -5.0, 20.0])
def test_close_pairs_of_the_short_range_branch(alpha, precision):
    """x = A/r grows without bound: exp(alpha x) is right, or an error names the atoms; never a silent wrong number."""
    c = msr_case(1, RS)
    theta = np.array(c.model.theta)
    theta[c.model.slices["msr.O.alpha"]] = [alpha, 1.0, -alpha]
    model = c.model.replace(theta=theta)
    limit = 80 if precision == "float32" else 700  # of x in exp(x)
    for r in (1.0, 0.3, 0.1, 0.05, 0.02, 0.01, 3e-3, 1.1e-3):
        largest_exponent = abs(alpha) * msr.switch(np.array([r]), systems.RC, RS)[0][0]
        x = np.array([[0.0, 0, 0], [r, 0, 0], [0, 1.5, 0.2]])
        with np.errstate(all="ignore"):
            expected = msr.compute(spec(1, RS), theta, x, [0, 0, 0])
        try:
            out = model.compute(x, [0, 0, 0], pbc=False, precision=precision)
        except ERRORS as error:
            assert largest_exponent > limit / 3, f"r = {r}: refused without need: {error}"
            assert "atoms 0 and 1" in str(error)
            continue
        assert np.isfinite(expected.energy), f"r = {r}: {out.energy} where float64 itself overflows"
        tolerance = 1e-11 if precision == "float64" else 2e-4
        agree(out.energy, expected.energy, tolerance, f"r = {r}")
        agree(out.forces, expected.forces, tolerance, f"r = {r}")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_never_inf_or_nan(name, precision):
    """Very close pairs: finite results, or an error that names an atom."""
    c = case(name)
    for r in (0.1, 1e-2, 2e-3, 1.1e-3):
        x = np.array([[0.0, 0, 0], [r, 0, 0], [0, 1.5, 0.2]])
        try:
            out = c.model.compute(x, [0, min(1, c.n_species - 1), 0], pbc=False, precision=precision)
        except ERRORS as error:
            assert "0" in str(error) or "1" in str(error)
        else:
            assert np.isfinite(out.energy) and np.isfinite(out.forces).all() and np.isfinite(out.virial).all()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("exponent", [5.0, 40.0, 300.0])
def test_large_exponents(exponent, precision):
    """As large as the file format allows: the right result, or an error; not nan."""
    c = msr_case(1)
    theta = np.array(c.model.theta)
    theta[c.model.slices["msr.O.alpha"]] = exponent
    theta[c.model.slices["msr.O.triplet"]] = exponent
    model = c.model.replace(theta=theta)
    x = np.array([[0.0, 0, 0], [0.6, 0, 0], [0, 0.7, 0.2]])
    with np.errstate(all="ignore"):
        expected = msr.compute(spec(1), theta, x, [0, 0, 0])
    try:
        out = model.compute(x, [0, 0, 0], pbc=False, precision=precision)
    except ERRORS:
        assert exponent > 5
    else:
        agree(out.energy, expected.energy, 1e-12 if precision == "float64" else 1e-5)
        agree(out.forces, expected.forces, 1e-12 if precision == "float64" else 1e-5)


def test_large_cells_of_many_atoms_far_from_the_origin(rng):
    """Positions of 1e6 A: what rounding of the coordinates leaves, no more."""
    c = case("mW")
    x, s = random_system(rng, 1, 12, min_distance=2.0)
    shift = np.array([3e5, -2e5, 1e6])
    exact = c.reference((x + shift) - shift, s, TRICLINIC, True)  # positions as rounded far out
    out = c.model.compute(x + shift, s, cell=TRICLINIC, pbc=True)
    agree(out.forces, exact.forces, 1e-8)
