"""Networks on the device: csrc/cuda/net.cu. One per species; rows of one species at a time."""

from itertools import pairwise

import numpy as np

from .backend import REAL, GpuError
from .bp import shared_limit

NET = "cuda/net.cu"
TILE, TRAIN_TILE = 16, 8  # NNP_NET_TILE, NNP_TRAIN_TILE
ACTIVATIONS = ("linear", "tanh", "logistic", "softplus", "gaussian", "cos", "relu", "exp", "harmonic")  # as NNP_ACT_


class Networks:
    """The networks of a model. Raises GpuError where the layers are too wide for a block's shared memory."""

    def __init__(self, backend, model, precision):
        self.backend, self.precision, self.real = backend, precision, REAL[precision]
        self.shared_limit = shared_limit(backend)
        slices = model.slices
        order = np.arange(model.n_parameters)
        self.nets = []
        for symbol, inputs, entry in zip(model.species, model.n_fingerprints, model.metadata["network"], strict=True):
            widths = [inputs, *entry["hidden"], 1]
            parts = [
                [slices[f"net.{symbol}.{k}.{name}"] for k in range(len(widths) - 1)] for name in ("weight", "bias")
            ]
            kinds = [ACTIVATIONS.index(name) for name in entry["activation"]] + [0]
            layout = [len(widths) - 1, *widths, *kinds, *(p.start for part in parts for p in part)]
            self.nets.append(_Net(widths, backend.device(layout, np.int32), parts[0][0].start, parts[1][-1].stop))
            for (n_in, n_out), part in zip(pairwise(widths), parts[0], strict=True):
                order[part] = order[part].reshape(n_in, n_out).T.ravel()
        self.transposed = backend.device(order, np.int64)
        self.set_theta(model.theta)

    def set_theta(self, theta):
        """Take parameters [P] over."""
        self.theta = self.backend.device(theta, self.real)
        self.theta_t = self.theta[self.transposed]

    def _shared(self, numbers):
        need = int(numbers) * np.dtype(self.real).itemsize
        if need > self.shared_limit:
            raise GpuError(
                f"the network's layers need {need} bytes of a block's shared memory, there are {self.shared_limit}: "
                f"narrower layers{', or float32' if self.precision == 'float64' else ''}"
            )
        return need

    def evaluate(self, places, inputs, energy):
        """Energies of the places to energy [n] by row (float64); returns dE/dG [f, n]."""
        net = self.nets[places.species]
        de_dg = self.backend.xp.empty_like(inputs)
        shared = self._shared(TILE * (2 * net.widest + net.hidden))
        arguments = (np.int32(places.n), places.rows, net.layout, np.int32(net.widest), self.theta, self.theta_t)
        kernel = self.backend.kernel(NET, "nnp_net_evaluate", self.precision)
        kernel((-(-places.n // TILE),), (net.threads,), (*arguments, inputs, energy, de_dg), shared_mem=shared)
        return de_dg

    def gradient(self, system, places, inputs, rates, c, groups, grad):
        """d/dtheta sum (c E + dE/dt) of each group's places into grad [groups, P] (float64), c [structures]; returns
        (p, q) [f, n]: the same with respect to G and dG/dt."""
        xp, net = self.backend.xp, self.nets[places.species]
        p, q = xp.empty_like(inputs), xp.empty_like(inputs)
        size = net.stop - net.start
        slabs = xp.empty((groups.n_slabs, size), dtype=self.real)
        shared = self._shared(TRAIN_TILE * (2 * net.units + 2 * net.hidden + 2))
        kernel = self.backend.kernel(NET, "nnp_net_gradient", self.precision)
        first = (np.int32(places.n), places.rows, system.structure, c, groups.tile_first, net.layout)
        theta = (np.int32(net.units), self.theta, self.theta_t)
        arguments = (*first, *theta, inputs, rates, np.int32(size), slabs, p, q)
        kernel((groups.n_slabs,), (net.threads,), arguments, shared_mem=shared)
        kernel = self.backend.kernel(NET, "nnp_net_reduce", self.precision)
        arguments = (np.int32(size), groups.slab_first, slabs, np.int64(grad.shape[1]), np.int64(net.start), grad)
        kernel((-(-size // 128), groups.n), (128,), arguments)
        return p, q


class _Net:
    """Widths of one species' network, its description for the kernels and its part of theta."""

    def __init__(self, widths, layout, start, stop):
        self.layout, self.start, self.stop = layout, start, stop
        self.widest, self.hidden = max(widths), sum(widths[1:-1])
        self.units = widths[0] + self.hidden
        # threads: whole warps, as many rounds over the widest layer as leave the fewest idle
        sizes = range(32, 257, 32)
        self.threads = min(sizes, key=lambda t: (-(-self.widest // t) * t, -t))
