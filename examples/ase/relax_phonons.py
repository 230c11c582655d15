"""Silicon with ASE: relax crystal and cell, fit an equation of state, phonons along L-Γ-X. Seconds on one processor.

    python relax_phonons.py [MODEL.nnp]

Without a model file: the Stillinger-Weber potential that is built in. Writes relaxed.xyz, phonons.csv and, where
matplotlib is there, phonons.png.
"""

import sys
import tempfile

import numpy as np
from ase import units
from ase.build import bulk
from ase.eos import EquationOfState
from ase.filters import FrechetCellFilter
from ase.io import write
from ase.optimize import BFGS
from ase.phonons import Phonons

import nnpcore
import nnpcore.ase

THZ = units._e / units._hplanck * 1e-12  # of an energy in eV


def relax(calc):
    """The two-atom crystal at zero force and stress, from a distorted start."""
    atoms = bulk("Si", "diamond", a=5.6)
    atoms.calc = calc
    atoms.rattle(0.05, seed=1)
    BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-5, steps=200)
    print(f"lattice constant   {(4 * atoms.get_volume()) ** (1 / 3):.4f} Å")
    print(f"energy             {atoms.get_potential_energy() / len(atoms):.5f} eV/atom")
    return atoms


def bulk_modulus(atoms):
    """In GPa, from energies at nine volumes."""
    volumes, energies, strained = [], [], atoms.copy()
    strained.calc = atoms.calc
    for scale in np.linspace(0.98, 1.02, 9):
        strained.set_cell(scale * atoms.cell, scale_atoms=True)
        volumes.append(strained.get_volume())
        energies.append(strained.get_potential_energy())
    return EquationOfState(volumes, energies, eos="birchmurnaghan").fit()[2] / units.GPa


def phonons(atoms):
    """Path coordinate [k], frequencies in THz [k,6] and special points along L-Γ-X; displacements of 0.01 Å."""
    path = atoms.cell.bandpath("LGX", npoints=121)
    with tempfile.TemporaryDirectory() as folder:
        ph = Phonons(atoms, atoms.calc, supercell=(4, 4, 4), delta=0.01, name=f"{folder}/phonon")
        ph.run()
        ph.read(acoustic=True)
        bands = ph.get_band_structure(path)
    x, ticks, labels = path.get_linear_kpoint_axis()
    return x, bands.energies[0] * THZ, ticks, labels


def plot(x, frequencies, ticks, labels):
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    plt.plot(x, frequencies, color="C0")
    plt.xticks(ticks, [label.replace("G", "Γ") for label in labels])
    plt.ylabel("frequency (THz)"), plt.ylim(bottom=0), plt.xlim(x[0], x[-1])
    plt.savefig("phonons.png", dpi=150)


def main():
    model = nnpcore.load(sys.argv[1]) if len(sys.argv) > 1 else nnpcore.Model.stillinger_weber("Si")
    atoms = relax(nnpcore.ase.Calculator(model))
    write("relaxed.xyz", atoms)
    print(f"bulk modulus       {bulk_modulus(atoms):.1f} GPa")
    x, frequencies, ticks, labels = phonons(atoms)
    gamma = np.argmin(np.abs(x - ticks[1]))
    print(f"optical mode at Γ  {frequencies[gamma, 3:].mean():.2f} THz")
    np.savetxt("phonons.csv", np.column_stack([x, frequencies]), header="path[1/A],6 frequencies[THz]", delimiter=",")
    plot(x, frequencies, ticks, labels)


if __name__ == "__main__":
    main()
