"""nnpcore.ase.Calculator: the numbers of Model.compute(), through ASE's own tools, copies, settings, errors."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from reference.systems import TRICLINIC, agree, case, random_system

import nnpcore
from nnpcore import structures

pytest.importorskip("ase", reason="no ASE: pip install 'nnpcore[ase]'")

from ase import Atoms, units
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.constraints import FixAtoms
from ase.eos import EquationOfState
from ase.filters import FrechetCellFilter, StrainFilter
from ase.io import read, write
from ase.md.langevin import Langevin
from ase.md.nptberendsen import NPTBerendsen
from ase.md.verlet import VelocityVerlet
from ase.mep import NEB
from ase.optimize import BFGS, FIRE, LBFGS
from ase.phonons import Phonons
from ase.vibrations import Vibrations

import nnpcore.ase

PBC = [(a, b, c) for a in (False, True) for b in (False, True) for c in (False, True)]
MW = Path(nnpcore.__file__).with_name("mw_msr.nnp")


def atoms_of(name, rng, n=12, cell=TRICLINIC, pbc=True):
    """An ase.Atoms of the case's species with a calculator, and the species' indices."""
    k = case(name)
    x, s = random_system(rng, k.n_species, n, cell)
    atoms = Atoms([k.model.species[i] for i in s], x, cell=cell, pbc=pbc)
    atoms.calc = nnpcore.ase.Calculator(k.model, n_threads=1)
    return atoms, s


def silicon(repeats=1, a=5.431, **parameters):
    x, cell = structures.diamond(a, repeats)
    atoms = Atoms(["Si"] * len(x), x, cell=cell, pbc=True)
    atoms.calc = nnpcore.ase.Calculator(nnpcore.Model.stillinger_weber("Si"), n_threads=1, **parameters)
    return atoms


# ---- numbers ----


@pytest.mark.parametrize("name", ["mW", "msr1", "msr3", "msr3-rs-zbl"])
@pytest.mark.parametrize("pbc", PBC)
def test_properties_are_those_of_compute(name, pbc, rng):
    atoms, s = atoms_of(name, rng, pbc=pbc)
    expected = case(name).model.compute(atoms.positions, s, atoms.cell.array, pbc, virials=True)
    scale = max(1.0, abs(expected.energy))
    assert abs(atoms.get_potential_energy() - expected.energy) <= 1e-13 * scale
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    agree(atoms.get_potential_energies(), expected.energies, 1e-13)
    agree(atoms.get_forces(), expected.forces, 1e-12)
    volume = atoms.cell.volume
    agree(atoms.get_stress(voigt=False), -expected.virial / volume, 1e-12)
    symmetric = 0.5 * (expected.virials + expected.virials.transpose(0, 2, 1))
    agree(atoms.get_stresses(voigt=False), -symmetric / volume, 1e-12)
    agree(atoms.get_stresses().sum(axis=0), atoms.get_stress(), 1e-12)


def test_slab_with_a_missing_cell_vector(rng):
    """ASE's way to write a slab or a wire: zero vectors along the axes that are not periodic. No volume, no stress."""
    atoms, s = atoms_of("msr3", rng)
    open_cell = np.diag([7.0, 6.5, 0.0])
    slab = Atoms(atoms.numbers, atoms.positions, cell=open_cell, pbc=(True, True, False), calculator=atoms.calc)
    expected = case("msr3").model.compute(slab.positions, s, np.diag([7.0, 6.5, 1.0]), (True, True, False))
    agree(slab.get_forces(), expected.forces, 1e-12)
    with pytest.raises(PropertyNotImplementedError):
        slab.get_stress()
    wire = Atoms(atoms.numbers, atoms.positions, cell=[0, 0, 7.4], pbc=(False, False, True), calculator=atoms.calc)
    expected = case("msr3").model.compute(wire.positions, s, np.diag([30.0, 30.0, 7.4]), (False, False, True))
    agree(wire.get_forces(), expected.forces, 1e-12)


def test_no_atoms_and_one_atom():
    calc = nnpcore.ase.Calculator(case("msr3").model)
    assert Atoms(calculator=calc).get_potential_energy() == 0
    one = Atoms("Si", cell=[9, 9, 9], calculator=calc)
    assert one.get_potential_energy() == pytest.approx(case("msr3").model.compute([[0, 0, 0]], [1]).energies[0])
    assert np.all(one.get_forces() == 0) and one.get_stress().shape == (6,)


@pytest.mark.parametrize("name", ["mW", "msr3"])
def test_numerical_derivatives_by_ase(name, rng):
    atoms, _ = atoms_of(name, rng)
    agree(atoms.get_forces(), calculate_numerical_forces(atoms, eps=1e-4), 1e-7)
    agree(atoms.get_stress(voigt=False), calculate_numerical_stress(atoms, eps=1e-5, voigt=False), 1e-7)


# ---- one pass, the kept list, what changes ----


def test_one_pass_gives_everything_and_nothing_is_computed_twice(rng, monkeypatch):
    atoms, _ = atoms_of("msr3", rng)
    passes = []
    original = type(atoms.calc).calculate
    monkeypatch.setattr(
        type(atoms.calc), "calculate", lambda self, *a, **k: (passes.append(1), original(self, *a, **k))[1]
    )
    atoms.get_stresses()
    atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(), atoms.get_potential_energies()
    assert len(passes) == 1
    atoms.positions[3, 0] += 1e-9
    atoms.get_forces()
    atoms.get_potential_energy(), atoms.get_stress()
    assert len(passes) == 2


def test_list_is_kept_while_atoms_move_little(rng):
    """1000 atoms' list costs far more than the list test: with a skin only far moves, cells, species make a new one."""
    model = case("msr3").model
    atoms, s = atoms_of("msr3", rng, n=40, cell=2 * TRICLINIC)
    for step in range(12):
        if step == 5:
            atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.03 * rng.normal(size=(3, 3))), scale_atoms=True)
        elif step == 7:
            atoms.numbers[[0, 1]] = atoms.numbers[[1, 0]]
            s[[0, 1]] = s[[1, 0]]
        elif step == 9:
            atoms.pbc = (True, False, True)
        elif step == 10:
            atoms.wrap()
        elif step == 11:
            del atoms[[2, 5]]
            s = np.delete(s, [2, 5])
        else:
            atoms.positions += rng.uniform(-0.2, 0.2, atoms.positions.shape)
        expected = model.compute(atoms.positions, s, atoms.cell.array, atoms.pbc)
        agree(atoms.get_forces(), expected.forces, 1e-11, f"step {step}")
        agree(atoms.get_stress(), expected.stress, 1e-11, f"step {step}")


def test_one_calculator_of_two_systems(rng):
    """ASE lets several Atoms share a calculator; tools call calculate() with changes of their own counting."""
    calc = nnpcore.ase.Calculator(case("msr3").model)
    a, s = atoms_of("msr3", rng)
    b, t = atoms_of("msr3", rng, n=17, pbc=(True, True, False))
    a.calc = b.calc = calc
    for _ in range(2):
        agree(a.get_forces(), case("msr3").model.compute(a.positions, s, TRICLINIC).forces, 1e-12)
        agree(b.get_forces(), case("msr3").model.compute(b.positions, t, TRICLINIC, b.pbc).forces, 1e-12)
    calc.calculate(a, ["forces"], ["positions"])
    agree(calc.results["forces"], case("msr3").model.compute(a.positions, s, TRICLINIC).forces, 1e-12)


def test_new_parameters_of_the_model_are_seen(rng):
    model = copy.deepcopy(case("msr3").model)
    atoms, s = atoms_of("msr3", rng)
    atoms.calc = nnpcore.ase.Calculator(model)
    before = atoms.get_potential_energy()
    model.theta = model.theta * 1.01
    assert atoms.get_potential_energy() != before
    assert atoms.get_potential_energy() == pytest.approx(model.compute(atoms.positions, s, TRICLINIC).energy, rel=1e-13)


def test_results_cannot_be_spoilt(rng):
    atoms, _ = atoms_of("msr1", rng)
    f = atoms.get_forces()
    kept = f.copy()
    f += 1
    assert np.array_equal(atoms.get_forces(), kept)


# ---- settings, copies ----


def test_settings(rng):
    atoms, s = atoms_of("msr3", rng, n=300, cell=3 * TRICLINIC)
    calc = atoms.calc
    reference = atoms.get_forces()
    assert calc.set(n_threads=2) == {"n_threads": 2} and calc.results == {}
    assert np.array_equal(atoms.get_forces(), reference)  # the same bits whatever the threads
    assert calc.set(n_threads=2) == {}
    calc.set(precision="float32")
    single = atoms.get_forces()
    expected = case("msr3").model.compute(atoms.positions, s, 3 * TRICLINIC, precision="float32").forces
    agree(single, expected, 1e-5)
    assert not np.array_equal(single, reference)
    assert calc.todict() == {"precision": "float32", "n_threads": 2} and calc.name == "nnpcore"


def test_from_a_file(rng, tmp_path):
    case("msr3").model.save(tmp_path / "m.nnp")
    atoms, _ = atoms_of("msr3", rng)
    e = atoms.get_potential_energy()
    for path in (tmp_path / "m.nnp", str(tmp_path / "m.nnp")):
        atoms.calc = nnpcore.ase.Calculator(path)
        assert atoms.get_potential_energy() == pytest.approx(e, rel=1e-13)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_copies(copied, rng):
    atoms, _ = atoms_of("msr3", rng)
    atoms.calc.set(precision="float32")
    forces = atoms.get_forces()
    twin = copied(atoms.calc)
    other = atoms.copy()
    other.calc = twin
    assert twin.parameters == atoms.calc.parameters and np.array_equal(other.get_forces(), forces)
    other.positions[0] += 0.1
    assert not np.array_equal(other.get_forces(), forces)
    assert np.array_equal(atoms.get_forces(), forces)  # the first one's results are its own
    assert copied(atoms).get_potential_energy() == atoms.get_potential_energy()


def test_masses():
    atoms = Atoms("O2", [[0, 0, 0], [0, 0, 2.8]])
    nnpcore.ase.Calculator(nnpcore.Model.stillinger_weber("mW")).set_masses(atoms)
    assert np.all(atoms.get_masses() == 18.015)


def test_import_of_nnpcore_leaves_ase_alone():
    code = "import sys, nnpcore, nnpcore.model, nnpcore.compute; assert 'ase' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    code = (
        "import sys; sys.modules['ase'] = None\ntry:\n import nnpcore.ase\n"
        "except ModuleNotFoundError as e: assert 'nnpcore[ase]' in str(e)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- errors ----


def test_errors(rng, tmp_path):
    model = case("msr3").model
    make = nnpcore.ase.Calculator
    for kind, text, what in (
        (nnpcore.InputError, "precision: 'half' is not one of", lambda: make(model, precision="half")),
        (nnpcore.InputError, "n_threads is -1", lambda: make(model, n_threads=-1)),
        (nnpcore.InputError, "skin is -1", lambda: make(model, skin=-1)),
        (nnpcore.InputError, "expected numbers, got 1.5", lambda: make(model, n_threads=1.5)),
        (nnpcore.InputError, "label: not a parameter", lambda: make(model, label="run")),
        (nnpcore.InputError, "skin: expected numbers", lambda: make(model, skin="thick")),
        (nnpcore.InputError, "cutoff: not a parameter", lambda: make(model, cutoff=5)),
        (nnpcore.InputError, "model: expected a file's path", lambda: make(7)),
        (FileNotFoundError, "no.nnp", lambda: make(tmp_path / "no.nnp")),
    ):
        with pytest.raises(kind, match=text):
            what()
    calc = make(model)
    with pytest.raises(nnpcore.InputError, match="precision"):
        calc.set(precision="double")
    assert calc.parameters["precision"] == "float64"  # as before
    with pytest.raises(nnpcore.InputError, match=r"atom 1 is atomic number 79 \(Au\); the model has O, Si, Ge"):
        Atoms("OAu", [[0, 0, 0], [2, 0, 0]], calculator=calc).get_forces()
    with pytest.raises(nnpcore.InputError, match="none given"):
        make(model).calculate()
    assert Atoms("O2", [[0, 0, 0], [2, 0, 0]], calculator=calc).get_forces().shape == (2, 3)


def test_a_failed_calculation_leaves_no_stale_numbers(rng):
    atoms, s = atoms_of("msr3", rng)
    calc = atoms.calc
    atoms.get_forces()
    bad = atoms.copy()
    bad.numbers[0] = 79
    bad.calc = calc
    for _ in range(3):
        with pytest.raises(nnpcore.InputError, match="atom 0"):
            bad.get_forces()
    bad.numbers[0] = atoms.numbers[0]
    bad.positions[4] = bad.positions[7]
    for _ in range(3):
        with pytest.raises(nnpcore.InputError, match="4"):
            bad.get_potential_energy()
    bad.positions[4] = np.nan
    with pytest.raises(nnpcore.InputError, match="4"):
        bad.get_potential_energy()
    bad.positions[4] = atoms.positions[4]
    bad.set_cell([[7, 0, 0], [0, 7, 0], [7, 7, 0]])
    with pytest.raises(nnpcore.InputError):
        bad.get_stress()
    agree(atoms.get_forces(), case("msr3").model.compute(atoms.positions, s, TRICLINIC).forces, 1e-12)


def test_a_failed_calculate_leaves_no_results(rng):
    """Called as tools call it, without get_property()."""
    atoms, _ = atoms_of("msr3", rng)
    calc = atoms.calc
    atoms.get_forces()
    bad = atoms.copy()
    bad.positions[4] = bad.positions[7]
    with pytest.raises(nnpcore.InputError):
        calc.calculate(bad, ["energy"], ["positions"])
    assert calc.results == {}
    with pytest.raises(nnpcore.InputError):
        calc.get_property("energy", bad)


def test_atoms_of_the_last_calculation(rng):
    """calc.atoms is a copy of its own, with what was attached to the atoms at the time."""
    atoms, _ = atoms_of("msr3", rng)
    assert atoms.calc.atoms is None
    atoms.set_momenta(rng.normal(size=(len(atoms), 3)))
    atoms.set_constraint(FixAtoms([2]))
    atoms.info["name"] = "first"
    atoms.get_forces()
    first, x = atoms.calc.atoms, atoms.positions.copy()
    atoms.positions[0] += 0.1
    atoms.info["name"] = "second"
    atoms.get_potential_energy()
    second = atoms.calc.atoms
    assert np.array_equal(first.positions, x) and first.info["name"] == "first"
    assert first.constraints[0].index == [2] and np.array_equal(first.get_momenta(), atoms.get_momenta())
    assert second == atoms and second is not atoms and second.info["name"] == "second" and second.calc is None
    assert atoms.calc.get_property("energy") == atoms.get_potential_energy()
    atoms.calc.reset()
    assert atoms.calc.atoms is None


# ---- ASE's tools ----


def test_optimisers_find_the_minimum():
    """Forces relaxed by BFGS, then cell and positions together: the lattice constant is where dE/da vanishes."""
    atoms = silicon(a=5.5)
    atoms.rattle(0.05, seed=1)
    BFGS(atoms, logfile=None).run(fmax=1e-4, steps=200)
    assert np.abs(atoms.get_forces()).max() < 1e-4
    atoms.rattle(0.02, seed=2)
    LBFGS(StrainFilter(atoms), logfile=None).run(fmax=1e-4, steps=100)
    FIRE(atoms, logfile=None).run(fmax=1e-4, steps=300)
    BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-4, steps=50)
    assert np.abs(atoms.get_stress()).max() < 1e-6
    # Stillinger and Weber's crystal: two-body part at its minimum r = 2^(1/6) sigma, E = -2 epsilon
    assert atoms.cell.lengths() == pytest.approx([4 / np.sqrt(3) * 2.0951 * 2 ** (1 / 6)] * 3, rel=2e-5)
    assert atoms.get_potential_energy() / 8 == pytest.approx(-2 * 2.1683, rel=1e-6)


def test_equation_of_state_agrees_with_stress():
    atoms = silicon()
    cell, volumes, energies, pressures = atoms.cell.array.copy(), [], [], []
    for scale in np.linspace(0.985, 1.015, 7):
        atoms.set_cell(scale * cell, scale_atoms=True)
        volumes.append(atoms.get_volume()), energies.append(atoms.get_potential_energy())
        pressures.append(-atoms.get_stress()[:3].mean())
    v0, _, bulk = EquationOfState(volumes, energies, eos="birchmurnaghan").fit()
    slope = np.polynomial.Polynomial.fit(volumes, pressures, 4).deriv()(v0)
    assert bulk == pytest.approx(-v0 * slope, rel=5e-3)
    assert bulk / units.GPa == pytest.approx(101.5, rel=0.01)  # SW silicon: 101.4 GPa (Cowley, PRL 60, 2379 (1988))


def test_nve_is_the_md_engine_s():
    """ASE's velocity Verlet and nnpcore.md take the same steps: units, masses and forces all agree."""
    from nnpcore.md import MD

    model = nnpcore.load(MW)
    x, cell = structures.diamond(6.2, 2)
    v = np.random.default_rng(3).normal(0, 3e-3, x.shape)  # Å/fs
    md = MD(model, x, "O", cell, velocities=v, ensemble="nve", dt=2.0)
    atoms = Atoms(["O"] * len(x), x, cell=cell, pbc=True)
    atoms.calc = nnpcore.ase.Calculator(model)
    atoms.calc.set_masses(atoms)
    atoms.set_velocities(v / units.fs)
    md.run(50)
    e0 = atoms.get_total_energy()
    VelocityVerlet(atoms, 2.0 * units.fs).run(50)
    agree(atoms.positions, md.positions, 1e-7)
    assert np.abs(atoms.positions - x).max() > 0.1
    assert abs(atoms.get_total_energy() - e0) < 2e-5 * len(x)


def test_pressure_bath():
    """A crystal under 10 GPa shrinks, at 0 GPa it does not: the sign and the unit of stress; a new cell every step."""
    volumes = []
    for pressure in (0.0, 10.0):
        atoms = silicon(repeats=2)
        atoms.rattle(0.01, seed=1)
        atoms.set_velocities(np.random.default_rng(1).normal(0, 1e-4, atoms.positions.shape) / units.fs)
        dyn = NPTBerendsen(
            atoms,
            2 * units.fs,
            temperature_K=10,
            pressure_au=pressure * units.GPa,
            taut=50 * units.fs,
            taup=100 * units.fs,
            compressibility_au=1 / (101.4 * units.GPa),
        )
        dyn.run(300)
        volumes.append(atoms.get_volume() / (8 * 5.431**3))
    assert volumes[0] == pytest.approx(1, abs=1e-3)
    assert 0.90 < volumes[1] < 0.93  # first order -10/101.4, less what stiffens


def test_images_share_a_calculator():
    """NEB of a vacancy's migration in Lennard-Jones argon, all images on one calculator: a symmetric barrier of about
    eight epsilon."""
    epsilon = 0.0104
    x, cell = structures.fcc(5.26, 3)
    perfect = Atoms(["Ar"] * len(x), x, cell=cell, pbc=True)
    calc = nnpcore.ase.Calculator(nnpcore.Model.lennard_jones(["Ar"], epsilon, 3.4, 7.5), n_threads=1)
    hop = perfect.get_distances(0, range(1, len(perfect)), mic=True).argmin() + 1
    first, last = perfect.copy(), perfect.copy()
    last.positions[hop] = perfect.positions[0]
    del first[0], last[0]
    images = [first, *(first.copy() for _ in range(3)), last]
    for image in images:
        image.calc = calc
    for end in (first, last):
        BFGS(end, logfile=None).run(fmax=1e-3)
    neb = NEB(images, allow_shared_calculator=True, method="improvedtangent")
    neb.interpolate(mic=True)
    FIRE(neb, logfile=None).run(fmax=0.005, steps=200)
    e = [calc.get_potential_energy(image) for image in images]
    assert e[0] == pytest.approx(e[4], abs=1e-6) and e[1] == pytest.approx(e[3], abs=1e-4)
    assert 6 * epsilon < e[2] - e[0] < 11 * epsilon and e[2] == max(e)


def test_results_go_into_files(tmp_path, rng):
    atoms, _ = atoms_of("msr3", rng)
    atoms.get_stresses(), atoms.get_potential_energies()
    for name in ("a.traj", "a.xyz", "a.json"):
        write(tmp_path / name, atoms)
        again = read(tmp_path / name)
        agree(again.get_forces(), atoms.get_forces(), 1e-7)
        assert again.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-7)
    assert again.calc.name == "nnpcore"


def test_constant_temperature():
    atoms = silicon(repeats=2)
    dyn = Langevin(
        atoms, 2 * units.fs, temperature_K=600, friction=0.05 / units.fs, fixcm=False, rng=np.random.default_rng(5)
    )
    temperatures = []
    dyn.attach(lambda: temperatures.append(atoms.get_temperature()), interval=5)
    dyn.run(400)
    assert 450 < np.mean(temperatures[40:]) < 750


def test_phonons_and_vibrations_agree(tmp_path):
    """Silicon at q = 0: Phonons on a supercell, and Vibrations of the primitive cell's two atoms."""
    cell = 5.431 / 2 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    atoms = Atoms("Si2", [[0, 0, 0], [5.431 / 4] * 3], cell=cell, pbc=True)
    calc = nnpcore.ase.Calculator(nnpcore.Model.stillinger_weber("Si"), n_threads=1)
    phonons = Phonons(atoms, calc, supercell=(3, 3, 3), delta=0.01, name=str(tmp_path / "ph"))
    phonons.run()
    phonons.read(acoustic=True)
    branches = phonons.band_structure([[0, 0, 0]])[0] / units.invcm
    atoms.calc = calc
    vibrations = Vibrations(atoms, name=str(tmp_path / "vib"), delta=0.01)
    vibrations.run()
    optical = np.sort(vibrations.get_frequencies().real)[-3:]
    assert np.abs(branches[:3]).max() < 0.5
    assert branches[3:] == pytest.approx(optical, rel=1e-3)
    assert optical == pytest.approx([optical[0]] * 3, rel=1e-4) and 480 < optical[0] < 620


def test_vibration_of_a_dimer(tmp_path):
    """omega = sqrt(k/mu) with k from the energies of a stretched dimer."""
    model = nnpcore.Model.stillinger_weber("Si")
    atoms = Atoms("Si2", [[0, 0, 0], [0, 0, 2.3]], calculator=nnpcore.ase.Calculator(model))
    BFGS(atoms, logfile=None).run(fmax=1e-8)
    r, h = atoms.get_distance(0, 1), 1e-3
    e = [model.compute([[0, 0, 0], [0, 0, r + d]], "Si").energy for d in (-h, 0, h)]
    k = (e[0] - 2 * e[1] + e[2]) / h**2
    omega = np.sqrt(k / (atoms.get_masses()[0] / 2)) * units._hbar * 1e10 / np.sqrt(units._e * units._amu)  # eV
    vibrations = Vibrations(atoms, name=str(tmp_path / "vib"), delta=1e-3)
    vibrations.run()
    assert vibrations.get_energies()[-1].real == pytest.approx(omega, rel=1e-4)
