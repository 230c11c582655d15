"""Observables accumulated while a simulation runs; the counting is csrc/sample.c. As yet: pair distributions g(r)."""

from dataclasses import dataclass

import numpy as np

from . import _core, validate
from .validate import InputError


@dataclass(frozen=True)
class PairDistribution:
    """g(r) by species pair, ready to plot.

    r [bins] centres in Å; g, error [S, S, bins]: partial g_st(r) of t around s, and its standard error from block
    averages (NaN with fewer than two blocks); total, total_error [bins]: all atoms alike; coordination [S, S, bins]:
    mean number of t within the bin's outer edge of an s; samples: frames.
    """

    r: np.ndarray
    g: np.ndarray
    error: np.ndarray
    total: np.ndarray
    total_error: np.ndarray
    coordination: np.ndarray
    species: tuple
    samples: int

    def columns(self):
        """[(name with unit, values [bins])]: the columns of rdf.csv."""
        table = [("r[A]", self.r), ("g", self.total), ("g_error", self.total_error)]
        if len(self.species) > 1:
            for s, a in enumerate(self.species):
                for t in range(s, len(self.species)):
                    name = f"{a}-{self.species[t]}"
                    table += [(f"g_{name}", self.g[s, t]), (f"g_{name}_error", self.error[s, t])]
        for s, a in enumerate(self.species):
            table += [(f"n_{a}-{b}", self.coordination[s, t]) for t, b in enumerate(self.species)]
        return table


class RDF:
    """Counts of pairs closer than r_max (Å) in bins of equal width, for a fixed set of atoms and three periodic axes.

    species_index [n]: 0 .. S-1, names: S symbols. Raises InputError.
    """

    def __init__(self, species_index, names, r_max=10.0, bins=200):
        if not (np.isfinite(r_max) and r_max > 0):
            raise InputError(f"r_max: expected a length in Å above 0, got {r_max}")
        if bins < 1:
            raise InputError(f"bins: expected at least 1, got {bins}")
        self.names = tuple(names)
        self.species = np.ascontiguousarray(species_index, dtype=np.int32)
        self.r_max, self.bins = float(r_max), int(bins)
        self.number = np.bincount(self.species, minlength=len(self.names))
        self.core = _core.RDF(len(self.names), self.r_max, self.bins)

    def add(self, positions, cell, threads=0):
        """Count one frame: positions [n, 3] in Å, cell [3, 3] or three lengths. Raises InputError."""
        positions = validate.check_positions(positions, len(self.species))
        cell = validate.check_cell(cell)
        if cell is None or not abs(np.linalg.det(cell)) > 0:
            raise InputError("cell: g(r) needs a cell with a volume")
        self.core.add(self.species, positions, cell, np.ones(3, dtype=np.int32), threads)

    def state(self):
        """(arrays, document) of a checkpoint."""
        counts, samples, inverse_volume = self.core.get()
        return {"rdf.counts": counts}, {"samples": samples, "inverse_volume": inverse_volume}

    def set_state(self, arrays, document):
        """Take over what state() gave."""
        self.core.set(np.ascontiguousarray(arrays["rdf.counts"]), document["samples"], document["inverse_volume"])

    def result(self):
        """The PairDistribution of the frames so far.

        g_st = counts / (frames N_s (N_t - delta_st)/V  v_bin): exactly 1 on average for independent atoms in a
        periodic cell. V is the mean of 1/V, inverted. Raises InputError where nothing was counted.
        """
        counts, samples, inverse_volume = self.core.get()
        if samples == 0:
            raise InputError("g(r): no frame was counted")
        edges = np.linspace(0, self.r_max, self.bins + 1)
        shell = 4 / 3 * np.pi * np.diff(edges**3)
        length = 1
        while samples > length * len(counts):
            length *= 2
        whole = samples // length  # blocks that are full
        pairs = self.number[:, None] * (self.number[None, :] - np.eye(len(self.number)))
        with np.errstate(divide="ignore", invalid="ignore"):
            ideal = np.where(pairs > 0, pairs, np.nan)[..., None] * shell * inverse_volume / samples
            all_ideal = max(self.number.sum() * (self.number.sum() - 1), 1) * shell * inverse_volume / samples
            blocks = counts[:whole] / length / ideal
            all_blocks = counts[:whole].sum(axis=(1, 2)) / length / all_ideal
            total = counts.sum(axis=0)
            g, all_g = total / samples / ideal, total.sum(axis=(0, 1)) / samples / all_ideal
            coordination = np.cumsum(total, axis=-1) / samples / np.maximum(self.number, 1)[:, None, None]
        return PairDistribution(
            r=0.5 * (edges[1:] + edges[:-1]),
            g=g,
            error=_standard_error(blocks),
            total=all_g,
            total_error=_standard_error(all_blocks),
            coordination=coordination,
            species=self.names,
            samples=samples,
        )


def _standard_error(blocks):
    """Of the mean over the first axis; NaN with fewer than two blocks."""
    if len(blocks) < 2:
        return np.full(blocks.shape[1:], np.nan)
    return blocks.std(axis=0, ddof=1) / np.sqrt(len(blocks))
