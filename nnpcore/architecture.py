"""The metadata that the core interprets: checks of what the makers of Model are given. All raise InputError."""

import numpy as np

from .elements import MASSES, NUMBERS
from .modelfile import MAX_FILE
from .validate import InputError

SCHEMA = 1
UNITS = "eV Angstrom"
ARCHITECTURE = ("schema", "method", "species", "mass", "e0", "units", "msr", "bp", "network", "baseline")
"""Metadata keys that the core interprets; the others are annotations."""


def check_symbols(species):
    """Element symbols, one or a list, as a list without doubles."""
    species = [species] if isinstance(species, str) else list(species)
    for k, symbol in enumerate(species):
        if symbol not in NUMBERS:
            raise InputError(f"species: {symbol!r} is not an element symbol")
        if symbol in species[:k]:
            raise InputError(f"species: {symbol} is named twice")
    if not species:
        raise InputError("species: expected at least one element symbol")
    return species


def check_info(info):
    """Annotations, which must leave the names of the architecture alone."""
    taken = [key for key in info if key in ARCHITECTURE or not isinstance(key, str)]
    if taken:
        raise InputError(f"info: {taken[0]!r} cannot be the name of an annotation")
    return info


def check_hidden(hidden, n):
    """Layer widths for each of n species: one list for all, or n lists."""
    try:
        lists = [list(widths) for widths in hidden] if hidden and np.ndim(hidden[0]) else [list(hidden)] * n
        checked = [[int(width) for width in widths] for widths in lists]
    except (TypeError, ValueError, KeyError):
        lists, checked = [], None
    if checked != lists or len(lists) != n or any(width < 1 for widths in lists for width in widths):
        raise InputError(f"hidden: expected a list of layer widths, or {n} such lists, got {hidden!r}")
    return checked


def check_size(shapes):
    """Refuse before allocating what no machine or file would hold."""
    total = sum(int(np.prod(shape, dtype=object)) for shape in shapes.values())
    if 8 * total > MAX_FILE:
        raise InputError(f"model: {total} parameters are too many for a file of {MAX_FILE} bytes")


def number(value, name):
    """A finite float."""
    try:
        result = float(value)
    except (TypeError, ValueError):
        result = float("nan")
    if not np.isfinite(result):
        raise InputError(f"{name}: expected a finite number, got {value!r}")
    return result


def per_species(values, name, species):
    """One number, a list, or {symbol: number} as a list of float, one a species."""
    if isinstance(values, dict):
        unknown, missing = set(values) - set(species), set(species) - set(values)
        if unknown or missing:
            raise InputError(f"{name}: expected a value for each of {', '.join(species)}, got {sorted(values)}")
        values = [values[symbol] for symbol in species]
    elif np.ndim(values) == 0:
        values = [values] * len(species)
    if len(values) != len(species):
        raise InputError(f"{name}: expected {len(species)} values, one a species, got {len(values)}")
    return [number(value, name) for value in values]


def symmetric(values, name, n):
    """A number or an [n][n] symmetric table as lists of float."""
    try:
        table = np.broadcast_to(np.asarray(values, dtype=np.float64), (n, n))
        fits = np.ndim(values) in (0, 2) and (table == table.T).all()
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise InputError(f"{name}: expected a number or a symmetric table [{n}][{n}]")
    return table.tolist()


def baseline_list(baseline):
    """A Model of method "baseline", one dict of the file format, or a list of these, as a list of dicts."""
    if isinstance(baseline, dict) or hasattr(baseline, "baseline"):
        baseline = [baseline]
    terms = []
    for entry in baseline:
        terms += entry.baseline if hasattr(entry, "baseline") else [dict(entry)]
    return terms


def common(method, species, mass, e0):
    """The metadata that every method has; mass: standard weights where None; e0: 0 where None."""
    mass = [MASSES[symbol] for symbol in species] if mass is None else per_species(mass, "mass", species)
    e0 = [0.0] * len(species) if e0 is None else per_species(e0, "e0", species)
    return {"schema": SCHEMA, "method": method, "species": species, "mass": mass, "e0": e0, "units": UNITS}
