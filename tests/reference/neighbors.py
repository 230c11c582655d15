"""Brute-force neighbour pairs over explicit lattice shifts, and the sums every potential ends with."""

from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np


def pairs(positions, cell, pbc, cutoff):
    """Directed pairs with r < cutoff: (i [m], j [m], d [m, 3] = x_j + shift - x_i), sorted by i."""
    x = np.asarray(positions, dtype=float).reshape(-1, 3)
    n = len(x)
    if n == 0:
        return np.zeros(0, int), np.zeros(0, int), np.zeros((0, 3))
    out = []
    for shift in _shifts(x, cell, pbc, cutoff):
        vector = shift @ np.asarray(cell, dtype=float) if cell is not None else np.zeros(3)
        for start in range(0, n, 512):
            d = x[None, :, :] + vector - x[start : start + 512, None, :]
            near = (d * d).sum(axis=2) < cutoff * cutoff
            if not shift.any():
                rows = np.arange(start, min(start + 512, n))
                near[rows - start, rows] = False
            i, j = np.nonzero(near)
            out.append((i + start, j, d[i, j]))
    i, j, d = (np.concatenate(part) for part in zip(*out, strict=True))
    order = np.argsort(i, kind="stable")
    return i[order], j[order], d[order]


def _shifts(x, cell, pbc, cutoff):
    """Every integer shift that can bring two of the atoms, wherever they are, within the cutoff."""
    pbc = np.broadcast_to(np.asarray(pbc, dtype=bool), (3,))
    if cell is None or not pbc.any():
        return [np.zeros(3, int)]
    cell = np.array(cell, dtype=float)
    for axis in np.flatnonzero(~pbc):  # a non-periodic axis may have no vector: any complement serves
        if not cell[axis].any():
            _, _, v = np.linalg.svd(np.delete(cell, axis, axis=0))
            cell[axis] = v[-1]
    inverse = np.linalg.inv(cell)
    fractional = x @ inverse
    spread = fractional.max(axis=0) - fractional.min(axis=0)
    reach = np.floor(cutoff * np.linalg.norm(inverse, axis=0) + spread).astype(int) + 1
    return [np.array(s) for s in product(*(range(-m, m + 1) if p else (0,) for m, p in zip(reach, pbc, strict=True)))]


@dataclass
class Result:
    """energies [n], forces [n, 3], virials [n, 3, 3]; virial is their sum, stress Voigt in ASE's sign."""

    energies: np.ndarray
    forces: np.ndarray
    virials: np.ndarray
    volume: float

    @property
    def energy(self):
        return float(self.energies.sum())

    @property
    def virial(self):
        return self.virials.sum(axis=0)

    @property
    def stress(self):
        if not self.volume:
            return None
        s = -self.virial / self.volume
        return np.array([s[0, 0], s[1, 1], s[2, 2], s[1, 2], s[0, 2], s[0, 1]])

    def __add__(self, other):
        return Result(
            self.energies + other.energies, self.forces + other.forces, self.virials + other.virials, self.volume
        )


def gather(n, energies, i, j, d, g, cell):
    """Result of centre energies and pair gradients g = d eps_i / d r_ij [m, 3].

    F_i = sum_j (g_ij - g_ji); what acts on atom j through the centre i, -g_ij at r_ij from it, is credited to j:
    W_j = -sum_i r_ij (x) g_ij.
    """
    forces = np.zeros((n, 3))
    virials = np.zeros((n, 3, 3))
    np.add.at(forces, i, g)
    np.add.at(forces, j, -g)
    np.add.at(virials, j, -d[:, :, None] * g[:, None, :])
    volume = abs(np.linalg.det(np.asarray(cell, dtype=float).reshape(3, 3))) if cell is not None else 0.0
    return Result(np.asarray(energies, dtype=float), forces, virials, volume)


def rows(i, n):
    """Slices of the sorted pair list, one for each of the n centres."""
    edges = np.searchsorted(i, np.arange(n + 1))
    return [slice(a, b) for a, b in pairwise(edges)]
