"""Full neighbour lists for any cell, in the manner of ase.neighborlist.neighbor_list."""

import numpy as np

from . import _core


def _array(name, value, shape):
    try:
        array = np.ascontiguousarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: not an array of numbers ({error})") from None
    if array.shape != shape:
        raise ValueError(f"{name}: shape {array.shape}, expected {shape}")
    bad = np.flatnonzero(~np.isfinite(array).all(axis=-1))
    if bad.size:
        raise ValueError(f"{name}: row {bad[0]} is not finite: {array[bad[0]]}")
    return array


def _cell(cell):
    cell = np.asarray(cell, dtype=np.float64)
    return _array("cell", np.diag(cell) if cell.shape == (3,) else cell, (3, 3))


def _pbc(pbc, cell):
    pbc = np.asarray(cell is not None if pbc is None else pbc)
    if pbc.shape not in ((), (3,)):
        raise ValueError(f"pbc: shape {pbc.shape}, expected one boolean or three")
    if cell is None and pbc.any():
        raise ValueError("pbc: periodic axes need a cell")
    return np.ascontiguousarray(np.broadcast_to(pbc.astype(bool), 3), dtype=np.intc)


def neighbor_list(quantities, positions, cell=None, pbc=None, cutoff=None, n_threads=0):
    """All ordered pairs (i, j) with 0 <= |D| < cutoff, images of an atom itself included, (i, i, 0) not.

    Parameters
    ----------
    quantities : str of the letters i, j, d, D, S: what to return, in this order
    positions : [n, 3], Angstrom; need not lie in the cell
    cell : [3, 3], one lattice vector a row, or its three edges, or None for an isolated system
    pbc : bool or three of them, by default periodic where there is a cell; vectors of non-periodic axes may be zero
    cutoff : Angstrom
    n_threads : 0 for OpenMP's default; the result does not depend on it

    Returns
    -------
    One array, or a tuple of them for several letters; n_pairs rows, ascending i:
    i, j [n_pairs] int32; d [n_pairs]; D [n_pairs, 3]; S [n_pairs, 3] int32, the image of j, so that
    D = positions[j] - positions[i] + S @ cell and d = |D|.

    Raises
    ------
    ValueError for a bad argument, nnpcore._core.NnpError for a singular cell or too many images, MemoryError.
    """
    if not isinstance(quantities, str) or not quantities or set(quantities) - set("ijdDS"):
        raise ValueError(f"quantities: {quantities!r}, expected letters of 'ijdDS'")
    positions = np.asarray(positions)
    n = 0 if positions.size == 0 else len(positions) if positions.ndim else 1
    positions = _array("positions", positions if positions.size else np.empty((0, 3)), (n, 3))
    if not isinstance(cutoff, (int, float, np.number)) or not 0 < cutoff < np.inf:
        raise ValueError(f"cutoff: {cutoff!r}, expected a positive length in Angstrom")
    cell = None if cell is None else _cell(cell)
    pairs = _core.neighbor_pairs(quantities, positions, cell, _pbc(pbc, cell), float(cutoff), int(n_threads))
    found = tuple(pairs[q] for q in quantities)
    return found if len(found) > 1 else found[0]
