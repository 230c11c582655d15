"""Adam, and Adam in the eigenbasis of the loss' Gauss-Newton matrix.

Adam: D. P. Kingma, J. Ba, arXiv:1412.6980, algorithm 1. Running it in a rotated basis: N. Vyas et al., arXiv:2409.11321
(SOAP), there in the eigenbasis of each layer's gradient covariance. A potential of a thousand parameters affords the
basis that belongs to all of them: that of A = sum_r w_r (dr/dtheta)(dr/dtheta)^T over the residuals r, estimated from
random projections (nnp_trainer_sketch). In it the parameters' directions are decoupled to first order, and Adam's
scaling by the gradient's size is a preconditioner A^(-1/2).
"""

from itertools import pairwise

import numpy as np

from ._core import rotate


class Adam:
    """First and second moments of one parameter vector; `m`, `v` [P] and `step` are its whole state.

    scale [P]: theta = scale z, the steps are taken in z; what varies on a scale of 10 gets 10.
    """

    def __init__(self, n_parameters, beta1=0.9, beta2=0.999, eps=1e-7, scale=1.0):
        self.beta1, self.beta2, self.eps = beta1, beta2, eps
        self.scale = np.broadcast_to(np.asarray(scale, dtype=np.float64), (n_parameters,))
        self.m = np.zeros(n_parameters)
        self.v = np.zeros(n_parameters)
        self.step = 0

    def arrays(self):
        """{name: array} of a checkpoint."""
        return {"m": self.m, "v": self.v}

    def counters(self):
        """{name: number} of a checkpoint."""
        return {"adam_step": self.step}

    def restore(self, arrays, counters):
        """Take over arrays() and counters()."""
        self.m, self.v, self.step = arrays["m"], arrays["v"], counters["adam_step"]

    def _moments(self, grad, age):
        """mhat / (sqrt(vhat) + eps), mhat = m / (1 - beta1^t), vhat likewise, t = age."""
        self.m = self.beta1 * self.m + (1.0 - self.beta1) * grad
        self.v = self.beta2 * self.v + (1.0 - self.beta2) * grad * grad
        mhat = self.m / (1.0 - self.beta1**age)
        vhat = self.v / (1.0 - self.beta2**age)
        return mhat / (np.sqrt(vhat) + self.eps)

    def update(self, theta, grad, lr):
        """New parameters: theta - lr scale mhat / (sqrt(vhat) + eps), moments of scale grad. Shapes [P]."""
        self.step += 1
        return theta - lr * self.scale * self._moments(grad * self.scale, self.step)


def turn_on_cpu(blocks, basis, x, transpose=False):
    """q x, or q^T x, of every block of x, float32 [P]; blocks: slices, basis: q [n,n] of each."""
    return np.concatenate([rotate(q, x[b], transpose) for b, q in zip(blocks, basis, strict=True)])


class EigenAdam(Adam):
    """Adam in the eigenbasis of A, block by block; plain Adam until the first basis is set.

    blocks: slices of theta that cover it, each with a basis of its own. turn: turn_on_cpu(), or gpu.train.Turn. Moments
    go along when the basis changes: m exactly, v by the squares of the rotation. The steps after the first basis grow
    over WARMUP.
    """

    WARMUP = 200

    def __init__(self, n_parameters, blocks, turn=turn_on_cpu, **options):
        super().__init__(n_parameters, **options)
        self.blocks, self.turn = list(blocks), turn
        self.basis = [np.zeros((b.stop - b.start,) * 2, dtype=np.float32) for b in self.blocks]
        self.turned = 0  # step of the first basis; 0: none yet

    def arrays(self):
        return {**super().arrays(), **{f"basis{i}": q for i, q in enumerate(self.basis)}}

    def counters(self):
        return {**super().counters(), "turned": self.turned}

    def restore(self, arrays, counters):
        super().restore(arrays, counters)
        self.basis = [arrays[f"basis{i}"] for i in range(len(self.blocks))]
        self.turned = counters["turned"]

    def set_basis(self, matrices):
        """matrices: A of each block, symmetric [n,n], of theta; the basis is that of scale A scale."""
        for i, (block, a) in enumerate(zip(self.blocks, matrices, strict=True)):
            scale = self.scale[block]
            fresh = np.ascontiguousarray(np.linalg.eigh(a * scale[:, None] * scale)[1], dtype=np.float32)
            if self.turned:
                turn = (fresh.T @ self.basis[i]).astype(np.float64)
                self.m[block], self.v[block] = turn @ self.m[block], (turn * turn) @ self.v[block]
            self.basis[i] = fresh
        if not self.turned:
            self.m, self.v, self.turned = np.zeros_like(self.m), np.zeros_like(self.v), self.step + 1

    def update(self, theta, grad, lr):
        """New parameters, as Adam's, with gradient and step turned into and out of the basis."""
        if not self.turned:
            return super().update(theta, grad, lr)
        self.step += 1
        age = self.step - self.turned + 1
        g = (grad * self.scale).astype(np.float32)
        turned = self.turn(self.blocks, self.basis, g, True)
        step = self._moments(turned.astype(np.float64), age).astype(np.float32)
        back = self.turn(self.blocks, self.basis, step)
        return theta - lr * min(1.0, age / self.WARMUP) * self.scale * back


def make_optimizer(model, o, turn=turn_on_cpu):
    """The optimiser of config.Optimizer o for a model, kinds adam and eigen; turn: of the device that trains."""
    scale = np.where(model.exponents, o.exponent_scale, 1.0)
    options = {"beta1": o.beta1, "beta2": o.beta2, "eps": o.eps, "scale": scale}
    if o.kind == "adam":
        return Adam(model.n_parameters, **options)
    return EigenAdam(model.n_parameters, parameter_blocks(model, o.basis_block), turn, **options)


def parameter_blocks(model, most):
    """Slices of theta, in order, that cover it: all parameters of a species, or its fingerprints and each layer where a
    species has more than `most`, cut further where one of these has."""
    blocks = []
    for symbol in model.species:
        slices = {name: part for name, part in model.slices.items() if name.split(".")[1] == symbol}
        whole = slice(min(p.start for p in slices.values()), max(p.stop for p in slices.values()))
        if whole.stop - whole.start <= most:
            blocks.append(whole)
            continue
        groups = {}
        for name, part in slices.items():  # "msr", or "0", "1", .. for a layer's weights and biases
            groups.setdefault(name.split(".")[2] if name.startswith("net.") else "msr", []).append(part)
        for parts in groups.values():
            start, stop = parts[0].start, parts[-1].stop
            pieces = -(-(stop - start) // most)
            edges = np.linspace(start, stop, pieces + 1).astype(int)
            blocks += [slice(int(a), int(b)) for a, b in pairwise(edges)]
    return blocks


def clip(grad, max_norm):
    """grad [P], scaled down to the norm max_norm where it is longer; max_norm 0 leaves it alone."""
    norm = float(np.linalg.norm(grad))
    return grad * (max_norm / norm) if max_norm > 0 and norm > max_norm else grad
