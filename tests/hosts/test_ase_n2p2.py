"""nnpcore.ase.Calculator.from_n2p2: published potentials by the name of their folder; folders that are not whole."""

import numpy as np
import pytest

import nnpcore
import nnpcore.n2p2
from nnpcore.data import BOHR, HARTREE

pytest.importorskip("ase", reason="no ASE: pip install 'nnpcore[ase]'")

from ase import Atoms

import nnpcore.ase


@pytest.mark.parametrize("name, energy, length", [("H2O_RPBE-D3", HARTREE, BOHR), ("Cu2S_PBE", 1.0, 1.0)])
def test_from_n2p2_folders(shared, name, energy, length):
    """Published n2p2 potentials: n2p2's own energies and forces, by name of the folder alone; parameters go through."""
    folder = shared / "golden" / "n2p2" / name
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    data = np.load(folder / "golden.npz")
    atoms = Atoms(data["s0_Z"].astype(int), data["s0_pos"] * length, cell=data["s0_cell"] * length, pbc=True)
    atoms.calc = nnpcore.ase.Calculator.from_n2p2(folder, n_threads=1, skin=0.5)
    assert atoms.calc.parameters["n_threads"] == 1 and atoms.calc.parameters["skin"] == 0.5
    assert atoms.get_potential_energy() == pytest.approx(data["s0_energy"][0] * energy, rel=0, abs=1e-9)
    assert atoms.get_forces() == pytest.approx(data["s0_forces"] * (energy / length), rel=0, abs=1e-10)
    assert atoms.calc.set(precision="float32") and atoms.get_potential_energy() == pytest.approx(
        data["s0_energy"][0] * energy, rel=1e-6
    )


def test_from_n2p2_errors(tmp_path):
    with pytest.raises(nnpcore.InputError, match="label: not a parameter"):
        nnpcore.ase.Calculator.from_n2p2(write_n2p2(tmp_path), label="x")
    (tmp_path / "pot" / "weights.001.data").unlink()
    with pytest.raises((nnpcore.InputError, OSError), match=r"weights\.001\.data"):
        nnpcore.ase.Calculator.from_n2p2(tmp_path / "pot")


def write_n2p2(folder):
    nnpcore.n2p2.save(nnpcore.Model.bp(["H"], RADIAL, hidden=(3,), e0=[0.0]), folder / "pot")
    return folder / "pot"


RADIAL = [{"type": 2, "partners": ["H"], "eta": 0.4, "rc": 4.0}]
