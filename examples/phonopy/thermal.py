"""Silicon with phonopy: force constants, density of states, heat capacity; forces by way of the ASE calculator.

    pip install 'nnpcore[ase]' phonopy
    python thermal.py [MODEL.nnp]

Without a model file: the Stillinger-Weber potential that is built in. Any code that takes forces from ASE works alike.
"""

import sys

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

import nnpcore
import nnpcore.ase


def main():
    model = nnpcore.load(sys.argv[1]) if len(sys.argv) > 1 else nnpcore.Model.stillinger_weber("Si")
    calc = nnpcore.ase.Calculator(model)
    atoms = bulk("Si", "diamond", a=5.43)
    atoms.calc = calc
    BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-5)

    cell = PhonopyAtoms(symbols=atoms.symbols, cell=atoms.cell.array, scaled_positions=atoms.get_scaled_positions())
    phonon = Phonopy(cell, supercell_matrix=np.diag([4, 4, 4]), primitive_matrix=np.eye(3))
    phonon.generate_displacements(distance=0.01)
    forces = []
    for s in phonon.supercells_with_displacements:
        forces.append(Atoms(s.symbols, s.positions, cell=s.cell, pbc=True, calculator=calc).get_forces())
    phonon.forces = forces
    phonon.produce_force_constants()
    phonon.run_mesh([20, 20, 20], is_gamma_center=True)
    phonon.run_thermal_properties(t_min=100, t_max=900, t_step=200)

    highest = phonon.mesh.frequencies.max()
    print(f"{len(forces)} supercell of {len(phonon.supercell)} atoms; highest frequency {highest:.2f} THz")
    print("T (K)   heat capacity (J/K/mol of two atoms; classical limit 49.9)")
    thermal = phonon.thermal_properties
    for t, c in zip(thermal.temperatures, thermal.heat_capacity, strict=True):
        print(f"{t:5.0f}   {c:.2f}")


if __name__ == "__main__":
    main()
