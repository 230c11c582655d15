"""Symmetry functions on the device against the C core: inputs, forces, virials, rates along pair tangents."""

import numpy as np
import pytest
from emulator import EmulatedBackend
from reference import bp as reference
from reference.systems import TRICLINIC, bp_case, random_system

from nnpcore import Model, _core
from nnpcore.gpu import bp, gather
from nnpcore.gpu.system import System

TOLERANCE = {"float64": 1e-13, "float32": 1e-6}
CUTOFFS = [(kind, alpha) for kind in range(9) for alpha in (0.0, 0.3)]


def rows_of(system):
    """Rows of each species, as int32 arrays."""
    species = np.asarray(system.species)
    return [np.flatnonzero(species == s).astype(np.int32) for s in range(system.n_species)]


def layers(model, s):
    """[(W, b, activation), ...] of a species' network."""
    names = [*model.metadata["network"][s]["activation"], "linear"]
    weights = reference.layers_of(model.tensors, model.species[s])
    return [(w, b, name) for (w, b), name in zip(weights, names, strict=True)]


def network(model, s, inputs):
    """(energy [n], dE/d(input) [f, n]) by complex steps."""
    x = inputs.T.astype(np.float64)
    weights = [(w, b) for w, b, _ in layers(model, s)]
    names = [name for _, _, name in layers(model, s)][:-1]
    energy = reference.network(weights, names, x.astype(complex)).real
    slope = np.empty_like(x)
    for f in range(x.shape[1]):
        moved = x.astype(complex)
        moved[:, f] += 1j * reference.STEP
        slope[:, f] = reference.network(weights, names, moved).imag / reference.STEP
    return energy, slope.T


class Evaluation:
    """Energy, forces and inputs of a model on the device, with the network in NumPy."""

    def __init__(self, emu, model, frames, precision, skin=0.0):
        self.system = System(emu, [f[1:] for f in frames], len(model.species), model.cutoff, skin)
        self.system.build(np.concatenate([f[0] for f in frames]))
        functions = self.functions = bp.SymmetryFunctions(emu, model, precision)
        self.rows = rows_of(self.system)
        functions.prepare(self.system, self.rows)
        self.outside = np.full(self.system.n, -7, dtype=np.int32)
        gradient = gather.pair_array(self.system, precision)
        energies = np.zeros(self.system.n)
        self.inputs = []
        for s, rows in enumerate(self.rows):
            inputs = functions.inputs(self.system, s, rows, self.outside)
            self.inputs.append(inputs)
            energies[rows], slope = network(model, s, inputs)
            energies[rows] += model.e0[s]
            functions.gradient(self.system, s, rows, np.ascontiguousarray(slope, dtype=inputs.dtype), gradient)
        assert not functions.overflow()
        self.energies = self.system.to_caller(energies)
        self.forces = self.system.to_caller(gather.forces(self.system, gradient, precision))
        self.virials = gather.row_virials(self.system, gradient, precision)


def frame(rng, n_species, n=14, cell=TRICLINIC, pbc=(True, True, True), **more):
    x, s = random_system(rng, n_species, n, cell, **more)
    return x, np.asarray(s, dtype=np.int32), cell, np.array(pbc, dtype=np.int32)


def compare(model, f, out, precision, scale=1.0):
    """Forces to a part of the largest, energies to a part of theirs."""
    exact = model.compute(f[0], f[1], cell=f[2], pbc=f[3].astype(bool), precision="float64")
    tolerance = scale * TOLERANCE[precision]
    assert np.abs(out.forces - exact.forces).max() <= tolerance * np.abs(exact.forces).max()
    assert np.abs(out.energies - exact.energies).max() <= tolerance * np.abs(exact.energies).max()
    return exact


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("n_species", [1, 3])
def test_every_type(emu, rng, n_species, precision):
    model = bp_case(n_species).model
    f = frame(rng, n_species)
    out = Evaluation(emu, model, [f], precision)
    exact = model.compute(f[0], f[1], cell=f[2], pbc=True)
    print(np.abs(out.forces - exact.forces).max() / np.abs(exact.forces).max())
    single = model.compute(f[0], f[1], cell=f[2], pbc=True, precision="float32")
    print(np.abs(single.forces - exact.forces).max() / np.abs(exact.forces).max())
    compare(model, f, out, precision)
