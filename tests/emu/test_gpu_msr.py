"""MSR models on the device against the C core: energies, forces, virials of every kind of model and system."""

import numpy as np
import pytest
from test_system import crowd

import nnpcore
from nnpcore.gpu import gather
from nnpcore.gpu.model import Evaluator
from nnpcore.gpu.system import CLASH
from nnpcore.validate import InputError


def model_of(name):
    """Models that take every branch: cutoffs, short range, channels of 0 .. 7 fingerprints, networks, baselines."""
    if name == "one species":
        return nnpcore.Model.msr(["O"], 4.4, rc3=3.6, n2=5, n3=5, seed=3)
    if name == "smooth, short range":
        return tamed(nnpcore.Model.msr(["Si"], 4.2, n2=3, n3=2, rs=1.4, cutoff="smooth", hidden=[9, 4], seed=4))
    if name == "two species":
        n2, n3 = [[2, 1], [0, 3]], [[1, 6, 0], [2, 0, 7]]
        return nnpcore.Model.msr(["H", "O"], 4.0, rc3=3.4, n2=n2, n3=n3, hidden=[[40], [12, 5]], seed=5, e0=[-1.0, 2.0])
    if name == "baseline":
        zbl = nnpcore.Model.zbl(["Si", "Ge"], 1.0, 2.6)
        return nnpcore.Model.msr(["Si", "Ge"], 4.0, n2=1, n3=1, hidden=[3], baseline=zbl, seed=6)
    if name == "three species":
        return nnpcore.Model.msr(["Ge", "Sb", "Te"], 4.0, rc3=3.5, n2=2, n3=1, hidden=[4], seed=7)
    raise KeyError(name)


def tamed(model):
    """Exponents that the short-range branch can take in float32 too."""
    theta = np.array(model.theta)
    theta[model.mask("alpha")] *= 0.3
    return model.replace(theta=theta)


MODELS = ("one species", "smooth, short range", "two species", "baseline", "three species")


def batch(rng, n_species):
    """[(species, cell, pbc, positions)]: a liquid, a cell smaller than the cutoff, a slab, an atom alone."""
    skew = np.array([[3.4, 0, 0], [0.9, 3.3, 0], [-0.6, 0.5, 3.6]])
    systems = []
    for n, cell, pbc in ((21, np.eye(3) * 6.5, (1, 1, 1)), (3, skew, (1, 1, 1)), (9, np.eye(3) * 6.5, (1, 1, 0))):
        x = crowd(rng, n, 1.5, cell[0, 0])
        systems.append((rng.integers(0, n_species, n).astype(np.int32), cell, pbc, x))
    return [*systems, (np.zeros(1, np.int32), None, (0, 0, 0), np.zeros((1, 3)))]


def close(got, want, tolerance):
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * (np.abs(want).max() + 1))


def compare(evaluator, model, systems, precision):
    system = evaluator.system([s[:3] for s in systems])
    system.build(np.concatenate([s[3] for s in systems]))
    energy, gradient = evaluator.evaluate(system)
    system.check(CLASH)
    host = evaluator.backend.host
    energies = host(system.to_caller(energy))
    forces = host(system.to_caller(gather.forces(system, gradient, precision)))
    virials = host(system.to_caller(gather.atom_virials(system, gradient, precision))).reshape(-1, 3, 3)
    tolerance = 2e-13 if precision == "float64" else 2e-6
    for k, (species, cell, pbc, x) in enumerate(systems):
        part = slice(system.structure_counts[k], system.structure_counts[k + 1])
        want = model.compute(x, species, cell, pbc, virials=True, precision=precision)
        close(energies[part], want.energies, tolerance)
        close(forces[part], want.forces, tolerance)
        close(virials[part], want.virials, tolerance)
    return energies, forces


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("name", MODELS)
def test_numbers_of_the_core(device, rng, name, precision):
    model = model_of(name)
    systems = batch(rng, len(model.species))
    evaluator = Evaluator(device, model, precision)
    for team, block, seed in ((8, 64, 0), (32, 32, 9)):
        device.seed = seed  # of the emulator
        evaluator.fingerprints.team, evaluator.fingerprints.block = team, block
        compare(evaluator, model, systems, precision)


def test_bits_do_not_depend_on_the_order_of_threads(device, rng):
    model, systems = model_of("two species"), batch(rng, 2)
    system = (evaluator := Evaluator(device, model)).system([s[:3] for s in systems])
    system.build(np.concatenate([s[3] for s in systems]))
    results = []
    for seed in (0, 1, 77):
        device.seed = seed
        energy, gradient = evaluator.evaluate(system)
        arrays = energy, gather.forces(system, gradient, "float64")
        results.append([device.host(a).tobytes() for a in arrays])
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize(
    "kind", ["tanh", "logistic", "softplus", "gaussian", "cos", "relu", "exp", "harmonic", "linear"]
)
def test_activations(device, rng, kind, precision):
    spec = nnpcore.Model.msr(["O"], 4.0, n2=2, n3=1, hidden=[7, 19], seed=8)
    metadata = spec.metadata
    metadata["network"][0]["activation"] = [kind, kind]
    model = nnpcore.Model(metadata, spec.tensors)
    compare(Evaluator(device, model, precision), model, batch(rng, 1)[:1], precision)


def test_compute_and_workspace(device, rng):
    model, other = model_of("two species"), model_of("two species")  # each keeps one workspace
    species, cell, pbc, x = batch(rng, 2)[0]
    for step in range(4):  # within the skin, then beyond it
        x = x + rng.normal(size=x.shape) * (0.02 if step < 2 else 0.4)
        got = model.compute(x, species, cell, pbc, virials=True, device="gpu", skin=0.5)
        want = other.compute(x, species, cell, pbc, virials=True)
        for name in ("energy", "energies", "forces", "stress", "virial", "virials"):
            close(getattr(got, name), getattr(want, name), 5e-13)
    if device.name == "emulator":
        assert device.launches.count("nnp_count") == 3  # the second call kept the list
    assert model.compute(x, species, cell, pbc, forces=False, device="gpu").forces is None
    empty = model.compute(np.zeros((0, 3)), [], device="gpu")
    assert empty.energy == 0 and empty.forces.shape == (0, 3)
    model.theta = model.theta * 0.5  # other parameters, other results
    close(model.compute(x, species, cell, pbc, device="gpu").forces, model.compute(x, species, cell, pbc).forces, 5e-13)


def test_classical_potentials(device, rng):
    x = crowd(rng, 20, 2.0, 7.0)
    model = nnpcore.Model.stillinger_weber("Si")
    got, want = (model.compute(x, "Si", [7.0] * 3, device=d) for d in ("gpu", "cpu"))
    close(got.forces, want.forces, 2e-13)


def test_ase_calculator(device, rng):
    ase = pytest.importorskip("ase")
    from nnpcore.ase import Calculator

    model = model_of("two species")
    species, cell, pbc, x = batch(rng, 2)[0]
    atoms = ase.Atoms(np.array(["H", "O"])[species], x, cell=cell, pbc=pbc)
    results = []
    for name in ("gpu", "cpu"):
        atoms.calc = Calculator(model, device=name)
        results.append([atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(), atoms.get_stresses()])
    for got, want in zip(*results, strict=True):
        close(got, want, 5e-13)
    atoms.calc.set(device="gpu")
    close(atoms.get_forces(), results[0][1], 0)
    with pytest.raises(InputError, match=r'device: .* is not one of "cpu", "gpu"'):
        Calculator(model, device="tpu")


def test_bad_input_is_named(emulated, rng):
    model = model_of("one species")
    x = crowd(rng, 8, 2.0, 6.0)
    x[5] = x[2] + [0, 0, 5e-4]
    with pytest.raises(InputError, match=r"atoms 2 and 5 are closer than 0.001 Angstrom|atoms 5 and 2 are"):
        model.compute(x, "O", [6.0] * 3, device="gpu")
    x[5] = x[2] + [0, 0, 0.5]
    model.compute(x, "O", [6.0] * 3, device="gpu", skin=3.0)
    x[5] = x[2]
    with pytest.raises(InputError, match=r"atoms 2 and 5|atoms 5 and 2"):
        model.compute(x, "O", [6.0] * 3, device="gpu", skin=3.0)
    with pytest.raises(InputError, match=r"skin: -1.0"):
        model.compute(x, "O", [6.0] * 3, device="gpu", skin=-1.0)
    wild = np.array(model.theta)
    wild[0] = 100.0
    wild = model.replace(theta=wild)
    with pytest.raises(RuntimeError, match=r"species O: exponents reach 100"):
        wild.compute(x, "O", [6.0] * 3, device="gpu", precision="float32")
    emulated._memory = (1000, 2000)
    with pytest.raises(InputError, match=r"8 atoms need about .* atoms fit"):
        model.compute(x, "O", [6.0] * 3, device="gpu")


def test_too_many_neighbours_or_too_wide_layers_are_named(emu):
    from nnpcore.gpu.backend import GpuError
    from nnpcore.gpu.model import Places
    from nnpcore.gpu.net import Networks

    model = nnpcore.Model.msr(["O"], 4.0, hidden=[4000])
    with pytest.raises(GpuError, match=r"layers need .* narrower layers, or float32"):
        Networks(emu, model, "float64").evaluate(Places(0, np.zeros(3, np.int32), 1), np.zeros((10, 3)), np.zeros(3))
    evaluator = Evaluator(emu, model_of("one species"))
    with pytest.raises(GpuError, match=r"5000 neighbours of an atom are too many"):
        evaluator.fingerprints._geometry("nnp_msr_gradient", Places(0, np.zeros(3, np.int32), 5000))
