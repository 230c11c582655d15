"""What OpenKIM demands of a potential (openkim.org, "verification checks"), through the ASE calculator: units,
objectivity, permutation, inversion, periodicity, derivatives, dimers, threads, memory."""

import copy
import gc
import itertools
import pickle
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from reference.systems import TRICLINIC, agree, case, random_system

import nnpcore

pytest.importorskip("ase", reason="no ASE: pip install 'nnpcore[ase]'")

from ase import Atoms
from ase.units import create_units

import nnpcore.ase
from nnpcore.ipi import Evaluator

MODELS = {
    "mW network": lambda: nnpcore.load(Path(nnpcore.__file__).with_name("mw_msr.nnp")),
    "Si": lambda: nnpcore.Model.stillinger_weber("Si"),
    "three species": lambda: case("msr3-rs-zbl").model,
}
BOUNDARIES = [(True, True, True), (True, False, True), (False, False, False)]
_loaded = {}


def model_of(name):
    if name not in _loaded:
        _loaded[name] = MODELS[name]()
    return _loaded[name]


@pytest.fixture(params=MODELS)
def model(request):
    return model_of(request.param)


@pytest.fixture(params=BOUNDARIES, ids=lambda pbc: "".join("FT"[p] for p in pbc))
def atoms(request, model, rng):
    x, s = random_system(rng, len(model.species), n=14, min_distance=1.9)
    made = Atoms([model.species[k] for k in s], x, cell=TRICLINIC, pbc=request.param)
    made.calc = nnpcore.ase.Calculator(model, n_threads=1)
    return made


def everything(atoms):
    """energy, energies, forces, stress (3x3), stresses (3x3)"""
    return (
        atoms.get_potential_energy(),
        atoms.get_potential_energies(),
        atoms.get_forces(),
        atoms.get_stress(voigt=False),
        atoms.get_stresses(voigt=False),
    )


def moved(atoms, rotation, shift=0.0):
    """A copy with x -> rotation x + shift, the cell with it."""
    new = atoms.copy()
    new.set_cell(atoms.cell.array @ rotation.T)
    new.set_positions(atoms.positions @ rotation.T + shift)
    new.calc = nnpcore.ase.Calculator(atoms.calc.model, n_threads=1)
    return new


def rotation_of(rng):
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.linalg.det(q)


def test_unit_conversion(atoms):
    """The way through Hartree and Bohr (i-PI's) ends at the same eV and Å; CODATA 2018 both."""
    units = create_units("2018")
    model = atoms.calc.model
    if not atoms.pbc.all():
        atoms.pbc = True
    evaluate = Evaluator(model, atoms.get_chemical_symbols())
    energy, forces, virial = evaluate(atoms.positions / units.Bohr, atoms.cell.array / units.Bohr)
    assert energy * units.Hartree == pytest.approx(atoms.get_potential_energy(), rel=1e-9)
    agree(forces * units.Hartree / units.Bohr, atoms.get_forces(), 1e-8)
    agree(-virial * units.Hartree / atoms.cell.volume, atoms.get_stress(voigt=False), 1e-9)


def test_objectivity(atoms, rng):
    q = rotation_of(rng)
    a, b = everything(atoms), everything(moved(atoms, q, rng.uniform(-20, 20, 3)))
    assert abs(a[0] - b[0]) <= 1e-11 * max(1, abs(a[0]))
    agree(b[1], a[1], 1e-11)
    agree(b[2], a[2] @ q.T, 1e-10)
    agree(b[3], q @ a[3] @ q.T, 1e-11)
    agree(b[4], q @ a[4] @ q.T, 1e-11)


def test_inversion(atoms):
    a, b = everything(atoms), everything(moved(atoms, -np.eye(3)))
    assert abs(a[0] - b[0]) <= 1e-12 * max(1, abs(a[0]))
    agree(b[2], -a[2], 1e-11)
    agree(b[3], a[3], 1e-12)


def test_permutation(atoms, rng):
    order = rng.permutation(len(atoms))
    other = atoms[order]
    other.calc = atoms.calc
    a, b = everything(atoms), everything(other)
    assert abs(a[0] - b[0]) <= 1e-12 * max(1, abs(a[0]))
    for x, y in ((a[1], b[1]), (a[2], b[2]), (a[4], b[4])):
        agree(y, x[order], 1e-11)


def test_periodicity(atoms, rng):
    """Atoms moved by lattice vectors along periodic axes; another choice of the same lattice; a supercell."""
    a = everything(atoms)
    images = rng.integers(-3, 4, (len(atoms), 3)) * atoms.pbc
    other = atoms.copy()
    other.positions += images @ atoms.cell.array
    other.calc = atoms.calc
    for x, y in zip(a, everything(other), strict=True):
        agree(y, x, 1e-11)
    if atoms.pbc.all():
        same_lattice = atoms.copy()
        same_lattice.set_cell(np.array([[1, 1, 0], [0, 1, 0], [-1, 0, 1]]) @ atoms.cell.array)
        same_lattice.calc = nnpcore.ase.Calculator(atoms.calc.model)
        for x, y in zip(a, everything(same_lattice), strict=True):
            agree(y, x, 1e-11)
    repeats = [2 if p else 1 for p in atoms.pbc]
    large, n = atoms.repeat(repeats), int(np.prod(repeats))
    large.calc = nnpcore.ase.Calculator(atoms.calc.model)
    b = everything(large)
    agree(b[0] / n, a[0], 1e-11)
    agree(b[2], np.tile(a[2], (n, 1)), 1e-10)
    agree(b[3], a[3], 1e-11)


def derivative(function, h):
    """Central difference, two steps extrapolated: error of order h^4."""
    one, two = ((function(k * h) - function(-k * h)) / (2 * k * h) for k in (1, 2))
    return (4 * one - two) / 3


def test_numerical_derivatives(atoms, rng):
    """Forces along random directions of all atoms, stress along random strains."""
    x, cell = atoms.positions.copy(), atoms.cell.array.copy()
    forces, stress = atoms.get_forces(), atoms.get_stress(voigt=False)

    def energy(moves, strain=None):
        deformation = np.eye(3) if strain is None else np.eye(3) + strain
        atoms.set_cell(cell @ deformation)
        atoms.positions = (x + moves) @ deformation
        return atoms.get_potential_energy()

    scale = max(1.0, float(np.abs(forces).max()))
    for _ in range(4):
        direction = rng.normal(size=x.shape)
        slope = derivative(lambda t, d=direction: energy(t * d), 2e-5)
        assert slope == pytest.approx(-np.sum(forces * direction), abs=1e-7 * scale * len(x))
        strain = rng.normal(size=(3, 3))
        strain = 0.5 * (strain + strain.T)
        slope = derivative(lambda t, e=strain: energy(0, t * e), 2e-5)
        assert slope == pytest.approx(abs(np.linalg.det(cell)) * np.sum(stress * strain), abs=1e-7 * scale * len(x))


def dimer(calc, pair, distances):
    """(energies, forces along the bond) of the two atoms at the distances."""
    atoms = Atoms(list(pair), [[0, 0, 0], [1, 0, 0]], calculator=calc)
    energies, forces = [], []
    for r in distances:
        atoms.positions[1, 0] = r
        energies.append(atoms.get_potential_energy()), forces.append(atoms.get_forces()[1, 0])
    return np.array(energies), np.array(forces)


def test_dimer_continuity(model):
    """E and dE/dr of each pair run without a jump from 1.2 Å to beyond the cutoff, and end at the atoms' energies:
    E changes by the mean force times the step (to h^2/8 of the curvature's jump, which a cosine cutoff leaves); the
    largest change of the force halves with the step."""
    calc = nnpcore.ase.Calculator(model, n_threads=1)
    for pair in itertools.combinations_with_replacement(model.species, 2):
        largest = []
        for n in (2000, 4000):
            r = np.linspace(1.2, model.cutoff + 0.2, n + 1)
            energy, force = dimer(calc, pair, r)
            step = r[1] - r[0]
            work = -0.5 * (force[1:] + force[:-1]) * step
            curvature = np.abs(np.diff(force)).max() / step
            assert np.abs(np.diff(energy) - work).max() < 0.15 * curvature * step**2 + 1e-12 * np.abs(energy).max()
            largest.append(np.abs(np.diff(force)).max())
        assert largest[1] < 0.6 * largest[0], pair
        beyond = r >= model.cutoff
        alone = sum(Atoms(s, calculator=calc).get_potential_energy() for s in pair)
        assert beyond.sum() > 10 and np.all(force[beyond] == 0)
        assert np.abs(energy[beyond] - alone).max() <= 1e-14 * max(1, abs(alone))


def test_thread_safety(model):
    """Eight threads, calculators of their own on one model, shuffled systems: the very bits of a serial run."""
    systems = []
    for k in range(8):
        rng = np.random.default_rng(k)
        x, s = random_system(rng, len(model.species), n=10 + k, min_distance=1.9)
        systems.append(Atoms([model.species[t] for t in s], x, cell=TRICLINIC, pbc=BOUNDARIES[k % 3]))

    def bits(k, calc):
        atoms = systems[k].copy()
        atoms.calc = calc
        return b"".join(np.asarray(part).tobytes() for part in everything(atoms))

    def new():
        return nnpcore.ase.Calculator(model, n_threads=1, skin=0)  # with a skin, last bits depend on the list's age

    serial = [bits(k, new()) for k in range(8)]

    def work(seed):
        order, calc = list(range(8)) * 5, new()
        random.Random(seed).shuffle(order)
        return all(bits(k, calc) == serial[k] for k in order)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_one_calculator_in_many_threads(model):
    """Not allowed, but no crash and no wrong numbers of calculate() itself: each call works in its own workspace."""
    calc = nnpcore.ase.Calculator(model, n_threads=1)
    x, s = random_system(np.random.default_rng(1), len(model.species), n=30, min_distance=1.9)
    atoms = Atoms([model.species[t] for t in s], x, cell=TRICLINIC, pbc=True, calculator=calc)
    expected = atoms.get_forces()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: calc.calculate(atoms, ["forces"]), range(200)))
    agree(calc.results["forces"], expected, 1e-12)


def resident():
    """MB of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc/self/statm")
def test_memory_leaks(model):
    """New calculators, calls, copies, changes of settings, errors: 300 rounds leave no more memory in use than 30 do.

    A round makes three workspaces of 0.1 to 0.4 MB each: one lost in every second round would be seen.
    """
    x, s = random_system(np.random.default_rng(2), len(model.species), n=216, cell=3 * TRICLINIC, min_distance=1.9)
    atoms = Atoms([model.species[t] for t in s], x, cell=3 * TRICLINIC, pbc=True)

    def use(rounds):
        for k in range(rounds):
            atoms.calc = nnpcore.ase.Calculator(model, n_threads=1, precision=("float64", "float32")[k % 2])
            atoms.positions[:, 0] += 1e-3
            atoms.get_stresses()
            atoms.calc.set(skin=0.3 + 0.1 * (k % 3))
            other = (copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c)))[k % 2](atoms.calc)
            other.calculate(atoms)
            bad = atoms.copy()
            bad.positions[1] = bad.positions[0]
            with pytest.raises(nnpcore.InputError):
                other.calculate(bad)
        gc.collect()

    use(30)
    before = resident()
    use(300)
    assert resident() - before < 15
