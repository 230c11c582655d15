"""Which symmetry functions leave the range they had in training: where a network extrapolates, errors have no bound."""

from dataclasses import dataclass

import numpy as np

from . import bp, initial

SLACK = 1e-9  # of a range: rounding does not count, as in csrc/bp_impl.h


@dataclass
class Extrapolation:
    """Counts over frames. atoms: with any function outside; frames: with any such atom; n_atoms, n_frames: in all.

    below, above: {symbol: int [n_functions]} atoms beyond each function's minimum and maximum; excess: {symbol: float
    [n_functions]} largest distance from the range, in units of its width.
    """

    n_atoms: int
    n_frames: int
    atoms: int
    frames: int
    below: dict
    above: dict
    excess: dict

    def document(self):
        """The same as a dict that JSON can hold."""
        plain = {name: {s: row.tolist() for s, row in getattr(self, name).items()} for name in ("below", "above")}
        excess = {s: [float(f"{v:.6g}") for v in row] for s, row in self.excess.items()}
        counts = {name: getattr(self, name) for name in ("n_atoms", "n_frames", "atoms", "frames")}
        return {**counts, **plain, "excess": excess}

    def __str__(self):
        """One line, and the functions that leave their range most often."""
        if not self.atoms:
            return f"extrapolation: none of {self.n_atoms} atoms"
        lines = [
            f"extrapolation: {self.atoms} of {self.n_atoms} atoms, in {self.frames} of {self.n_frames} frames, have"
            " symmetry functions outside their training range"
        ]
        rows = [
            (int(self.below[s][k] + self.above[s][k]), s, k)
            for s in self.below
            for k in np.flatnonzero(self.below[s] + self.above[s])
        ]
        for _, s, k in sorted(rows, key=lambda row: (-row[0], row[1], row[2]))[:5]:
            lines.append(
                f"  {s} function {k}: {self.below[s][k]} below, {self.above[s][k]} above,"
                f" by up to {100 * self.excess[s][k]:.3g} % of the range"
            )
        return "\n".join(lines)


def count(model, frames):
    """Extrapolation of a model on frames (list of data.Frame); None where the model keeps no ranges. InputError."""
    spec = model.metadata.get("bp")
    if spec is None or spec["minimum"] is None:
        return None
    from .training import make_trainer

    low, high = ([np.array(row) for row in spec[name]] for name in ("minimum", "maximum"))
    counts = [len(row) for row in low]
    raw = bp.rescaled(model, [[0.0] * n for n in counts], [[1.0] * n for n in counts])
    width = [np.maximum(h - lo, 1e-300) for lo, h in zip(low, high, strict=True)]
    below, above = ([np.zeros(n, dtype=np.int64) for n in counts] for _ in range(2))
    excess = [np.zeros(n) for n in counts]
    atoms = bad_frames = 0
    for frame in frames:
        outside = 0
        found = initial.inputs(raw, [frame], lambda m: make_trainer(m, 0, "float64"))
        for s, g in enumerate(found):
            slack = SLACK * width[s]
            under, over = g < low[s] - slack, g > high[s] + slack
            below[s] += under.sum(axis=0)
            above[s] += over.sum(axis=0)
            distance = np.maximum(low[s] - g, g - high[s]) / width[s]
            excess[s] = np.maximum(excess[s], np.where(under | over, distance, 0.0).max(axis=0, initial=0.0))
            outside += int((under | over).any(axis=1).sum())
        atoms += outside
        bad_frames += outside > 0
    named = [dict(zip(model.species, rows, strict=True)) for rows in (below, above, excess)]
    return Extrapolation(sum(map(len, frames)), len(frames), atoms, bad_frames, *named)
