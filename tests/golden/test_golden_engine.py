"""The engine against published and LAMMPS numbers, and relaxed crystals."""

import json

import numpy as np
import pytest
from reference.systems import agree

import nnpcore
from nnpcore import structures


def kcal(model):
    """kcal/mol of 1 eV, as the model has it: mW's epsilon is 6.189 kcal/mol."""
    unit = 6.189 / model.baseline[0]["epsilon"]
    assert unit == pytest.approx(6.02214076e23 * 1.602176634e-19 / 4184, rel=5e-7)
    return unit


def published_mono(folder):
    """The authors' one-species model; their 1/2 goes into the last layer."""
    z = np.load(folder / "golden/msr/testvec_mono_5_5.npz")
    model = nnpcore.Model.msr(species=["O"], rc=float(z["Rc"]), rc3=float(z["Rcp"]), n2=5, n3=5, hidden=(25, 25))
    head = [z["alpha2"].ravel(), z["alpha3"].ravel(), z["mu"]]
    layers = [z["W0"].ravel(), z["b0"], z["W1"].ravel(), z["b1"], z["W2"].ravel() / 2, z["b2"] / 2]
    model.theta = np.concatenate(head + layers)
    return model, z


@pytest.mark.parametrize("precision, tolerance", [("float64", 1e-12), ("float32", 1e-5)])
def test_published_msr(precision, tolerance, shared):
    model, z = published_mono(shared)
    species = np.zeros(len(z["pos"]), dtype=np.int32)
    out = model.compute(z["pos"], species, cell=np.diag(z["L"]), pbc=True, precision=precision)
    assert out.energy == pytest.approx(float(z["E"]), rel=tolerance if precision == "float64" else 1e-6)
    agree(out.forces, z["F"], tolerance, "forces")
    if precision == "float32":
        error = np.linalg.norm(out.forces - z["F"], axis=1) / np.linalg.norm(z["F"], axis=1)
        assert np.median(error) <= 3e-6


@pytest.mark.parametrize("name, which", [("sw_mW_512", "mW"), ("sw_Si_216", "Si"), ("sw_mW_liquid8000", "mW")])
def test_stillinger_weber(name, which, shared):
    z = np.load(shared / f"golden/lammps/{name}/golden.npz")
    real = str(z["units"]) == "real"
    model = nnpcore.Model.stillinger_weber(which)
    unit = kcal(model) if real else 1.0
    x, species = z["pos"], np.zeros(len(z["pos"]), dtype=np.int32)
    out = model.compute(x, species, cell=np.diag(z["box"][:, 1]), pbc=True)
    assert out.energy * unit == pytest.approx(float(z["energy"]), rel=1e-12)
    agree(out.forces * unit, z["forces"], 1e-11 if len(x) < 1000 else 1e-10, "forces")
    pressure = -out.stress[[0, 1, 2, 5, 4, 3]] * (68568.415 * unit if real else 1602176.5)  # LAMMPS' nktv2p: atm, bar
    assert pressure == pytest.approx(z["pressure_xx_yy_zz_xy_xz_yz"], rel=1e-9, abs=1e-5)
    out = model.compute(x, species, cell=np.diag(z["box"][:, 1]), pbc=True, precision="float32")
    assert abs(out.energy - float(z["energy"]) / unit) / len(x) <= 1e-6
    error = np.linalg.norm(out.forces * unit - z["forces"], axis=1) / np.linalg.norm(z["forces"], axis=1)
    assert np.median(error) <= 3e-6


STARTS = {
    "diamond": lambda a: structures.diamond(2.6 * a),
    "hex-diamond": lambda a: structures.hexagonal_diamond(1.8 * a),
    "bcc": lambda a: structures.bcc(1.57 * a),
    "fcc": lambda a: structures.fcc(2.0 * a),
    "sc": lambda a: structures.sc(1.26 * a),
    "beta-tin": lambda a: structures.beta_tin(2.37 * a, 1.34 * a),
    "bc8": lambda a: structures.bc8(3.15 * a),
    "clathrate-I (46)": lambda a: structures.clathrate_i(4.9 * a),
    "clathrate-II (136)": lambda a: structures.clathrate_ii(7.0 * a),
}


@pytest.mark.parametrize("which, key, sigma", [("mW", "mW", 2.3925), ("Si", "Si-SW", 2.0951)])
@pytest.mark.parametrize("name", STARTS)
def test_relaxed_crystals(which, key, sigma, name, shared):
    golden = json.loads((shared / "golden/mw/crystals.json").read_text())[f"{key}|{name}"]
    model = nnpcore.Model.stillinger_weber(which)
    x, cell = STARTS[name](sigma)
    species = np.zeros(len(x), dtype=np.int32)

    def compute(positions, cell):
        out = model.compute(positions, species, cell=cell, pbc=True)
        return out.energy, out.forces, out.stress

    relaxed = structures.relax(compute, x, cell)
    assert relaxed.converged
    assert relaxed.energy / len(x) == pytest.approx(golden["e"], abs=1e-6)
    assert np.diag(relaxed.cell)[[0, 2]] == pytest.approx(np.array(golden["cell"])[[0, 2]], abs=1e-4)
    assert abs(np.linalg.det(relaxed.cell)) / len(x) == pytest.approx(golden["vol"], abs=1e-3)
    if "diamond" in name:
        assert relaxed.energy / len(x) == pytest.approx(-2 * model.baseline[0]["epsilon"], abs=1e-8)
