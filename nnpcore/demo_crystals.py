"""Crystals of the demo: ices and empty clathrates, relaxed with mW and with the network."""

import numpy as np

from . import structures
from .demo_liquid import MASS, SYMBOL


def crystals():
    """{name: (positions [n][3], cell [3][3])} near the structures that mW relaxes to, A."""
    return {
        "ice Ic": structures.diamond(6.36),
        "ice Ih": structures.hexagonal_diamond(4.5),
        "clathrate I": structures.clathrate_i(11.9),
        "clathrate II": structures.clathrate_ii(17.1),
    }


def compare(reference, network, say=lambda text: None):
    """{crystal: numbers}: energies per molecule of both potentials at zero pressure.

    error_meV: network minus reference in the reference's own structure; relaxed_error_meV: each in its own.
    densities in g/cm3.
    """
    table = {}
    for name, (positions, cell) in crystals().items():
        say(name)
        a = relaxed(reference, positions, cell)
        b = relaxed(network, a.positions, a.cell)
        n = len(positions)
        at_reference = network.compute(a.positions, SYMBOL, cell=a.cell, forces=False).energy
        table[name] = {
            "error_meV": 1e3 * (at_reference - a.energy) / n,
            "relaxed_error_meV": 1e3 * (b.energy - a.energy) / n,
            "mW_eV": a.energy / n,
            "network_eV": at_reference / n,
            "network_relaxed_eV": b.energy / n,
            "mW_density": density(a.cell, n),
            "network_density": density(b.cell, n),
            "mW_converged": bool(a.converged),
            "network_converged": bool(b.converged),
            "molecules": n,
        }
    return table


def relaxed(model, positions, cell):
    """structures.Relaxed at zero pressure: positions and the three edges."""

    def compute(x, c):
        out = model.compute(x, SYMBOL, cell=c, skin=0.5)
        return out.energy, out.forces, out.stress

    try:
        return structures.relax(compute, positions, cell, max_force=1e-4, max_stress=1e-3, max_steps=500)
    except (FloatingPointError, ValueError, RuntimeError):  # a bad network may let molecules fall into each other
        nan = float("nan")
        return structures.Relaxed(positions, cell, nan, np.full_like(positions, nan), None, 0, False)


def density(cell, n):
    """g/cm3."""
    return float(structures.volume_to_density(abs(np.linalg.det(cell)), n * MASS))
