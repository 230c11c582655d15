"""Published n2p2 potentials, read as they are, against n2p2's and LAMMPS' numbers (shared/golden)."""

import numpy as np
import pytest

from nnpcore import n2p2
from nnpcore.data import BOHR, HARTREE, Frame, read_frames
from nnpcore.elements import SYMBOLS
from nnpcore.evaluate import evaluate
from nnpcore.initial import add_frame
from nnpcore.model import Model
from nnpcore.n2p2_input import InputNN
from nnpcore.training import make_trainer

UNITS = {"H2O_RPBE-D3": (HARTREE, BOHR), "Cu2S_PBE": (1.0, 1.0)}


@pytest.fixture(scope="module")
def golden(shared):
    folder = shared / "golden" / "n2p2"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    return folder


def test_order_of_the_functions_is_n2p2s(golden):
    """Every function sits where n2p2 has it: the k-th stands in the line of input.nn that n2p2 names for it."""
    folders = [*UNITS, *(f"sftypes/{p.name}" for p in sorted((golden / "sftypes").iterdir()))]
    for name in folders:
        nn = InputNN(golden / name / "input.nn")
        species, table = nn.species(), np.load(golden / name / "golden.npz")
        lines = {line.number - 1: line for line in nn.all("symfunction_short")}
        ours = nn.functions(species)
        for symbol in species:
            theirs = [lines[int(k)] for k in table[f"sf_line_{symbol}"]]
            assert len(theirs) == len(ours[symbol])
            for f, line in zip(ours[symbol], theirs, strict=True):
                found = {s: [] for s in species}
                nn._function(line, line.arguments, species, nn.cutoff(), found)
                assert found[symbol] == [f]


def test_every_function_type_and_cutoff(golden):
    """438 functions, 8 cutoffs, 3 structures, through input.nn: 1e-10 relative, as n2p2's own values.

    n2p2 leaves collinear triplets out of types 21, 22, 24, 25, where the window may be open: the p4a functions of type
    22 around 180 degrees differ in the triclinic structure, whose images are collinear.
    """
    for folder in sorted((golden / "sftypes").iterdir()):
        data, (species, table) = np.load(folder / "golden.npz"), n2p2.functions(folder / "input.nn", "eV/A")
        model = Model.bp(species, table, hidden=[1])
        for k in range(int(data["num_structures"][0])):
            cell = data[f"s{k}_cell"] if data[f"s{k}_cell"].size else None
            atoms = [SYMBOLS[int(z) - 1] for z in data[f"s{k}_Z"]]
            trainer = make_trainer(model, 1, "float64")
            add_frame(trainer, model, Frame(atoms, data[f"s{k}_pos"], cell, cell is not None))
            ours, offset = trainer.fingerprints(model.theta, 0), data[f"s{k}_G_offset"].astype(int)
            for i, symbol in enumerate(atoms):
                theirs = data[f"s{k}_G_raw"][offset[i] : offset[i + 1]]
                odd = [k == 1 and f["type"] == 22 and f["subtype"] == "p4a" for f in table[symbol]]
                left = np.flatnonzero(~np.array(odd))
                assert ours[i, left] == pytest.approx(theirs[left], rel=1e-10, abs=1e-13)


@pytest.mark.parametrize("name", UNITS)
def test_energy_and_forces_of_published_potentials(golden, tmp_path, name):
    energy, length = UNITS[name]
    data = np.load(golden / name / "golden.npz")
    model = n2p2.load(golden / name)  # units by the comments in input.nn
    n2p2.save(model, tmp_path / "back")
    species = [SYMBOLS[int(z) - 1] for z in data["s0_Z"]]
    for potential in (model, n2p2.load(tmp_path / "back")):
        out = potential.compute(data["s0_pos"] * length, species, cell=data["s0_cell"] * length)
        assert out.energy == pytest.approx(data["s0_energy"][0] * energy, rel=0, abs=1e-9)
        assert out.forces == pytest.approx(data["s0_forces"] * (energy / length), rel=0, abs=1e-10)


def test_input_data_beside_them(golden):
    for name, units in (("H2O_RPBE-D3", None), ("Cu2S_PBE", "eV/A")):
        (frame,) = read_frames(golden / name / "input.data", units)
        data = np.load(golden / name / "golden.npz")
        assert frame.positions / UNITS[name][1] == pytest.approx(data["s0_pos"], rel=1e-15, abs=1e-15)
        assert (frame.energy is None) == (data["s0_energy_ref"][0] == 0)


@pytest.mark.parametrize("name, potential", [("hdnnp_H2O_1080", "H2O_RPBE-D3"), ("hdnnp_Cu2S_144", "Cu2S_PBE")])
def test_what_lammps_has_for_them(shared, golden, name, potential):
    """pair_style hdnnp; its factors cflength and cfenergy are rounded and used here as they are."""
    path = shared / "golden" / "lammps" / name / "golden.npz"
    if not path.exists():
        pytest.skip(f"no {path}")
    data, model = np.load(path), n2p2.load(golden / potential)
    length, energy = (1.8897261328 * BOHR, 0.0367493254 * HARTREE) if "H2O" in name else (1.0, 1.0)
    box = data["box"]  # LAMMPS' dump: bounds and tilts xy xz yz
    xy, xz, yz = box[:, 2] if box.shape[1] == 3 else np.zeros(3)
    x = box[0, :2] - [min(0, xy, xz, xy + xz), max(0, xy, xz, xy + xz)]
    y = box[1, :2] - [min(0, yz), max(0, yz)]
    cell = np.array([[x[1] - x[0], 0, 0], [xy, y[1] - y[0], 0], [xz, yz, box[2, 1] - box[2, 0]]])
    species = data["type"].astype(int) - 1  # in the order of the elements, as the model has them
    out = model.compute(data["pos"] * length, species, cell=cell * length)
    atoms = len(species)
    assert out.energy / energy == pytest.approx(float(data["energy"]), rel=0, abs=1e-9 * atoms)
    assert out.forces * (length / energy) == pytest.approx(data["forces"], rel=0, abs=1e-8)
    volume, bar = float(data["volume"]), 1.602176634e6
    pressure = -out.stress[[0, 1, 2, 5, 4, 3]] * abs(np.linalg.det(cell * length)) / energy / volume * bar
    assert pressure == pytest.approx(data["pressure_xx_yy_zz_xy_xz_yz"], rel=1e-6, abs=1e-2)


def test_published_silicon_network_on_its_test_set(shared, golden):
    """mlearn's n2p2 network; published for the official split: RMSE 6.93 meV/atom, 170 meV/A (MAE 5.63, 109)."""
    path = shared / "data" / "mlearn_Si" / "test.xyz"
    if not path.exists():
        pytest.skip(f"no {path}")
    pytest.importorskip("ase")
    total = evaluate(n2p2.load(golden / "mlearn_Si"), read_frames(path))[0]["total"]
    found = [
        total[k] for k in ("rmse_energy[meV/atom]", "mae_energy[meV/atom]", "rmse_force[meV/A]", "mae_force[meV/A]")
    ]
    assert found == pytest.approx([6.93, 5.63, 170, 109], rel=4e-3)
