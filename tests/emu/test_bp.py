"""Symmetry functions on the device against the C core: inputs, forces, virials, rates along pair tangents."""

import numpy as np
import pytest
from emulator import EmulatedBackend
from reference import bp as reference
from reference.systems import TRICLINIC, bp_case, random_system

from nnpcore import Model, _core, n2p2
from nnpcore.bp import rescaled
from nnpcore.gpu import bp, gather
from nnpcore.gpu.system import System

TOLERANCE = {"float64": 1e-13, "float32": 1e-6}
CUTOFFS = [(kind, alpha) for kind in range(9) for alpha in (0.0, 0.3)]


def rows_of(system):
    """Rows of each species, as int32 arrays."""
    species = np.asarray(system.species)
    return [np.flatnonzero(species == s).astype(np.int32) for s in range(system.n_species)]


def layers(model, s):
    """[(W, b, activation), ...] of a species' network."""
    names = [*model.metadata["network"][s]["activation"], "linear"]
    weights = reference.layers_of(model.tensors, model.species[s])
    return [(w, b, name) for (w, b), name in zip(weights, names, strict=True)]


def network(model, s, inputs):
    """(energy [n], dE/d(input) [f, n]) by complex steps."""
    x = inputs.T.astype(np.float64)
    weights = [(w, b) for w, b, _ in layers(model, s)]
    names = [name for _, _, name in layers(model, s)][:-1]
    energy = reference.network(weights, names, x.astype(complex)).real
    slope = np.empty_like(x)
    for f in range(x.shape[1]):
        moved = x.astype(complex)
        moved[:, f] += 1j * reference.STEP
        slope[:, f] = reference.network(weights, names, moved).imag / reference.STEP
    return energy, slope.T


class Evaluation:
    """Energy, forces and inputs of a model on the device, with the network in NumPy."""

    def __init__(self, emu, model, frames, precision, skin=0.0, derivatives=True):
        self.derivatives = derivatives
        self.system = System(emu, [f[1:] for f in frames], len(model.species), model.cutoff, skin)
        self.system.build(np.concatenate([f[0] for f in frames]))
        functions = self.functions = bp.SymmetryFunctions(emu, model, precision)
        self.rows = rows_of(self.system)
        functions.prepare(self.system, self.rows)
        self.outside = np.full(self.system.n, -7, dtype=np.int32)
        gradient = gather.pair_array(self.system, precision)
        energies = np.zeros(self.system.n)
        self.inputs = []
        for s, rows in enumerate(self.rows):
            inputs = functions.inputs(self.system, s, rows, self.outside)
            self.inputs.append(inputs)
            if not derivatives:
                continue
            energies[rows], slope = network(model, s, inputs)
            energies[rows] += model.e0[s]
            functions.gradient(self.system, s, rows, np.ascontiguousarray(slope, dtype=inputs.dtype), gradient)
        assert not functions.overflow()
        self.energies = self.system.to_caller(energies)
        self.forces = self.system.to_caller(gather.forces(self.system, gradient, precision))
        self.virials = gather.row_virials(self.system, gradient, precision)


def frame(rng, n_species, n=14, cell=TRICLINIC, pbc=(True, True, True), **more):
    x, s = random_system(rng, n_species, n, np.eye(3) * 4.5 if cell is None else cell, **more)
    return x, np.asarray(s, dtype=np.int32), cell, np.array(pbc, dtype=np.int32)


def compare(model, f, out, precision, scale=1.0, k=0):
    """Forces to a part of the largest, energies to a part of theirs; float32 also to twice what the C core loses."""
    cell, pbc = f[2], f[3].astype(bool)
    exact = model.compute(f[0], f[1], cell=cell, pbc=pbc)
    single = model.compute(f[0], f[1], cell=cell, pbc=pbc, precision="float32")
    rows = slice(*out.system.structure_counts[k : k + 2])
    for name in ("forces", "energies"):
        expected = getattr(exact, name)
        size, lost = np.abs(expected).max(), np.abs(getattr(single, name) - expected).max()
        allowed = scale * TOLERANCE[precision] * size + (2 * lost if precision == "float32" else 0)
        assert np.abs(getattr(out, name)[rows] - expected).max() <= allowed, name
    return exact


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("n_species", [1, 3])
def test_every_type(emu, rng, n_species, precision):
    model = bp_case(n_species).model
    f = frame(rng, n_species)
    compare(model, f, Evaluation(emu, model, [f], precision), precision)


@pytest.mark.parametrize("warps, seed", [(1, 3), (2, 11), (8, 5)])
def test_blocks_and_orders_change_no_bit(rng, monkeypatch, warps, seed):
    model = bp_case(3).model
    frames = [frame(rng, 3, 9), frame(rng, 3, 6, None, (False, False, False)), frame(rng, 3, 7)]
    first = Evaluation(EmulatedBackend(), model, frames, "float64", skin=0.6)
    monkeypatch.setattr(bp, "WARPS", warps)
    again = Evaluation(EmulatedBackend(seed=seed), model, frames, "float64", skin=0.6)
    assert (first.forces == again.forces).all() and (first.energies == again.energies).all()
    assert all((a == b).all() for a, b in zip(first.inputs, again.inputs, strict=True))
    for k, f in enumerate(frames):
        compare(model, f, again, "float64", k=k)


def both(**more):
    """A radial, a wide and a narrow function with the same parameters."""
    gaussian = {"eta": 0.3, "rc": 4.4, **more}
    angle = {"lambda": -1, "zeta": 2, "partners": ["O", "O"], **gaussian}
    return [{"type": 2, "partners": ["O"], **gaussian}, {"type": 9, **angle}, {"type": 3, **angle}]


def trained(functions, symbols=("O",), seed=3, **more):
    model = Model.bp(list(symbols), functions, hidden=(4,), factor=more.pop("factor", None), **more)
    model.theta = np.random.default_rng(seed).normal(0, 0.5, model.n_parameters)
    return model


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("kind", range(9))
def test_cutoff_functions(emu, rng, kind, precision):
    model = trained([*both(cutoff=kind), *both(cutoff=kind, alpha=0.4, rs=1.0, rc=4.0)])
    f = frame(rng, 1, 10)
    compare(model, f, Evaluation(emu, model, [f], precision), precision, 3.0)


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("subtype", ["e", "p1", "p2", "p3", "p4", "ea", "p1a", "p2a", "p3a", "p4a"])
def test_compact_functions(emu, rng, subtype, precision):
    angle = {"r_low": 0.5, "r_high": 4.5, "theta_left": 40.0, "theta_right": 170.0, "subtype": subtype}
    radial = {"type": 20, "partners": ["O"], "r_low": 1.0, "r_high": 4.8, "subtype": subtype}
    weighted = {"type": 23, "r_low": 0.5, "r_high": 4.0, "subtype": subtype}
    pairs = [{"type": kind, "partners": ["O", "O"], **angle} for kind in (21, 22)]
    model = trained([radial, weighted, *pairs, {"type": 24, **angle}, {"type": 25, **angle}], factor=[[0.01] * 6])
    f = frame(rng, 1, 10)
    compare(model, f, Evaluation(emu, model, [f], precision), precision, 3.0)


@pytest.mark.parametrize("precision", TOLERANCE)
def test_powers(emu, rng, precision):
    """Integer powers by products, the others by logarithms; more functions than one sweep sums."""
    zetas = [1, 2, 3, 4, 5, 6, 7, 11, 16, 33, 64, 65, 128, 1.5, 2.7, 17.3]
    functions = [
        {"type": 3, "partners": ["O", "O"], "eta": eta, "lambda": power, "zeta": zeta, "rc": 4.6}
        for eta in (0.01, 0.1)
        for zeta in zetas
        for power in (1, -1, 0.5)
    ]
    model = trained(functions)
    tables = bp.Tables(model, precision)
    assert tables.centres[0]["n_sweeps"] == 2
    f = frame(rng, 1, 10)
    compare(model, f, Evaluation(emu, model, [f], precision), precision, 3.0)


def test_climb():
    for n in range(1, 65):
        for start in range(1, n + 1):
            steps = bp.climb(n, start)
            if steps is None:
                assert n >> (n.bit_length() - start.bit_length()) != start
                continue
            power = start
            for k in range(steps[0]):
                power = 2 * power + (steps[1] >> k & 1)
            assert power == n


@pytest.mark.parametrize("precision", TOLERANCE)
def test_tables_are_the_structs(emu, precision):
    model = bp_case(3).model
    tables = bp.Tables(model, precision)
    kinds = bp.dtypes(tables.real)
    names = ("centre", "radius", "radial", "use", "sweep", "group", "member", "function")
    for s in range(3):
        out = np.zeros(11, dtype=np.int32)
        kernel = emu.kernel(bp.KERNELS, "nnp_bp_sizes", precision)
        kernel((1,), (1,), (tables.data, np.int32(s), np.int32(57), out))
        assert list(out[:8]) == [kinds[name].itemsize for name in names]
        assert list(out[8:]) == [tables.room(s, mode, 57) for mode in range(3)]


def test_odd_cells(emu, rng):
    """Cells smaller than the cutoff, open axes, an atom alone, a species that is not there."""
    model = bp_case(3).model
    small = np.diag([2.4, 2.9, 2.6])
    frames = [
        frame(rng, 3, 2, small, min_distance=1.4),
        frame(rng, 3, 9, TRICLINIC, (True, False, True)),
        frame(rng, 3, 5, None, (False, False, False), min_distance=1.4),
        (np.zeros((1, 3)), np.array([1], dtype=np.int32), None, np.zeros(3, dtype=np.int32)),
        frame(rng, 1, 6),
    ]
    out = Evaluation(emu, model, frames, "float64")
    for k, f in enumerate(frames):
        if len(f[0]) > 1:
            compare(model, f, out, "float64", 3.0, k)
    assert (out.system.to_caller(np.arange(out.system.n)) >= 0).all()


def test_virials(emu, rng):
    model = bp_case(1).model
    f = frame(rng, 1)
    out = Evaluation(emu, model, [f], "float64")
    total = out.virials.sum(axis=1)
    exact = model.compute(f[0], f[1], cell=f[2], pbc=True).virial
    expected = [exact[0, 0], exact[1, 1], exact[2, 2], exact[0, 1], exact[0, 2], exact[1, 2]]
    assert np.abs(total - expected).max() <= 1e-12 * np.abs(exact).max()


def test_extrapolation_is_counted(emu, rng):
    start = bp_case(3).model
    f = frame(rng, 3)
    g = reference.fingerprints(start.metadata, f[0], f[1], f[2], True)
    own = [np.array([g[i] for i in range(14) if f[1][i] == s]) for s in range(3)]
    low = [values.min(axis=0) + 0.1 * np.ptp(values, axis=0) - 1e-6 for values in own]
    high = [values.max(axis=0) + 1e-6 for values in own]
    scale = start.metadata["bp"]
    model = rescaled(start, scale["centre"], scale["factor"], low, high)
    out = Evaluation(emu, model, [f], "float64")
    work = _core.Workspace(model.core, 1, 0, 0.0)
    work.compute(f[1], f[0], f[2], f[3], True, False)
    assert work.outside == (int((out.outside > 0).sum()), int(out.outside.sum())) and out.outside.any()


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("n_species", [1, 3])
def test_rates(emu, rng, n_species, precision):
    """dG/dt along pair tangents is the sum over pairs of dG/dr_ij times them; inputs are those of inputs()."""
    model = bp_case(n_species).model
    frames = [frame(rng, n_species, 8), frame(rng, n_species, 5, None, (False, False, False), min_distance=1.4)]
    out = Evaluation(emu, model, frames, precision)
    system, functions = out.system, out.functions
    force_slope, virial_slope = rng.normal(size=(system.n, 3)), rng.normal(size=(2, 9))
    for s, rows in enumerate(out.rows):
        padded = np.concatenate([rows[:2], [-1], rows[2:]]).astype(np.int32)
        live = padded >= 0
        inputs, rates = functions.rates(system, s, padded, force_slope, virial_slope)
        assert np.abs(inputs[:, live] - out.inputs[s]).max() <= 10 * TOLERANCE[precision] * np.abs(out.inputs[s]).max()
        for f in rng.permutation(len(rates))[:6]:
            de_dg, gradient = np.zeros((len(rates), len(rows)), rates.dtype), gather.pair_array(system, precision)
            de_dg[f] = 1
            functions.gradient(system, s, rows, de_dg, gradient)
            expected = [along(system, i, gradient, force_slope, virial_slope) for i in rows]
            size = np.abs(rates[:, live]).max()
            assert np.abs(rates[f, live] - expected).max() <= 5 * TOLERANCE[precision] * size


def along(system, i, gradient, force_slope, virial_slope):
    """sum_p g_p . (lambda_i - lambda_j - M r_ij)"""
    total, first = 0.0, system.slice_first[i // 32] + i % 32
    for k in range(system.count[i]):
        p = first + 32 * k
        j = system.index[p]
        owner = j if j < system.n else system.owner[j - system.n]
        m = virial_slope[system.structure[i]].reshape(3, 3)
        tangent = force_slope[i] - force_slope[owner] - m @ (system.x[j, :3] - system.x[i, :3])
        total += gradient[:, p].astype(float) @ tangent
    return total


def test_room_for_neighbours(emu, rng):
    """prepare() counts with the skin; too little room is seen, and never written beyond."""
    model = bp_case(1).model
    f = frame(rng, 1)
    out = Evaluation(emu, model, [f], "float64", skin=1.0)
    d = out.system.x[None, :, :3] - out.system.x[: out.system.n, None, :3]
    near = np.linalg.norm(d, axis=-1)
    reach = max(
        e["rc"] if "rc" in e else e["r_high"]
        for e in model.metadata["bp"]["functions"][0]
        if e["type"] not in bp.RADIAL
    )
    most = ((near > 0) & (near < reach + 1.0)).sum(axis=1).max()
    assert most <= out.functions.capacity[0] <= most + 1
    out.functions.capacity = [3]
    out.functions.inputs(out.system, 0, out.rows[0], out.outside)
    assert out.functions.overflow()


@pytest.mark.parametrize("name", ["cutoff1_alpha0.3", "cutoff6_alpha0"])
def test_values_of_n2p2(emu, shared, name):
    """438 functions of every type in a cluster and a cell smaller than the cutoff, as n2p2 itself has them."""
    folder = shared / "golden" / "n2p2" / "sftypes" / name
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    data, (species, table) = np.load(folder / "golden.npz"), n2p2.functions(folder / "input.nn", "eV/A")
    model = Model.bp(species, table, hidden=[1])
    for k in range(2):
        cell = data[f"s{k}_cell"] if data[f"s{k}_cell"].size else None
        atoms = np.array([model.numbers.index(int(z)) for z in data[f"s{k}_Z"]], dtype=np.int32)
        pbc = np.full(3, cell is not None, dtype=np.int32)
        out = Evaluation(emu, model, [(data[f"s{k}_pos"], atoms, cell, pbc)], "float64", derivatives=False)
        offset, order = data[f"s{k}_G_offset"].astype(int), np.asarray(out.system.order)
        for s, rows in enumerate(out.rows):
            # n2p2 leaves out exactly collinear triplets, which the periodic images of the second have
            good = [not (k == 1 and f["type"] == 22 and f["subtype"] == "p4a") for f in table[species[s]]]
            for place, row in enumerate(rows):
                i = order[row]
                expected = data[f"s{k}_G_raw"][offset[i] : offset[i + 1]]
                error = np.abs(out.inputs[s][:, place] - expected) / (np.abs(expected) + 1e-3)
                assert error[good].max() <= 1e-10


@pytest.mark.parametrize("name, units, n", [("H2O_RPBE-D3", None, 24), ("Cu2S_PBE", "eV/A", 12)])
def test_published_potentials(emu, shared, rng, name, units, n):
    """Networks that n2p2 publishes, on a few atoms that touch all over their long cutoffs."""
    folder = shared / "golden" / "n2p2" / name
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    model = n2p2.load(folder, units)
    cell = np.diag([6.9, 7.3, 7.1]) if name[0] == "H" else np.diag([6.0, 6.3, 6.6])
    f = frame(rng, len(model.species), n, cell, min_distance=1.1)
    for precision in TOLERANCE:
        out = Evaluation(emu, model, [f], precision, derivatives=name[0] == "H" or precision == "float64")
        if out.derivatives:
            compare(model, f, out, precision, 10.0)
