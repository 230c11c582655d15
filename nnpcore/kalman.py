"""An extended Kalman filter on the parameters: second-order training for networks of a few thousand parameters.

Energy, stress and `rows` force components of a frame are one observation of theta, linear in it to first order (the
Jacobian of csrc/trainer_rows.c); nnp_kalman_step (csrc/kalman.c) moves theta and its covariance P. What the loss
weighs more is measured more exactly: residuals and rows are scaled by the roots of the loss' weights, with Huber's loss
by that of its slope over the residual. Between updates P grows by q, so that later frames still count.
For potentials: A. Singraber, T. Morawietz, J. Behler, C. Dellago, J. Chem. Theory Comput. 15, 3075 (2019), there one
component at a time.
"""

import numpy as np

from ._core import kalman_step
from .adam import parameter_blocks

FINAL_PROCESS = 0.01  # of q, at the end of the run


class Kalman:
    """theta's covariance, blocks of parameters independent of each other. `covariance` and `step` are its whole state.

    options: config.Optimizer. covariance [sum of the blocks' sizes squared] float32, block after block.
    """

    def __init__(self, model, options, threads):
        self.rows, self.noise, self.process, self.threads = options.rows, options.noise, options.process, threads
        blocks = parameter_blocks(model, options.basis_block)
        self.edges = np.array([b.start for b in blocks] + [model.n_parameters], dtype=np.int32)
        sizes = np.diff(self.edges).astype(np.int64)
        begin = np.concatenate([[0], np.cumsum(sizes**2)])
        self.diagonal = np.concatenate([b + np.arange(n) * (n + 1) for b, n in zip(begin[:-1], sizes, strict=True)])
        self.covariance = np.zeros(begin[-1], dtype=np.float32)
        self.covariance[self.diagonal] = options.covariance
        self.step = 0

    def arrays(self):
        """{name: array} of a checkpoint."""
        return {"covariance": self.covariance}

    def counters(self):
        """{name: number} of a checkpoint."""
        return {"kalman_step": self.step}

    def restore(self, arrays, counters):
        """Take over arrays() and counters()."""
        self.covariance, self.step = arrays["covariance"], counters["kalman_step"]

    def learn(self, trainer, theta, number, frame, loss, generator, progress):
        """theta [P] after all labels of a frame. number: the frame's in the trainer; loss: Trainer.gradient()'s;
        generator: of the order of the force components; progress: 0 .. 1 of the run."""
        process = np.float32(self.process * FINAL_PROCESS**progress)
        forces = frame.forces is not None and loss["w_force"] > 0
        components = generator.permutation(3 * len(frame)) if forces else np.zeros(0, dtype=np.int64)
        for part in np.array_split(components, max(1, round(len(components) / self.rows))):
            rows, residual, scale = observe(trainer, theta, number, frame, part, loss)
            if not len(rows):
                continue
            h = trainer.jacobian(theta, number, rows)
            h *= scale[:, None].astype(np.float32)
            theta = theta + kalman_step(self.edges, self.covariance, h, residual * scale, self.noise, self.threads)
            self.covariance[self.diagonal] += process
        return theta


def observe(trainer, theta, number, frame, components, loss):
    """(rows of Trainer.jacobian [m] int32, label - prediction [m], scale [m]) of a frame: the force components given,
    and energy and stress with the part of their weight that these are of all components."""
    n = len(frame)
    energy, forces, stress = trainer.predict(theta, np.array([number], dtype=np.int32))
    share = max(len(components), 1)
    known = {
        "force": (components, None if not len(components) else (frame.forces - forces).ravel()[components], 1.0, 1.0),
        "energy": ([3 * n], None if frame.energy is None else [frame.energy - energy[0]], 1.0 / n, share),
        "stress": (
            3 * n + 1 + np.arange(6),
            None if frame.stress is None else frame.stress - stress[0],
            1.0,
            share / 6,
        ),
    }
    rows, residuals, scales = [], [], []
    for name, (index, residual, unit, weight) in known.items():
        if residual is None or not loss[f"w_{name}"] > 0:
            continue
        residual = np.asarray(residual, dtype=np.float64)
        scale = np.full(len(residual), unit * np.sqrt(loss[f"w_{name}"] * weight * frame.weight))
        if loss["kind"] == 1:
            size = np.maximum(np.abs(residual) * unit, 1e-300)
            scale *= np.sqrt(np.minimum(1.0, loss[f"delta_{name}"] / size))
        rows.append(index)
        residuals.append(residual)
        scales.append(scale)
    if not rows:
        return np.zeros(0, dtype=np.int32), np.zeros(0), np.zeros(0)
    return np.concatenate(rows).astype(np.int32), np.concatenate(residuals), np.concatenate(scales)
