"""Checks of what users pass in: arrays come back C-contiguous and of the type the core wants, or InputError."""

import numpy as np

from .elements import NUMBERS, SYMBOLS


class InputError(ValueError):
    """Bad input; str(error) is one line that names the argument and what was expected."""


def _as_float64(value, name, shape):
    """value as a finite float64 array of the shape (None: any length)."""
    wanted = "[" + ", ".join("N" if n is None else str(n) for n in shape) + "]"
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "fiu" and array.size:
            raise TypeError
        array = np.ascontiguousarray(array, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name}: expected an array of real numbers of shape {wanted}") from None
    if array.shape == (0,) and shape[0] in (None, 0):  # an empty list
        array = array.reshape(0, *shape[1:])
    if array.ndim != len(shape) or any(n not in (None, m) for n, m in zip(shape, array.shape, strict=True)):
        raise InputError(f"{name}: expected shape {wanted}, got {list(array.shape)}")
    if not np.isfinite(array).all():
        place = [int(k) for k in np.argwhere(~np.isfinite(array))[0]]
        raise InputError(f"{name}: entry {place} is {array[tuple(place)]}, expected a finite number")
    return array


def check_positions(positions, n=None):
    """Positions in Å as float64 [N, 3]; N = n if given. Raises InputError."""
    return _as_float64(positions, "positions", (n, 3))


def check_vectors(values, name, n):
    """Velocities, forces, ...: float64 [n, 3], finite. Raises InputError with name."""
    return _as_float64(values, name, (n, 3))


def check_cell(cell):
    """Cell in Å as float64 [3, 3], lattice vectors in rows; None stays None, three lengths are orthorhombic.

    A degenerate cell is the core's to judge: it depends on which axes are periodic. Raises InputError.
    """
    if cell is None:
        return None
    if np.ndim(cell) == 1:
        return np.diag(_as_float64(cell, "cell", (3,)))
    return _as_float64(cell, "cell", (3, 3))


def check_pbc(pbc, cell=None):
    """Periodic axes as int32 [3] of 0 and 1; None: periodic where there is a cell, one value stands for all axes.

    Raises InputError, also for periodic axes without a cell.
    """
    if pbc is None:
        pbc = cell is not None
    flags = np.asarray(pbc)
    if flags.shape not in ((), (3,)) or flags.dtype.kind not in "biu" or not np.isin(flags, (0, 1)).all():
        raise InputError(f"pbc: expected one or three booleans, got {pbc!r}")
    flags = np.ascontiguousarray(np.broadcast_to(flags, 3), dtype=np.int32)
    if cell is None and flags.any():
        raise InputError("pbc: periodic axes need a cell")
    return flags


def _unknown(index, what, model_species):
    return InputError(f"species: atom {index} is {what}; the model has {', '.join(model_species)}")


def _indices_of_symbols(symbols, model_species):
    table = {symbol: k for k, symbol in enumerate(model_species)}
    try:
        return [table[str(symbol)] for symbol in symbols]
    except KeyError as error:
        place = [str(symbol) for symbol in symbols].index(error.args[0])
        raise _unknown(place, repr(error.args[0]), model_species) from None


def check_numbers(numbers, model_species):
    """Atomic numbers [N] as int32 indices into model_species. Raises InputError naming the unknown one."""
    numbers = np.asarray(numbers)
    if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
        raise InputError("species: expected a list of atomic numbers")
    table = np.full(len(SYMBOLS) + 1, -1, dtype=np.int32)
    for index, symbol in enumerate(model_species):
        table[NUMBERS[symbol]] = index
    inside = (numbers >= 0) & (numbers < len(table))
    indices = np.where(inside, table[np.where(inside, numbers, 0).astype(np.intp)], -1).astype(np.int32)
    if (indices < 0).any():
        place = int(np.argmax(indices < 0))
        z = int(numbers[place])
        name = f"atomic number {z}" + (f" ({SYMBOLS[z - 1]})" if 1 <= z <= len(SYMBOLS) else "")
        raise _unknown(place, name, model_species)
    return indices


def check_species(species, model_species, n=None, numbers=False):
    """Species of the atoms as int32 indices [N] into model_species, a list of element symbols.

    species: one symbol for all of the n atoms, a list of symbols, or integers: indices 0..S-1 by default,
    atomic numbers with numbers=True. Raises InputError naming the unknown species and those the model has.
    """
    if isinstance(species, str):
        if n is None:
            raise InputError("species: one symbol for all atoms needs their number")
        species = [species] * n
    array = np.asarray(species)
    if array.ndim != 1:
        raise InputError(f"species: expected a list of one entry per atom, got shape {list(array.shape)}")
    if n is not None and len(array) != n:
        raise InputError(f"species: expected {n} entries, one per atom, got {len(array)}")
    if len(array) == 0:
        return np.empty(0, dtype=np.int32)
    if array.dtype.kind == "U":
        return np.array(_indices_of_symbols(array.tolist(), model_species), dtype=np.int32)
    if array.dtype.kind not in "iu":
        raise InputError("species: expected element symbols, indices or atomic numbers")
    if numbers:
        return check_numbers(array, model_species)
    bad = (array < 0) | (array >= len(model_species))
    if bad.any():
        place = int(np.argmax(bad))
        raise InputError(
            f"species: atom {place} has index {array[place]}; the model has 0 to {len(model_species) - 1}"
            f" ({', '.join(model_species)})"
        )
    return np.ascontiguousarray(array, dtype=np.int32)
