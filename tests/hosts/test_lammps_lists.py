"""The ways in which pair_style nnpcore comes by its neighbours agree; extrapolation counts through fix pair."""

import re

import numpy as np
import pytest
from lammps_host import Runner
from reference import bp as reference

from nnpcore import bp
from nnpcore.model import Model

LIQUID = """
clear
units metal
{more}
lattice diamond 6.2
region box block 0 3 0 3 0 3
create_box 2 box
create_atoms 1 box
set type 1 type/fraction 2 0.5 5
mass * 18.015
displace_atoms all random 0.15 0.15 0.15 7 units box
pair_style {style}
pair_coeff * * mw.nnp O O
velocity all create 900 1 loop geom
fix 1 all nve
timestep 0.004
neighbor {skin} bin
neigh_modify every 1 delay 0 check yes {modify}
atom_modify sort 0 0
"""
FINAL = "write_dump all custom {name}.dump id xu yu zu fx fy fz vx vy vz modify sort id format float %.17g\n"
FIELDS = {"style": "nnpcore", "skin": "1.0", "modify": "", "more": ""}


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    made = Runner(tmp_path_factory.mktemp("lammps"))
    Model.stillinger_weber("mW").save(made.folder / "mw.nnp")
    return made


def dumped(runner, name):
    return np.loadtxt(runner.folder / f"{name}.dump", skiprows=9)


@pytest.mark.parametrize("ranks", [1, 2])
def test_lists_agree_along_a_run(runner, ranks):
    """The core's list, LAMMPS' list kept between rebuilds, both with a long skin, and LAMMPS' list made new in every
    step: the same forces and the same path for 40 steps, in which lists are rebuilt."""
    cases = {
        "own": {},
        "own2": {"skin": "2.0"},
        "kept": {"style": "nnpcore list lammps"},
        "kept2": {"style": "nnpcore list lammps", "skin": "2.0"},
        "new": {"style": "nnpcore list lammps", "skin": "0.0"},
    }
    for name, change in cases.items():
        text = LIQUID.format(**{**FIELDS, **change})
        if name == "new":
            text = text.replace("check yes", "check no")
        out = runner.good(text + f"run 40\n{FINAL.format(name=name)}", ranks=ranks)
        builds = int(re.search(r"Neighbor list builds = (\d+)", out)[1])
        assert builds == 40 if name == "new" else 2 <= builds < 20 or name.endswith("2")
        assert ("perpetual, neighbor lists = 1" in out or "1 neighbor lists, perpetual" in out) != name.startswith(
            "own"
        )
    for name in cases:
        np.testing.assert_allclose(dumped(runner, name), dumped(runner, "own"), rtol=0, atol=1e-9)


def test_excluded_pairs_stay_excluded(runner):
    """neigh_modify exclude: without the pairs of types 1 and 2, the two types are systems of their own."""
    energies = {}
    for name, change in (("both", {}), ("apart", {"modify": "exclude type 1 2"})):
        text = LIQUID.format(**{**FIELDS, **change}) + "run 0\nprint 'both $(pe:%.12g)'\n"
        energies[name] = float(re.search(r"^both (\S+)$", runner.good(text), re.M)[1])
    alone = 0.0
    for kind in (1, 2):
        text = LIQUID.format(**FIELDS) + f"group gone type {3 - kind}\ndelete_atoms group gone compress no\n"
        alone += float(re.search(r"^one (\S+)$", runner.good(text + "run 0\nprint 'one $(pe:%.12g)'\n"), re.M)[1])
    assert abs(energies["both"] - energies["apart"]) > 10
    assert energies["apart"] == pytest.approx(alone, abs=1e-8)


def test_types_may_change_between_lists(runner):
    """A type that becomes another without a new list, as Monte Carlo moves do it, here in a drop without ghosts: the
    numbers are those of the new types."""
    model = Model.msr(species=["Ge", "Te"], rc=5.0, n2=2, n3=2, hidden=[4], mass={"Ge": 18.0, "Te": 18.0}, seed=1)
    rng = np.random.default_rng(1)
    model = model.replace(theta=model.theta + rng.normal(0, 0.2, model.n_parameters))
    model.save(runner.folder / "two.nnp")
    for style in ("nnpcore", "nnpcore list lammps"):
        text = LIQUID.format(**{**FIELDS, "style": style, "more": "boundary s s s"}).replace(
            "mw.nnp O O", "two.nnp Ge Te"
        )
        text += "neigh_modify every 100 delay 100 check no\nfix 1 all nve\ntimestep 1e-9\nrun 2\n"
        text += "set type 1 type/fraction 2 0.5 77\nrun 2 pre no\nprint 'kept $(pe:%.12g)'\n"
        out = runner.good(text + "run 0\nprint 'new $(pe:%.12g)'\n")
        kept, new = (float(re.search(rf"^{word} (\S+)$", out, re.M)[1]) for word in ("kept", "new"))
        assert kept == pytest.approx(new, abs=1e-6), style


# ---- fix pair ----

CELL = np.diag([12.0, 11.0, 13.0])
FUNCTIONS = [
    {"type": 2, "partners": ["O"], "eta": 0.4, "rc": 4.0},
    {"type": 3, "partners": ["O", "O"], "eta": 0.1, "lambda": 1, "zeta": 2, "rc": 4.0},
]


@pytest.fixture(scope="module")
def extrapolating(runner):
    """(x, functions of each atom outside their range by the reference): ranges that leave a third of the atoms out."""
    rng = np.random.default_rng(4)
    x = np.empty((0, 3))
    while len(x) < 40:
        new = rng.random(3) @ CELL
        d = x - new
        d -= np.rint(d @ np.linalg.inv(CELL)) @ CELL
        if len(x) == 0 or (d**2).sum(1).min() > 2.0**2:
            x = np.vstack([x, new])
    start = Model.bp(["O"], FUNCTIONS, hidden=(4,), seed=1, mass={"O": 15.999})
    g = np.asarray(reference.fingerprints(start.metadata, x, [0] * len(x), CELL, True))
    low, high = np.sort(g, axis=0)[5], np.sort(g, axis=0)[-5]
    bp.rescaled(start, [[0.0] * 2], [[1.0] * 2], [low], [high]).save(runner.folder / "range.nnp")
    start.save(runner.folder / "open.nnp")
    return x, ((g < low) | (g > high)).sum(axis=1)


PAIR = """
clear
units metal
read_data range.data
pair_style {style}
pair_coeff * * {hybrid}range.nnp O{null}
fix out all pair {every} nnpcore extrapolation {trigger}
compute most all reduce max f_out
thermo_style custom step pe c_most
run 0
write_dump all custom out.dump id f_out modify sort id
"""


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize(
    "style, trigger", [("nnpcore", 0), ("nnpcore precision float32", 1), ("nnpcore list lammps", 1), ("hybrid", 0)]
)
def test_extrapolation_of_each_atom(runner, extrapolating, ranks, style, trigger):
    x, outside = extrapolating
    assert 5 < (outside > 0).sum() < 25 and outside.max() == 2
    hybrid = style == "hybrid"
    runner.data("range.data", x, [1] * len(x), CELL, [15.999])
    style = "hybrid/overlay nnpcore zero 3.0" if hybrid else style
    text = PAIR.format(style=style, hybrid="nnpcore " if hybrid else "", null="", every=1, trigger=trigger)
    text = text.replace("fix out", "pair_coeff * * zero\nfix out") if hybrid else text
    runner.good(text, ranks=ranks)
    assert np.array_equal(dumped(runner, "out")[:, 1], outside)


def test_extrapolation_needs_ranges(runner, extrapolating):
    x, _ = extrapolating
    runner.data("range.data", x, [1] * len(x), CELL, [15.999])
    text = PAIR.format(style="nnpcore", hybrid="", null="", every=1, trigger=0).replace("range.nnp", "open.nnp")
    done = runner.run(text)
    assert done.returncode != 0
    assert "pair_style nnpcore: open.nnp: the model keeps no training ranges" in done.stdout + done.stderr
    done = runner.run(
        PAIR.format(style="nnpcore", hybrid="", null="", every=1, trigger=0).replace("extrapolation", "gamma")
    )
    assert done.returncode != 0 and "extract" in done.stdout + done.stderr
