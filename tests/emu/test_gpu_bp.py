"""Symmetry functions on the device against the C core: inputs, forces, virials, rates along pair tangents."""

from types import SimpleNamespace

import numpy as np
import pytest
from emulator import EmulatedBackend
from reference import bp as reference
from reference.systems import TRICLINIC, ZBL_TERM, bp_case, random_system

from nnpcore import Model, _core, md, n2p2
from nnpcore.bp import rescaled
from nnpcore.gpu import bp, gather
from nnpcore.gpu.backend import GpuError
from nnpcore.gpu.model import Evaluator, Places
from nnpcore.gpu.system import CLASH
from nnpcore.gpu.train import Trainer
from nnpcore.validate import InputError

TOLERANCE = {"float64": 1e-13, "float32": 1e-6}
CUTOFFS = [(kind, alpha) for kind in range(9) for alpha in (0.0, 0.3)]


class Evaluation:
    """Energies, forces and inputs of frames [(x, species, cell, pbc)] from the device, in NumPy."""

    def __init__(self, device, model, frames, precision, skin=0.0, derivatives=True):
        host = device.host
        self.evaluator = Evaluator(device, model, precision)
        self.functions = self.evaluator.fingerprints
        self.system = self.evaluator.system([f[1:] for f in frames], skin)
        self.system.build(np.concatenate([f[0] for f in frames]))
        self.places = self.evaluator.places(self.system)
        self.inputs = [host(self.functions.inputs(self.system, p)[0]) for p in self.places]
        if derivatives:
            energies, gradient = self.evaluator.evaluate(self.system)
            self.energies = host(self.system.to_caller(energies))
            self.forces = host(self.system.to_caller(gather.forces(self.system, gradient, precision)))
            self.virials = host(gather.row_virials(self.system, gradient, precision))


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
def test_every_type(device, rng, n_species, precision):
    model = bp_case(n_species).model
    f = frame(rng, n_species)
    compare(model, f, Evaluation(device, model, [f], precision), precision)


@pytest.mark.parametrize("warps, seed", [(1, 3), (2, 11), (3, 5)])
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
def test_cutoff_functions(device, rng, kind, precision):
    model = trained([*both(cutoff=kind), *both(cutoff=kind, alpha=0.4, rs=1.0, rc=4.0)])
    f = frame(rng, 1, 10)
    compare(model, f, Evaluation(device, model, [f], precision), precision, 3.0)


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("subtype", ["e", "p1", "p2", "p3", "p4", "ea", "p1a", "p2a", "p3a", "p4a"])
def test_compact_functions(device, rng, subtype, precision):
    angle = {"r_low": 0.5, "r_high": 4.5, "theta_left": 40.0, "theta_right": 170.0, "subtype": subtype}
    radial = {"type": 20, "partners": ["O"], "r_low": 1.0, "r_high": 4.8, "subtype": subtype}
    weighted = {"type": 23, "r_low": 0.5, "r_high": 4.0, "subtype": subtype}
    pairs = [{"type": kind, "partners": ["O", "O"], **angle} for kind in (21, 22)]
    model = trained([radial, weighted, *pairs, {"type": 24, **angle}, {"type": 25, **angle}], factor=[[0.01] * 6])
    f = frame(rng, 1, 10)
    compare(model, f, Evaluation(device, model, [f], precision), precision, 3.0)


@pytest.mark.parametrize("precision", TOLERANCE)
def test_powers(device, rng, precision):
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
    compare(model, f, Evaluation(device, model, [f], precision), precision, 3.0)


@pytest.mark.parametrize("precision", TOLERANCE)
def test_moments(device, rng, precision):
    """Wide functions with small integer powers: several radii, degrees and channels, beside functions that are not."""
    functions = {}
    for s, symbol in enumerate(("O", "Si")):
        wide = []
        for pair, zetas in ((["O", "O"], (1, 2, 3, 4)), (["O", "Si"], (1, 2)), (["Si", "Si"], (1,))):
            common = {"type": 9, "partners": pair, "rc": 4.4}
            for eta in (0.05, 0.2):
                for zeta in zetas[: 4 - s]:
                    wide += [{**common, "eta": eta, "lambda": power, "zeta": zeta} for power in (1, -1, 0.3)]
        functions[symbol] = [*wide, *({**wide[0], "type": kind, "zeta": 16} for kind in (3, 9))]
    model = trained(functions, ("O", "Si"))
    tables = bp.Tables(model, precision)
    assert [c["n_sets"] for c in tables.centres] == [4, 4]
    assert {row[bp.SWEEP.index("by_moments")] for row in tables.rows["sweep"]} == {0, 1}
    f = frame(rng, 2, 12)
    compare(model, f, Evaluation(device, model, [f], precision), precision, 3.0)


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
def test_tables_are_the_structs(device, precision):
    model = bp_case(3).model
    tables = bp.Tables(model, precision)
    kinds = bp.dtypes(tables.real)
    names = ("centre", "radius", "radial", "use", "sweep", "group", "member", "function")
    for s in range(3):
        out, data = device.device(np.zeros(11, dtype=np.int32)), device.device(tables.data)
        kernel = device.kernel(bp.KERNELS, "nnp_bp_sizes", precision)
        kernel((1,), (1,), (data, np.int32(s), np.int32(57), out))
        out = device.host(out)
        assert list(out[:8]) == [kinds[name].itemsize for name in names]
        assert list(out[8:]) == [tables.room(s, mode, 57) for mode in range(3)]


def test_odd_cells(device, rng):
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
    out = Evaluation(device, model, frames, "float64")
    for k, f in enumerate(frames):
        if len(f[0]) > 1:
            compare(model, f, out, "float64", 3.0, k)


def test_virials(device, rng):
    model = bp_case(1).model
    f = frame(rng, 1)
    out = Evaluation(device, model, [f], "float64")
    total = out.virials.sum(axis=1)
    exact = model.compute(f[0], f[1], cell=f[2], pbc=True).virial
    expected = [exact[0, 0], exact[1, 1], exact[2, 2], exact[0, 1], exact[0, 2], exact[1, 2]]
    assert np.abs(total - expected).max() <= 1e-12 * np.abs(exact).max()


def test_extrapolation_is_counted(device, rng):
    start = bp_case(3).model
    f = frame(rng, 3)
    g = reference.fingerprints(start.metadata, f[0], f[1], f[2], True)
    own = [np.array([g[i] for i in range(14) if f[1][i] == s]) for s in range(3)]
    low = [values.min(axis=0) + 0.1 * np.ptp(values, axis=0) - 1e-6 for values in own]
    high = [values.max(axis=0) + 1e-6 for values in own]
    scale = start.metadata["bp"]
    model = rescaled(start, scale["centre"], scale["factor"], low, high)
    out = Evaluation(device, model, [f], "float64")
    work = _core.Workspace(model.core, 1, 0, 0.0)
    work.compute(f[1], f[0], f[2], f[3], True, False)
    assert work.outside == out.functions.outside() and work.outside[1] > 0
    assert Evaluation(device, start, [f], "float64").functions.outside() == (0, 0)


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("n_species", [1, 3])
def test_rates(device, rng, n_species, precision):
    """dG/dt along pair tangents is the sum over pairs of dG/dr_ij times them; inputs are those of inputs()."""
    model = bp_case(n_species).model
    frames = [frame(rng, n_species, 8), frame(rng, n_species, 5, None, (False, False, False), min_distance=1.4)]
    out = Evaluation(device, model, frames, precision)
    system, functions = out.system, out.functions
    slopes = rng.normal(size=(system.n, 3)), rng.normal(size=(2, 9))
    tangent = SimpleNamespace(forces=device.device(slopes[0]), virials=device.device(slopes[1]))
    for places, expected_inputs in zip(out.places, out.inputs, strict=True):
        rows = device.host(places.rows)
        padded = np.concatenate([rows[:2], [-1], rows[2:]]).astype(np.int32)
        live = padded >= 0
        inputs, rates, _ = functions.rates(system, Places(places.species, device.device(padded), 0), tangent)
        inputs, rates = device.host(inputs), device.host(rates)
        size = np.abs(expected_inputs).max()
        assert np.abs(inputs[:, live] - expected_inputs).max() <= 10 * TOLERANCE[precision] * size
        for f in rng.permutation(len(rates))[:6]:
            de_dg, gradient = np.zeros((len(rates), len(rows)), rates.dtype), gather.pair_array(system, precision)
            de_dg[f] = 1
            functions.gradient(system, places, device.device(de_dg), None, gradient, False)
            expected = along(system, rows, device.host(gradient), slopes)
            assert np.abs(rates[f, live] - expected).max() <= 5 * TOLERANCE[precision] * np.abs(rates[:, live]).max()


def along(system, rows, gradient, slopes):
    """sum_p g_p . (lambda_i - lambda_j - M r_ij) of each row i"""
    host = system.backend.host
    first, count, index, owner = (host(a) for a in (system.slice_first, system.count, system.index, system.owner))
    x, structure, sums = host(system.x)[:, :3], host(system.structure), []
    for i in rows:
        p = first[i // 32] + i % 32 + 32 * np.arange(count[i])
        j = index[p]
        other = np.where(j < system.n, j, np.append(owner, 0)[np.maximum(j - system.n, 0)])
        m = slopes[1][structure[i]].reshape(3, 3)
        tangent = slopes[0][i] - slopes[0][other] - (x[j] - x[i]) @ m.T
        sums.append((gradient[:, p].T.astype(float) * tangent).sum())
    return np.array(sums)


def test_room_for_neighbours(device, rng):
    """Counted with the skin; where it is too little nothing is written beyond it, and the results are NaN."""
    model = bp_case(1).model
    f = frame(rng, 1)
    out = Evaluation(device, model, [f], "float64", skin=1.0)
    x = device.host(out.system.x)[:, :3]
    d = x[None] - x[: out.system.n, None]
    near = np.linalg.norm(d, axis=-1)
    angular = [e for e in model.metadata["bp"]["functions"][0] if e["type"] not in bp.RADIAL]
    reach = max(e["rc"] if "rc" in e else e["r_high"] for e in angular)
    most = ((near > 0) & (near < reach + 1.0)).sum(axis=1).max()
    places = out.places[0]
    assert most <= places.near <= most + 1
    places.near = 3
    gradient = out.evaluator.evaluate(out.system)[1]
    forces = device.host(gather.forces(out.system, gradient, "float64"))
    tangent = SimpleNamespace(forces=device.device(0 * f[0]), virials=device.device(np.zeros((1, 9))))
    rates = out.functions.rates(out.system, places, tangent)[0]
    inputs = out.functions.inputs(out.system, places)[0]
    assert np.isnan(forces).all() and np.isnan(device.host(rates)).all() and np.isnan(device.host(inputs)).all()
    places.near = bp.MOST_NEAR
    with pytest.raises(GpuError, match="32767 neighbours of an atom are too many"):
        out.evaluator.evaluate(out.system)


def test_atoms_too_close(device):
    model = bp_case(1).model
    x = np.array([[0.0, 0, 0], [0.0, 0, 5e-4], [2.0, 0, 0]])
    system = Evaluator(device, model, "float64").system([(np.zeros(3, np.int32), None, np.zeros(3, np.int32))])
    with pytest.raises(InputError, match=r"atoms 0 and 1 are closer than 0\.001"):
        system.build(x)
    out = Evaluation(device, model, [(x * 2.5, np.zeros(3, np.int32), None, np.zeros(3, np.int32))], "float64")
    out.system.refresh(device.device(x[device.host(out.system.order)]))  # the list stays
    out.evaluator.evaluate(out.system)
    with pytest.raises(InputError, match=r"atoms 0 and 1 are closer than 0\.001"):
        out.system.check(CLASH)


def test_model_compute(device, rng):
    """Model.compute(device="gpu"): everything that it returns, with a classical potential under the network."""
    model = bp_case(3, terms=[ZBL_TERM]).model
    f = frame(rng, 3)
    a = model.compute(f[0], f[1], cell=f[2], pbc=True, virials=True)
    b = model.compute(f[0], f[1], cell=f[2], pbc=True, virials=True, device="gpu")
    for name in ("energy", "energies", "forces", "virial", "virials", "stress"):
        want = getattr(a, name)
        np.testing.assert_allclose(getattr(b, name), want, rtol=0, atol=1e-13 * np.abs(want).max())


@pytest.mark.parametrize("name", ["cutoff1_alpha0.3", "cutoff6_alpha0"])
def test_values_of_n2p2(device, shared, name):
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
        out = Evaluation(device, model, [(data[f"s{k}_pos"], atoms, cell, pbc)], "float64", derivatives=False)
        offset, order = data[f"s{k}_G_offset"].astype(int), device.host(out.system.order)
        for places, inputs in zip(out.places, out.inputs, strict=True):
            # n2p2 leaves out exactly collinear triplets, which the periodic images of the second have
            good = [not (k == 1 and f["type"] == 22 and f["subtype"] == "p4a") for f in table[species[places.species]]]
            for place, row in enumerate(device.host(places.rows)):
                i = order[row]
                expected = data[f"s{k}_G_raw"][offset[i] : offset[i + 1]]
                error = np.abs(inputs[:, place] - expected) / (np.abs(expected) + 1e-3)
                assert error[good].max() <= 1e-10


@pytest.mark.parametrize("name, units, n", [("H2O_RPBE-D3", None, 24), ("Cu2S_PBE", "eV/A", 12)])
def test_published_potentials(device, shared, rng, name, units, n):
    """Networks that n2p2 publishes, on a few atoms that touch all over their long cutoffs."""
    folder = shared / "golden" / "n2p2" / name
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    model = n2p2.load(folder, units)
    cell = np.diag([6.9, 7.3, 7.1]) if name[0] == "H" else np.diag([6.0, 6.3, 6.6])
    f = frame(rng, len(model.species), n, cell, min_distance=1.1)
    for precision in TOLERANCE:
        compare(model, f, Evaluation(device, model, [f], precision), precision, 10.0)


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("n_species", [1, 3])
def test_loss_gradient_of_the_core(device, rng, n_species, precision):
    """Energies, forces and stresses in the loss, over a crystal cell and a cluster; predictions and inputs too."""
    model = bp_case(n_species).model
    frames = [frame(rng, n_species, 9), frame(rng, n_species, 5, None, (False, False, False), min_distance=1.4)]
    trainers = Trainer(model, precision), _core.Trainer(model.to_bytes(), 1, int(precision == "float32"))
    for x, s, cell, pbc in frames:
        out = model.compute(x, s, cell=cell, pbc=pbc.astype(bool))
        stress = None if cell is None else out.stress + rng.normal(size=6) * 0.02
        labels = (out.energy + rng.normal(), out.forces + rng.normal(size=x.shape) * 0.3, stress, 1.7)
        for trainer in trainers:
            trainer.add(s, x, cell, pbc, *labels)
    theta, both = np.array(model.theta), np.array([0, 1], dtype=np.int32)
    tolerance = 5e-13 if precision == "float64" else 2e-5
    for loss in ((0, 1.3, 0, 0), (0, 0, 0.7, 0), (0, 0, 0, 40.0), (1, 1.3, 0.7, 40.0)):
        (terms, grad), (terms0, grad0) = (t.gradient(theta, both, *loss, 0.1, 0.25, 0.02) for t in trainers)
        assert np.abs(terms - terms0).max() <= tolerance * np.abs(terms0).max()
        assert np.abs(grad - grad0).max() <= tolerance * np.abs(grad0).max()
        theta = theta + 0.01 * rng.normal(size=theta.shape)
    for k in range(2):
        got, want = (t.fingerprints(theta, k) for t in trainers)
        assert np.abs(got - want).max() <= tolerance * np.abs(want).max()


def test_molecular_dynamics(device, rng):
    """Steps of both devices, with the count of atoms outside the training range."""
    model = bp_case(1).model
    x, s, cell, _ = frame(rng, 1, 12)
    ends = [[[0.0] * len(row) for row in model.metadata["bp"]["centre"]], model.metadata["bp"]["factor"]]
    model = rescaled(model, model.metadata["bp"]["centre"], model.metadata["bp"]["factor"], *ends)
    runs = [md.MD(model, x, s, cell, dt=0.5, temperature=300, device=device, skin=0.5) for device in ("cpu", "gpu")]
    for run in runs:
        run.run(8)
    for name in ("positions", "velocities"):
        np.testing.assert_allclose(getattr(runs[1], name), getattr(runs[0], name), rtol=0, atol=1e-11)
    assert runs[0].outside == runs[1].outside and runs[0].outside[0] > 0
