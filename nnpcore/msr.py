"""MSR models (Mattioli, Sciortino, Russo, J. Chem. Phys. 158, 104501 (2023)): counts, tensors, starting values."""

from itertools import pairwise

import numpy as np

from .validate import InputError

CUTOFFS = ("cosine", "septic")
"""Cutoff functions x(r) (csrc/math/cutoff.h)."""
EXPONENTS = ("alpha", "triplet")
"""Tensors that hold exponents (alpha; a, b, beta), which the training regularises and the file format bounds."""


def n_channels(n_species):
    """Unordered pairs of partner species: S (S + 1) / 2."""
    return n_species * (n_species + 1) // 2


def channel(n_species, t, u):
    """Index of the pair channel of partner species t and u: t S - t (t - 1) / 2 + (u - t) for t <= u."""
    t, u = min(t, u), max(t, u)
    return t * n_species - t * (t - 1) // 2 + (u - t)


def expand_counts(counts, name, rows, columns):
    """Fingerprints per centre species and channel as a list [rows][columns]; an int stands for all. InputError."""
    if isinstance(counts, (int, np.integer)):
        counts = [[int(counts)] * columns] * rows
    try:
        table = [[int(n) for n in row] for row in counts]
        fits = table == [list(row) for row in counts] and len(table) == rows
    except TypeError:
        fits = False
    if not fits or any(len(row) != columns or min(row) < 0 for row in table):
        raise InputError(f"{name}: expected a count or {rows} rows of {columns} counts, got {counts!r}")
    return table


def tensor_shapes(symbol, n2, n3, hidden):
    """Names and shapes of the tensors of one centre species, in theta's order; n2, n3: its counts by channel."""
    n2, n3 = sum(n2), sum(n3)
    shapes = {f"msr.{symbol}.alpha": (n2,), f"msr.{symbol}.triplet": (n3, 3), f"msr.{symbol}.mu": (n2 + n3,)}
    widths = [n2 + n3, *hidden, 1]
    for layer, (n_in, n_out) in enumerate(pairwise(widths)):
        shapes[f"net.{symbol}.{layer}.weight"] = (n_in, n_out)
        shapes[f"net.{symbol}.{layer}.bias"] = (n_out,)
    return shapes


def init_msr(rng, shapes):
    """Starting values for tensors {name: shape}, drawn in order from rng, a numpy Generator; {name: array}.

    As published: alpha, a, b ~ U(-5, 5), beta ~ U(-10, 0); mu = 0; Glorot-uniform weights, no bias.
    """
    tensors = {}
    for name, shape in shapes.items():
        kind = name.rsplit(".", 1)[1]
        if kind == "alpha":
            value = rng.uniform(-5.0, 5.0, shape)
        elif kind == "triplet":
            value = rng.uniform((-5.0, -5.0, -10.0), (5.0, 5.0, 0.0), shape)
        elif kind == "weight":
            value = rng.uniform(-1.0, 1.0, shape) * np.sqrt(6.0 / sum(shape))
        else:
            value = np.zeros(shape)
        tensors[name] = value
    return tensors
