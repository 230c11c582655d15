"""MSR fingerprints on the device: csrc/cuda/msr.cu and msr_train.cu, formulas in csrc/math/msr.h.

What model.py and train.py ask of a kind of fingerprints (bp.py has the same):

    set_theta(theta)                                          new parameters, float64 [P] in NumPy
    inputs(system, places)                                    (G [f, n], whatever gradient() needs besides)
    gradient(system, places, de_dg, more, gradient, add)      g_ij of the places' rows, into gradient [3, entries]
    rates(system, places, tangent)                            (G, dG/dt [f, n], whatever parameters() needs besides)
    parameters(places, rates, more, p, q, groups, grad)       their own parameters' part of the loss gradient
"""

import numpy as np

from .. import _core
from .backend import REAL, GpuError
from .bp import shared_limit

MSR, TRAIN = "cuda/msr.cu", "cuda/msr_train.cu"
CHUNK, RATES_CHUNK = 5, 2  # NNP_MSR_CHUNK, NNP_MSR_RATES_CHUNK
NUMBERS = {  # a neighbour, in shared memory: msr_team_bytes() of csrc/cuda/msr.cuh
    "nnp_msr_inputs": 5 + 2 * CHUNK,
    "nnp_msr_gradient": 9 + 2 * CHUNK,
    "nnp_msr_rates": 10 + 2 * RATES_CHUNK,
}
SOFTNESS = 0.03  # NNP_CUTOFF_SOFTNESS
LIMIT = {"float64": 700.0, "float32": 80.0}  # of exponents: csrc/engine.c
LEAST = 1e-3  # Å


class Msr:
    """The fingerprints of a model. team: threads an atom (4, 8, 16, 32; chosen by the number of atoms); block: threads.

    Raises NnpError where theta's exponents are more than the precision holds, GpuError for too many neighbours.
    """

    def __init__(self, backend, model, precision):
        self.backend, self.precision, self.real = backend, precision, REAL[precision]
        self.team, self.block, self.shared_limit = None, 128, shared_limit(backend)
        self.metadata, self.species = model.metadata["msr"], model.species
        self.rs = self.metadata["rs"]
        self.slices = model.slices
        self.size = model.n_fingerprints
        geometry = [self.metadata["rc"], self.metadata["rc3"], self.rs, *short_range(self.metadata)]
        self.geometry = backend.device(geometry, self.real)
        self.layout = [backend.device(self._layout(s), np.int32) for s in range(len(self.species))]
        self.set_theta(model.theta)

    def _layout(self, s):
        part, symbol = self.slices, self.species[s]
        n2, n3 = self.metadata["n2"][s], self.metadata["n3"][s]
        kind = {"cosine": 0, "smooth": 1}[self.metadata.get("cutoff", "cosine")]
        places = [part[f"msr.{symbol}.{name}"].start for name in ("alpha", "triplet", "mu")]
        return [kind, len(self.species), sum(n2) + sum(n3), sum(n2), *places, *n2, *n3]

    def set_theta(self, theta):
        """Take parameters [P] over. Raises NnpError."""
        check_exponents(theta, self.slices, self.species, self.precision)
        self.theta = self.backend.device(theta, self.real)
        alphas = [theta[self.slices[f"msr.{symbol}.alpha"]] for symbol in self.species]
        self.clash = clash_distance(self.metadata, np.concatenate(alphas), self.precision)

    def n_own(self, s):
        """Parameters of species s that are not its network's: alpha, (a, b, beta), mu."""
        return 4 * self.size[s] - 2 * sum(self.metadata["n2"][s])

    # ---- launches ----

    def _geometry(self, kernel, places):
        """Grid, block and shared bytes: teams of 8 threads where there are atoms enough to fill a device, else more."""
        team = self.team or (8 if places.n >= 20000 else 16 if places.n >= 8000 else 32)
        room = team_bytes(kernel, places.capacity, self.size[places.species], len(self.species), self.precision)
        teams = max(self.block // team, 32 // team)
        while teams * team > 32 and teams * room > self.shared_limit // 4:
            teams //= 2
        if teams * room > self.shared_limit:
            raise GpuError(
                f"{places.capacity} neighbours of an atom are too many for the GPU's shared memory "
                f"({teams * room} bytes, there are {self.shared_limit}): a smaller cutoff, or float32"
            )
        return (-(-places.n // teams),), (team, teams), teams * room

    def _launch(self, system, places, file, name, arguments):
        grid, block, shared = self._geometry(name, places)
        first = (np.int32(places.n), places.rows, np.int32(system.n), system.x, system.slice_first, system.index)
        own = (system.segment, np.int32(places.capacity), self.layout[places.species], self.geometry, self.theta)
        kernel = self.backend.kernel(file, name, self.precision)
        kernel(grid, block, (*first, *own, *arguments), shared_mem=shared)

    def _empty(self, places, *shape):
        return self.backend.xp.empty((*shape, self.size[places.species], places.n), dtype=self.real)

    def inputs(self, system, places):
        """Network inputs G [f, n] and dG/dF [f, n]; atoms closer than system.clash are reported in system.status."""
        g, slope = self._empty(places), self._empty(places)
        self._launch(
            system, places, MSR, "nnp_msr_inputs", (self.real(max(system.clash, self.clash)), g, slope, system.status)
        )
        return g, slope

    def gradient(self, system, places, de_dg, slope, gradient, add):
        """g_ij = dE_i/dr_ij of the places' entries: written to gradient [3, entries], or added to it."""
        self._launch(
            system,
            places,
            MSR,
            "nnp_msr_gradient",
            (de_dg, slope, np.int64(system.entries), gradient, np.int32(add)),
        )

    def rates(self, system, places, tangent):
        """G, dG/dt [f, n] along the tangents of the pairs, and the sums [8, f, n] for parameters()."""
        g, rate, sums = self._empty(places), self._empty(places), self._empty(places, 8)
        ghosts = (system.structure, system.owner)
        arguments = (tangent.forces, tangent.virials, *ghosts, g, rate, sums)
        self._launch(system, places, TRAIN, "nnp_msr_rates", arguments)
        return g, rate, sums

    def parameters(self, places, rate, sums, p, q, groups, grad):
        """dJ/d(alpha, a, b, beta, mu) of each group of places into grad [groups, P] (float64)."""
        kernel = self.backend.kernel(TRAIN, "nnp_msr_exponents", self.precision)
        layout = self.layout[places.species]
        arguments = (np.int32(places.n), places.rows, groups.place_first, layout, rate, sums, p, q)
        grid = (self.n_own(places.species), groups.n)
        kernel(grid, (128,), (*arguments, np.int64(grad.shape[1]), grad))


def team_bytes(kernel, capacity, n_fingerprints, n_species, precision):
    """Shared memory of one atom's team of threads: msr_team_bytes() of csrc/cuda/msr.cuh."""
    real = 8 if precision == "float64" else 4
    used = real * NUMBERS[kernel] * capacity + 4 * 2 * n_species
    if kernel == "nnp_msr_gradient":
        used += real * n_fingerprints + 4 * capacity
    return (used + 95) // 128 * 128 + 32


def short_range(metadata):
    """(A, B, C) of x(r) = A/r + B r^30 + C below Rs: value, slope and curvature of the outer branch there, as
    nnp_short_range_coefficients() of csrc/engine.c; zeros without the branch."""
    rs, k = metadata["rs"], np.pi / metadata["rc"]
    if not rs > 0:
        return 0.0, 0.0, 0.0
    f, f1, f2 = 0.5 * (1 + np.cos(k * rs)), -0.5 * k * np.sin(k * rs), -0.5 * k * k * np.cos(k * rs)
    if metadata.get("cutoff", "cosine") == "smooth":
        e, d = SOFTNESS, f + SOFTNESS
        first, second = (1 + e) * f * (f + 2 * e) / d**2, 2 * (1 + e) * e * e / d**3
        f, f1, f2 = (1 + e) * f * f / d, first * f1, second * f1**2 + first * f2
    b = (f2 * rs + 2 * f1) / (930 * rs**29)
    a = rs * rs * (30 * b * rs**29 - f1)
    return a, b, f - a / rs - b * rs**30


def check_exponents(theta, slices, species, precision):
    """NnpError (diverged) where exponents, or a + b + beta, are more than exp() of the precision holds."""
    limit = LIMIT[precision]
    for symbol in species:
        single = theta[slices[f"msr.{symbol}.alpha"].start : slices[f"msr.{symbol}.triplet"].stop]
        together = np.maximum(theta[slices[f"msr.{symbol}.triplet"]].reshape(-1, 3), 0).sum(axis=1)
        most = max(np.abs(single).max(initial=0.0), together.max(initial=0.0))
        if not most <= limit:
            raise _core.NnpError(
                8,
                f"species {symbol}: exponents reach {most:g} (largest, or a + b + beta), {precision} holds {limit:g}",
            )


def clash_distance(metadata, alphas, precision):
    """Å: atoms nearer than this are an error; where x(r) grows towards r = 0, as far as exp(alpha x) holds."""
    if not metadata["rs"] > 0:
        return LEAST
    a, b, c = short_range(metadata)
    most, low, high = np.abs(alphas).max(initial=1e-300), 0.0, metadata["rs"]
    for _ in range(60):
        r = 0.5 * (low + high)
        if most * (a / r + b * r**30 + c) > LIMIT[precision]:
            low = r
        else:
            high = r
    return max(LEAST, high)
