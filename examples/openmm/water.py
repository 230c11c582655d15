"""mW water in OpenMM: the network moves under OpenMM's integrators, by way of OpenMM-ML and the ASE calculator.

    pip install 'nnpcore[ase]' openmm openmmml
    python water.py [MODEL.nnp]

216 molecules of ice Ic, one particle each: 2 ps at 250 K by OpenMM's Langevin integrator, then 2 ps without a
thermostat. Without a model file: the network that comes with nnpcore. OpenMM works in nm, kJ/mol, ps.
"""

import sys
from pathlib import Path

import numpy as np
import openmm
from ase import units
from openmm import app, unit
from openmmml import MLPotential

import nnpcore
import nnpcore.ase
from nnpcore import structures

EV = units.mol / units.kJ  # kJ/mol; ASE's value, which OpenMM-ML converts with


def ice(model):
    """Topology and positions (Å) of a cubic crystal; the molecules are filed under the model's element."""
    x, cell = structures.diamond(6.25, repeats=3)
    topology = app.Topology()
    topology.setPeriodicBoxVectors(cell * unit.angstrom)
    chain = topology.addChain()
    for _ in x:
        element = app.Element.getBySymbol(model.species[0])
        topology.addAtom(model.species[0], element, topology.addResidue("W", chain))
    return topology, x, cell


def main():
    default = Path(nnpcore.__file__).with_name("mw_msr.nnp")
    model = nnpcore.load(sys.argv[1] if len(sys.argv) > 1 else default)
    topology, x, cell = ice(model)
    system = MLPotential("ase").createSystem(topology, calculator=nnpcore.ase.Calculator(model))
    for k in range(system.getNumParticles()):
        system.setParticleMass(k, model.mass[0])  # amu: a molecule's, not an oxygen atom's

    langevin = openmm.LangevinMiddleIntegrator(250 * unit.kelvin, 5 / unit.picosecond, 4 * unit.femtoseconds)
    langevin.setRandomNumberSeed(1)
    verlet = openmm.VerletIntegrator(4 * unit.femtoseconds)
    both = openmm.CompoundIntegrator()
    both.addIntegrator(langevin), both.addIntegrator(verlet)
    context = openmm.Context(system, both, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(x * unit.angstrom)
    context.setVelocitiesToTemperature(250 * unit.kelvin, 1)

    energy = context.getState(getEnergy=True).getPotentialEnergy().value_in_unit(unit.kilojoules_per_mole) / EV
    print(f"energy of the crystal  {energy:.9f} eV in OpenMM, {model.compute(x, 'O', cell).energy:.9f} in nnpcore")
    both.step(500)
    both.setCurrentIntegrator(1)
    total, kinetic = [], []
    for _ in range(50):
        both.step(10)
        state = context.getState(getEnergy=True)
        parts = [
            e.value_in_unit(unit.kilojoules_per_mole) / EV
            for e in (state.getPotentialEnergy(), state.getKineticEnergy())
        ]
        total.append(sum(parts)), kinetic.append(parts[1])
    print(f"temperature            {np.mean(kinetic) / (1.5 * len(x) * 8.617333262e-5):.0f} K")
    print(f"total energy           {np.mean(total) / len(x):.6f} ± {np.std(total) / len(x):.1e} eV per molecule")


if __name__ == "__main__":
    main()
