"""Adam: D. P. Kingma, J. Ba, arXiv:1412.6980, algorithm 1."""

import numpy as np


class Adam:
    """First and second moments of one parameter vector; `m`, `v` [P] and `step` are its whole state."""

    def __init__(self, n_parameters, beta1=0.9, beta2=0.999, eps=1e-7):
        self.beta1, self.beta2, self.eps = beta1, beta2, eps
        self.m = np.zeros(n_parameters)
        self.v = np.zeros(n_parameters)
        self.step = 0

    def update(self, theta, grad, lr):
        """New parameters: theta - lr mhat / (sqrt(vhat) + eps), mhat = m / (1 - beta1^t), vhat likewise. Shapes [P]."""
        self.step += 1
        self.m = self.beta1 * self.m + (1.0 - self.beta1) * grad
        self.v = self.beta2 * self.v + (1.0 - self.beta2) * grad * grad
        mhat = self.m / (1.0 - self.beta1**self.step)
        vhat = self.v / (1.0 - self.beta2**self.step)
        return theta - lr * mhat / (np.sqrt(vhat) + self.eps)


def clip(grad, max_norm):
    """grad [P], scaled down to the norm max_norm where it is longer; max_norm 0 leaves it alone."""
    norm = float(np.linalg.norm(grad))
    return grad * (max_norm / norm) if max_norm > 0 and norm > max_norm else grad
