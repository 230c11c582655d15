"""A trainer in NumPy with the interface of nnpcore._core.Trainer, for tests of the training loop alone.

Energy E0 + sum_{i<j} sum_k theta_k (1 - r/rc)^(k+2) over the first K entries of theta, one species, no periodic images.
"""

import numpy as np

from nnpcore.model import Model

K, RC = 6, 4.0


class FakeTrainer:
    def __init__(self, model, n_threads=0, precision=0):
        self.model, self.frames = Model.from_bytes(model), []
        self.n_parameters, self.bytes = self.model.n_parameters, 0

    @property
    def n_frames(self):
        return len(self.frames)

    def add(self, species, positions, cell, pbc, energy, forces, stress, weight=1.0):
        n = len(species)
        i, j = np.triu_indices(n, 1)
        d = positions[j] - positions[i]
        r = np.linalg.norm(d, axis=1)
        near = r < RC
        i, j, d, r = i[near], j[near], d[near], r[near]
        p = np.arange(2, K + 2)
        x = 1 - r / RC
        basis = (x[:, None] ** p).sum(axis=0)
        slope = -p / RC * x[:, None] ** (p - 1)
        dbasis = np.zeros((n, 3, K))  # force basis: -dE/dx
        np.add.at(dbasis, i, slope[:, None, :] * (d / r[:, None])[:, :, None])
        np.add.at(dbasis, j, -slope[:, None, :] * (d / r[:, None])[:, :, None])
        self.frames.append((n, basis, dbasis, energy, forces, weight))
        return len(self.frames) - 1

    def gradient(self, theta, frames, kind=0, w_energy=1.0, w_force=1.0, w_stress=0.0, delta_energy=1.0,
                 delta_force=1.0, delta_stress=1.0):  # fmt: skip
        grad, parts = np.zeros(len(theta)), np.zeros(3)
        for b in frames:
            n, basis, dbasis, energy, forces, weight = self.frames[b]
            e, f = self._predict(theta, b)
            for part, (d, jacobian, w, delta) in enumerate((
                (np.atleast_1d((e - energy) / n), basis[None] / n, w_energy, delta_energy),
                ((f - forces).ravel(), dbasis.reshape(-1, K), w_force, delta_force),
            )):  # fmt: skip
                big = (np.abs(d) >= delta) & (kind == 1)
                small = d * d if kind == 0 else 0.5 * d * d
                value = np.where(big, delta * (np.abs(d) - 0.5 * delta), small)
                slope = np.where(big, delta * np.sign(d), 2 * d if kind == 0 else d)
                scale = weight * w / len(d) / len(frames)
                parts[part] += scale * value.sum()
                grad[:K] += scale * slope @ jacobian
        return np.append(parts.sum(), parts), grad

    def _predict(self, theta, b):
        n, basis, dbasis = self.frames[b][:3]
        return float(self.model.e0[0] * n + basis @ theta[:K]), dbasis @ theta[:K]

    def predict(self, theta, frames):
        results = [self._predict(theta, b) for b in frames]
        return np.array([e for e, _ in results]), np.concatenate([f for _, f in results]), np.zeros((len(frames), 6))

    def fingerprints(self, theta, frame):
        return np.zeros((self.frames[frame][0], max(self.model.n_fingerprints)))
