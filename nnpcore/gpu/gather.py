"""Forces, virials and sums over atoms from the pair gradients: csrc/cuda/force.cu."""

import numpy as np

from .backend import REAL

FORCE = "cuda/force.cu"


def pair_array(system, precision):
    """Room for the pair gradients of a system's list: [3, entries]."""
    return system.backend.xp.empty((3, system.entries), dtype=REAL[precision])


def forces(system, gradient, precision, out=None):
    """[n, 3] eV/Å in the order of the rows."""
    out = system.backend.xp.empty((system.n, 3)) if out is None else out
    arguments = (np.int32(system.n), np.int64(system.entries), system.slice_first, system.count, system.reverse)
    system.backend.launch(FORCE, "nnp_forces", system.n, (*arguments, gradient, out), precision)
    return out


def row_virials(system, gradient, precision):
    """[6, n] eV, xx yy zz xy xz yz: -sum_j r_ij (x) dE_i/dr_ij of each row."""
    out = system.backend.xp.empty((6, system.n))
    arguments = (np.int32(system.n), np.int64(system.entries), system.x, system.slice_first, system.count, system.index)
    system.backend.launch(FORCE, "nnp_row_virials", system.n, (*arguments, gradient, out), precision)
    return out


def atom_virials(system, gradient, precision):
    """[n, 9] eV in the order of the rows: what acts on an atom, credited to it."""
    out = system.backend.xp.empty((system.n, 9))
    arguments = (np.int32(system.n), np.int64(system.entries), system.x, system.slice_first, system.count, system.index)
    arguments = (*arguments, system.reverse, gradient, out)
    system.backend.launch(FORCE, "nnp_atom_virials", system.n, arguments, precision)
    return out


def sums(system, values):
    """[columns, n_structures] of values [columns, n] in the order of the rows, in a fixed order of addition."""
    xp, kernel = system.backend.xp, system.backend.kernel(FORCE, "nnp_sums")
    columns = values.shape[0]
    part, total = xp.empty((columns, system.n_chunks)), xp.empty((columns, system.n_structures))
    if system.n_structures == 0:
        return total
    if system.n_chunks:
        arguments = (np.int64(system.n), np.int32(system.n_chunks), np.int32(columns), system.chunk_first)
        kernel((system.n_chunks,), (256,), (*arguments, values, part))
    arguments = (np.int64(system.n_chunks), np.int32(system.n_structures), np.int32(columns), system.structure_chunks)
    kernel((system.n_structures,), (256,), (*arguments, part, total))
    return total
