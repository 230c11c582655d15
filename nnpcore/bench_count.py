"""What `nnpcore bench` counts: operations and bytes that an atom needs, from the model's shape and measured numbers.

Operations are those of the formulas as csrc/*_impl.h states them, for the pairs and triplets inside the cutoffs: a
fused multiply-add is 2, a division or root 1, an exponential what its polynomial takes. Padding of vectors,
neighbours in the skin and comparisons are not counted. Bytes are what passes between the processor and memory where
nothing is kept from one use to the next: every array of the list, the plan and the state once, written lines read
before (2 x). Both are lower bounds, so the times that follow from them are too.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from . import _core

CUTOFF = {64: 38, 32: 24}  # x(r) and its derivative
LOG = {64: 30, 32: 22}
SMOOTH = 12  # more for the smooth cutoff
REDUCE = 6  # more for e^x than for 2^x


def exp2_flop(bits):
    """Rounding, polynomial, scaling of 2^x (csrc/math/vecmath.h); float64 on AVX-512 has a table and a short one."""
    return 14 if bits == 32 else 16 if _core.isa() == "avx512" else 24


@dataclass
class Environment:
    """Numbers of a system, means over its atoms. Built by `environment`."""

    share: np.ndarray  # [S] of the atoms that are of each species
    pairs: np.ndarray  # [S][S] neighbours of species t of a centre s within the cutoff
    near: np.ndarray  # [S][S] the same within the triplet cutoff
    triplets: np.ndarray  # [S][S][S] unordered pairs of near neighbours of species t <= u of a centre s
    listed: float  # neighbours within cutoff + skin
    density: float  # atoms per cubic Angstrom


def environment(x, cell, species, n_species, cutoff, near, skin=1.0):
    """Count the neighbours of x [n][3] (Angstrom), species [n] in 0 .. n_species-1, in a periodic cell."""
    from .neighbors import neighbor_list

    i, j, d = neighbor_list("ijd", x, cell, True, cutoff + skin)

    def count(radius):
        inside = d < radius
        out = np.zeros((len(x), n_species))
        np.add.at(out, (i[inside], species[j[inside]]), 1)
        return out

    within, close = count(cutoff), count(near)
    pairs = np.zeros((n_species, n_species))
    nears, triplets = pairs.copy(), np.zeros((n_species,) * 3)
    for s in range(n_species):
        of = species == s
        if not of.any():
            continue
        pairs[s], nears[s] = within[of].mean(axis=0), close[of].mean(axis=0)
        for t in range(n_species):
            for u in range(t, n_species):
                n = close[of, t] * ((close[of, t] - 1) / 2 if t == u else close[of, u])
                triplets[s, t, u] = n.mean()
    share = np.bincount(species, minlength=n_species) / len(x)
    return Environment(share, pairs, nears, triplets, len(i) / len(x), len(x) / abs(np.linalg.det(cell)))


def model_environment(model, x, cell, species=None):
    """Environment of a system for a model: its cutoff, and the triplet cutoff of MSR."""
    near = model.describe()["msr"]["rc3"] if model.method == "msr" else model.cutoff
    species = np.zeros(len(x), dtype=int) if species is None else species
    return environment(x, cell, species, len(model.species), model.cutoff, near)


def _channels(n_species):
    return [(t, u) for t in range(n_species) for u in range(t, n_species)]


def _msr_centre(own, e, s, bits):
    """(pairs, near, sides, triplets): lists of (count, fingerprints) of centre s, channel by channel."""
    msr, n = own["msr"], len(own["species"])
    pairs = [(e.pairs[s, t], msr["n2"][s][t]) for t in range(n)]
    threes = [(e.triplets[s, t, u], n3) for (t, u), n3 in zip(_channels(n), msr["n3"][s], strict=True)]
    sides = []
    for (t, u), n3 in zip(_channels(n), msr["n3"][s], strict=True):
        sides.append((e.near[s, t] + (e.near[s, u] if t != u else 0), n3))
    return pairs, e.near[s].sum(), sides, threes


def _network(own, s):
    widths = [own["n_fingerprints"][s], *own["hidden"][s], 1]
    return widths, sum(a * b for a, b in pairwise(widths)), sum(widths[1:-1])


def flop_msr(model, e, bits):
    """Operations an atom of energy and forces of an MSR model (csrc/msr_impl.h)."""
    own, total = model.describe(), 0.0
    exp2, cutoff = exp2_flop(bits), CUTOFF[bits] + SMOOTH * (own["msr"].get("cutoff") == "smooth")
    for s, share in enumerate(e.share):
        pairs, near, sides, threes = _msr_centre(own, e, s, bits)
        widths, weights, hidden = _network(own, s)
        flop = sum(n * (13 + 6 + cutoff + 6 + n2 * (exp2 + 9)) for n, n2 in pairs)
        flop += near * (cutoff + 26)
        flop += sum(n * n3 * (2 * exp2 + 10) for n, n3 in sides)
        flop += sum(n * (7 + 16 + n3 * (exp2 + 12 + 5)) for n, n3 in threes)
        flop += 4 * weights + hidden * (exp2 + 9) + widths[0] * (LOG[bits] + 3)
        total += share * flop
    return total


def flop_gradient(model, e, bits):
    """Operations an atom of the loss gradient: forces, then the sweep of csrc/msr_train_impl.h."""
    own, total = model.describe(), flop_msr(model, e, bits)
    exp2, cutoff = exp2_flop(bits), CUTOFF[bits] + SMOOTH * (own["msr"].get("cutoff") == "smooth")
    for s, share in enumerate(e.share):
        pairs, near, sides, threes = _msr_centre(own, e, s, bits)
        widths, weights, hidden = _network(own, s)
        flop = sum(n * (13 + 38 + cutoff + 1 + n2 * (exp2 + 14)) for n, n2 in pairs)
        flop += near * (cutoff + 3 + 10)
        flop += sum(n * n3 * (2 * exp2 + 30) for n, n3 in sides)
        flop += sum(n * (7 + 16 + n3 * (exp2 + 47)) for n, n3 in threes)
        flop += 12 * weights + hidden * (exp2 + 20) + widths[0] * (LOG[bits] + 30)
        total += share * flop
    return total


def flop_sw(model, e, bits):
    """Operations an atom of energy and forces of Stillinger-Weber by moments (csrc/baseline_impl.h)."""
    return float(e.share @ e.pairs.sum(axis=1)) * (13 + 6 + 2 * (exp2_flop(bits) + REDUCE) + 30 + 21 + 50) + 30


def flop_list(cutoff, cell, density):
    """Operations an atom of a neighbour list: 8 for each candidate of the 27 bins, 30 to wrap and bin it itself.

    cell: rectangular, Angstrom; the bins' edges are at least the cutoff (csrc/neigh_grid.c).
    """
    edges = [edge / max(1, int(edge / cutoff)) for edge in np.diag(cell)]
    return 8 * 27 * density * float(np.prod(edges)) + 30


def bytes_list(listed):
    """Bytes an atom of a fresh list: positions twice, key and order, x, shift, image, x_built, first, index."""
    return 2 * 24 + 4 * 8 + 2 * (32 + 24 + 12 + 24 + 8) + 2 * 4 * listed


def bytes_forces(e, halo):
    """Bytes an atom of energy and forces by row with `halo` places of other chunks an atom (csrc/block_impl.h)."""
    plan = 8 + 4 * len(e.share) + 4 + 4 * e.listed + 4 * halo  # first, segments, rows, local list, halo
    chunk = 32 * (1 + halo) + 2 * (8 + 24 + 32 * halo)  # positions; energies, forces, parts
    return plan + chunk + (32 + 4) * halo + 4 + 2 * 24 + 2 * 8  # the sum over chunks


def bytes_compute(e, halo):
    """The same in the caller's order: positions into the list, forces out of it (csrc/workspace.c)."""
    return bytes_forces(e, halo) + (3 * 24 + 4 + 2 * 32) + (8 + 24 + 4 + 2 * 24)


def bytes_gradient(e, halo):
    """Bytes an atom of the loss gradient: forces, then lambda and the sweep that reads the plan again."""
    return bytes_forces(e, halo) + 3 * 24 + 24 * (1 + halo) + 32 * (1 + halo) + 4 * e.listed


def bytes_step(e, halo, builds):
    """Bytes an atom of a step of dynamics with `builds` rebuilds a step (csrc/md_step.c)."""
    drift, refresh, kick = 3 * 24 + 8 + 4 * 24, 3 * 24 + 2 * 32, 24 + 2 * 24 + 16
    return drift + refresh + kick + bytes_forces(e, halo) + builds * (bytes_list(e.listed) + 8 * e.listed + 12 * 24)
