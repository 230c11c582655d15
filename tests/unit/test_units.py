"""One place for conversion factors: they agree with each other, with the C core's, and mW's with the reference runs."""

import json
from pathlib import Path

import numpy as np
import pytest

from nnpcore import Model, _core, data, structures, units

E, NA = 1.602176634e-19, 6.02214076e23  # C, 1/mol: exact


def test_factors():
    assert pytest.approx(1e-9 * E * 1e30, rel=1e-15) == units.GPA
    assert pytest.approx(4184 / (E * NA), rel=1e-15) == units.KCAL_MOL
    assert pytest.approx(1e24 / NA, rel=1e-9) == units.AMU_PER_A3  # the molar mass constant is 1 g/mol to 3e-10
    # E_h = e^2 / (4 pi eps0 a0), with eps0 of CODATA 2018
    coulomb = E / (4 * np.pi * 8.8541878128e-12) * 1e10  # eV A
    assert pytest.approx(coulomb, rel=3e-10) == units.HARTREE * units.BOHR


def test_they_are_the_ones_in_use():
    assert data.UNITS["kcal/mol"] == (units.KCAL_MOL, 1.0)
    assert data.UNITS["Hartree/Bohr"] == (units.HARTREE, units.BOHR)
    assert structures.density_to_volume(1.0, 1.0) == units.AMU_PER_A3


def test_no_second_definition():
    """Digits of a factor in another module would be a second place to mend."""
    digits = ("27.2113", "0.5291772", "160.2176", "1.6605", "0.04336", "0.0062415")
    found = [
        f"{path.name}: {d}"
        for path in sorted(Path(units.__file__).parent.glob("*.py"))
        for d in digits
        if path.name != "units.py" and d in path.read_text(encoding="utf-8")
    ]
    assert not found


def test_the_core_counts_in_the_same_amu():
    """Kinetic energy of one atom of 2 amu at 0.01 A/fs."""
    md = _core.MD(Model.stillinger_weber("mW").core, np.zeros(1, np.int32), np.zeros((1, 3)), mass=np.array([2.0]),
                  v=np.array([[0.01, 0, 0]]))  # fmt: skip
    joule = 0.5 * 2 * units.AMU_PER_A3 * 1e-27 * (0.01 * 1e5) ** 2
    assert md.thermo(False)["kinetic"] == pytest.approx(joule / E, rel=1e-14)


def test_mw_has_the_factor_of_its_reference_runs(shared):
    """E(diamond) = -2 eps: with KCAL_MOL it would be off by 2.6e-7."""
    golden = json.loads((shared / "golden/mw/crystals.json").read_text())["mW|diamond"]["e"]
    liquid = json.loads((shared / "golden/mw/mw_liquid.json").read_text())
    epsilon = Model.stillinger_weber("mW").baseline[0]["epsilon"]
    assert -2 * epsilon == pytest.approx(golden, rel=1e-9)
    for point in liquid:
        assert point["E_eV"] / point["E_kcal"] == pytest.approx(units.KCAL_MOL_MW, rel=1e-13)
    assert 2.4e-7 < units.KCAL_MOL_MW / units.KCAL_MOL - 1 < 2.7e-7
