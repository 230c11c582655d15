"""The references against published and LAMMPS numbers."""

import numpy as np
import pytest
from reference import classical, msr


def published_mono(folder):
    """(spec, theta, stored numbers) of the authors' one-species form; their 1/2 goes into the last layer."""
    z = np.load(folder / "golden/msr/testvec_mono_5_5.npz")
    spec = msr.Spec(1, float(z["Rc"]), float(z["Rcp"]), [[5]], [[5]], hidden=(25, 25))
    head = [z["alpha2"].ravel(), z["alpha3"].ravel(), z["mu"]]
    layers = [z["W0"].ravel(), z["b0"], z["W1"].ravel(), z["b1"], z["W2"].ravel() / 2, z["b2"] / 2]
    return spec, np.concatenate(head + layers), z


def test_msr_matches_the_published_form(shared):
    spec, theta, z = published_mono(shared)
    cell, species = np.diag(z["L"]), np.zeros(len(z["pos"]), int)
    out = msr.compute(spec, theta, z["pos"], species, cell, True)
    assert len(theta) == 981 == msr.n_parameters(spec)
    assert out.energy == pytest.approx(float(z["E"]), rel=1e-13)
    assert np.abs(out.forces - z["F"]).max() < 1e-13
    f = np.exp(np.array(msr.fingerprints(spec, theta, z["pos"], species, cell, True)) + z["mu"]) - 1e-3
    assert np.abs(f - z["fingerprints"]).max() < 1e-12


@pytest.mark.parametrize("name, parameters", [("sw_mW_512", classical.MW), ("sw_Si_216", classical.SILICON)])
def test_stillinger_weber_matches_lammps(name, parameters, shared):
    z = np.load(shared / f"golden/lammps/{name}/golden.npz")
    real = str(z["units"]) == "real"  # kcal/mol: epsilon is then 6.189
    k = dict(parameters, epsilon=6.189) if real else parameters
    out = classical.stillinger_weber(k, z["pos"], np.diag(z["box"][:, 1]), True)
    assert out.energy == pytest.approx(float(z["energy"]), rel=1e-12)
    assert np.abs(out.forces - z["forces"]).max() < 2e-11
    pressure = (out.virial / out.volume)[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
    unit = 68568.415 if real else 1602176.5  # LAMMPS' nktv2p: atm, bar
    assert pressure * unit == pytest.approx(z["pressure_xx_yy_zz_xy_xz_yz"], rel=1e-10, abs=1e-6)
