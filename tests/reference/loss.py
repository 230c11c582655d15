"""The training loss of csrc/nnpcore.h from the MSR reference, and its gradient by differences of fourth order."""

from dataclasses import dataclass

import numpy as np

from . import msr


@dataclass
class Frame:
    """One labelled structure; None for a label it does not have. stress is Voigt, eV/A^3."""

    positions: np.ndarray
    species: np.ndarray
    cell: np.ndarray | None
    pbc: tuple
    energy: float | None = None
    forces: np.ndarray | None = None
    stress: np.ndarray | None = None
    weight: float = 1.0


@dataclass
class Loss:
    """Weights and Huber thresholds; kind is "square" or "huber"."""

    kind: str = "square"
    w_energy: float = 0.0
    w_force: float = 0.0
    w_stress: float = 0.0
    delta_energy: float = 1.0
    delta_force: float = 1.0
    delta_stress: float = 1.0

    def of(self, d, delta):
        d = np.abs(np.asarray(d, dtype=float))
        if self.kind == "square":
            return d * d
        return np.where(d <= delta, d * d / 2, delta * (d - delta / 2))


def terms(spec, theta, frames, loss):
    """[total, energy, force, stress] parts, weights included."""
    parts = np.zeros(3)
    for f in frames:
        out = msr.compute(spec, theta, f.positions, f.species, f.cell, f.pbc)
        if f.energy is not None and loss.w_energy:
            d = (out.energy - f.energy) / len(f.species)
            parts[0] += f.weight * loss.w_energy * loss.of(d, loss.delta_energy)
        if f.forces is not None and loss.w_force:
            parts[1] += f.weight * loss.w_force * loss.of(out.forces - f.forces, loss.delta_force).mean()
        if f.stress is not None and loss.w_stress:
            parts[2] += f.weight * loss.w_stress * loss.of(out.stress - f.stress, loss.delta_stress).mean()
    parts /= len(frames)
    return np.array([parts.sum(), *parts])


def gradient(spec, theta, frames, loss, which, h=1e-3):
    """dL/dtheta of the parameters `which`, by central differences of order four."""
    out = np.zeros(len(which))
    for k, p in enumerate(which):
        values = []
        for step in (-2 * h, -h, h, 2 * h):
            shifted = np.array(theta, dtype=float)
            shifted[p] += step
            values.append(terms(spec, shifted, frames, loss)[0])
        out[k] = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)
    return out
