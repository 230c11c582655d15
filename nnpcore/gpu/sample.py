"""What the device counted, as the CPU's accumulators keep it."""

import numpy as np


def add_frame(rdf, frame, volume):
    """Add a frame's counts int64 [S, S, n_bins] to a _core.RDF: the blocks of csrc/sample.c."""
    counts, samples, inverse_volume = rdf.get()
    blocks, length = len(counts), 1
    while samples > blocks * length:
        length *= 2
    block = samples // length
    if block == blocks:  # all are full: neighbours merge, the length doubles
        counts = np.concatenate([counts[0::2] + counts[1::2], np.zeros_like(counts[: blocks // 2])])
        block = blocks // 2
    counts[block] += frame
    rdf.set(np.ascontiguousarray(counts), samples + 1, inverse_volume + (1 / volume if volume > 0 else 0.0))


def volume_of(cell):
    """Å^3, to the bits of csrc/md_thermo.c."""
    a, b, c = (row.tolist() for row in cell)
    down = (b[1] * c[2] - b[2] * c[1], b[0] * c[2] - b[2] * c[0], b[0] * c[1] - b[1] * c[0])
    return abs(a[0] * down[0] - a[1] * down[1] + a[2] * down[2])
