"""MSR potential for any number of species: J. Chem. Phys. 158, 104501 (2023), channels as in csrc/nnp_internal.h."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .neighbors import gather, pairs, rows


@dataclass
class Spec:
    """Architecture: n2 [S][S] by (centre, partner), n3 [S][S(S+1)/2] by (centre, partner pair), hidden widths."""

    n_species: int
    rc: float
    rc3: float
    n2: list
    n3: list
    hidden: tuple = (25, 25)
    rs: float = 0.0
    e0: tuple = ()
    cutoff: str = "cosine"

    def widths(self, s):
        return [sum(self.n2[s]) + sum(self.n3[s]), *self.hidden, 1]


def channel(n_species, t, u):
    """Index of the unordered partner pair: counted off, not by formula."""
    listed = [(a, b) for a in range(n_species) for b in range(a, n_species)]
    return listed.index((min(t, u), max(t, u)))


def unpack(spec, theta):
    """Per centre species {alpha, triplet, mu, weights, biases}: theta as docs/model-file.md orders it."""
    theta = np.asarray(theta, dtype=float)
    at = 0

    def take(*shape):
        nonlocal at
        size = int(np.prod(shape))
        at += size
        return theta[at - size : at].reshape(shape)

    out = []
    for s in range(spec.n_species):
        n2, n3, widths = sum(spec.n2[s]), sum(spec.n3[s]), spec.widths(s)
        p = {"alpha": take(n2), "triplet": take(n3, 3), "mu": take(n2 + n3), "weights": [], "biases": []}
        for a, b in pairwise(widths):
            p["weights"].append(take(a, b))
            p["biases"].append(take(b))
        out.append(p)
    if at != len(theta):
        raise ValueError(f"theta has {len(theta)} numbers, the architecture {at}")
    return out


def n_parameters(spec):
    total = 0
    for s in range(spec.n_species):
        w = spec.widths(s)
        total += sum(spec.n2[s]) + 3 * sum(spec.n3[s]) + w[0] + sum((a + 1) * b for a, b in pairwise(w))
    return total


def random_theta(spec, rng, scale=0.5):
    """Moderate random parameters: exponents in +-2, mu near ln F, weights of order scale."""
    parts = []
    for s in range(spec.n_species):
        n2, n3, widths = sum(spec.n2[s]), sum(spec.n3[s]), spec.widths(s)
        parts += [rng.uniform(-2, 2, n2)]
        parts += [np.column_stack([rng.uniform(-2, 2, (n3, 2)), rng.uniform(-4, 1, n3)]).ravel()]
        parts += [rng.uniform(-2, 1, n2 + n3)]
        for a, b in pairwise(widths):
            parts += [rng.normal(0, scale / np.sqrt(a) * 2, a * b), rng.normal(0, 0.1, b)]
    return np.concatenate(parts)


def outer(r, rc, kind):
    """x(r), its slope and curvature below rc."""
    if kind == "cosine":
        w = np.pi / rc
        return (1 + np.cos(w * r)) / 2, -w / 2 * np.sin(w * r), -w * w / 2 * np.cos(w * r)
    s = r / rc  # 1 - 35 s^4 + 84 s^5 - 70 s^6 + 20 s^7, in factors: its terms cancel near s = 1
    value, v = (1 - s) ** 4 * (1 + 4 * s + 10 * s**2 + 20 * s**3), s * (1 - s)
    return value, -140 * v**3 / rc, -420 * v**2 * (1 - 2 * s) / rc**2


def short_range(rc, rs, kind="cosine"):
    """(A, B, C) of x = A/r + B r^30 + C below rs: value, slope, curvature of the outer branch at rs."""
    matrix = [[1 / rs, rs**30, 1], [-1 / rs**2, 30 * rs**29, 0], [2 / rs**3, 30 * 29 * rs**28, 0]]
    return np.linalg.solve(matrix, outer(rs, rc, kind))


def switch(r, rc, rs=0.0, kind="cosine"):
    """x(r) and dx/dr."""
    x, dx, _ = (np.where(r < rc, value, 0.0) for value in outer(r, rc, kind))
    if rs > 0:
        a, b, c = short_range(rc, rs, kind)
        x = np.where(r < rs, a / r + b * r**30 + c, x)
        dx = np.where(r < rs, -a / r**2 + 30 * b * r**29, dx)
    return x, dx


def _two_body(spec, s, p, r, t):
    """F2 [sum n2] of one centre and dF2/dr_j [sum n2, m]."""
    x, dx = switch(r, spec.rc, spec.rs, spec.cutoff)
    values, slopes = [], []
    for partner, n in enumerate(spec.n2[s]):
        at = len(values)
        mine = t == partner
        for alpha in p["alpha"][at : at + n]:
            e = np.exp(alpha * x) * mine
            values.append((x * e).sum())
            slopes.append((1 + alpha * x) * e * dx)
    return np.array(values), np.array(slopes).reshape(len(values), len(r))


def _three_body(spec, s, p, d, r, t):
    """F3 [sum n3] of one centre and dF3/dr_ij [sum n3, m, 3]."""
    m, total = len(r), sum(spec.n3[s])
    values, slopes = np.zeros(total), np.zeros((total, m, 3))
    x, dx = switch(r, spec.rc3, kind=spec.cutoff)
    first = np.concatenate([[0], np.cumsum(spec.n3[s])]).astype(int)
    index = np.array([[channel(spec.n_species, a, b) for b in range(spec.n_species)] for a in range(spec.n_species)])
    J, K = np.triu_indices(m, 1)
    keep = (r[J] < spec.rc3) & (r[K] < spec.rc3)
    J, K = J[keep], K[keep]
    c = (d[J] * d[K]).sum(axis=1) / (r[J] * r[K])
    u, v = x[J], x[K]
    T = (1 + c) / 2 * u * v
    dc_j = d[K] / (r[J] * r[K])[:, None] - (c / r[J] ** 2)[:, None] * d[J]
    dc_k = d[J] / (r[J] * r[K])[:, None] - (c / r[K] ** 2)[:, None] * d[K]
    du = (dx[J] / r[J])[:, None] * d[J]
    dv = (dx[K] / r[K])[:, None] * d[K]
    dT_j = (u * v / 2)[:, None] * dc_j + ((1 + c) / 2 * v)[:, None] * du
    dT_k = (u * v / 2)[:, None] * dc_k + ((1 + c) / 2 * u)[:, None] * dv
    which = index[t[J], t[K]]
    for ch, n in enumerate(spec.n3[s]):
        mine = which == ch
        for f in range(first[ch], first[ch] + n):
            a, b, beta = p["triplet"][f]
            s1, s2 = np.exp(a * u + b * v) * mine, np.exp(b * u + a * v) * mine
            e = np.exp(beta * T)
            values[f] = (T * e * (s1 + s2) / 2).sum()
            by_T = e * (1 + beta * T) * (s1 + s2) / 2
            by_u, by_v = T * e * (a * s1 + b * s2) / 2, T * e * (b * s1 + a * s2) / 2
            np.add.at(slopes[f], J, by_T[:, None] * dT_j + by_u[:, None] * du)
            np.add.at(slopes[f], K, by_T[:, None] * dT_k + by_v[:, None] * dv)
    return values, slopes


def network(p, g):
    """Output and its gradient with respect to the inputs g."""
    activations = [g]
    for w, b in zip(p["weights"][:-1], p["biases"][:-1], strict=True):
        activations.append(np.tanh(activations[-1] @ w + b))
    value = (activations[-1] @ p["weights"][-1] + p["biases"][-1])[0]
    slope = p["weights"][-1][:, 0]
    for w, h in zip(p["weights"][-2::-1], activations[:0:-1], strict=True):
        slope = w @ (slope * (1 - h * h))
    return value, slope


def _centre(spec, s, p, d, t):
    """eps, G and d eps / d r_ij [m, 3] of one centre with neighbour vectors d [m, 3] of species t [m]."""
    r = np.linalg.norm(d, axis=1)
    f2, df2 = _two_body(spec, s, p, r, t)
    f3, df3 = _three_body(spec, s, p, d, r, t)
    f = np.concatenate([f2, f3])
    g = np.log(f + 1e-3) - p["mu"]
    value, slope = network(p, g)
    slope = slope / (f + 1e-3)
    n2 = len(f2)
    pair = (slope[:n2] @ df2 / r)[:, None] * d if len(r) else np.zeros((0, 3))
    return value, g, pair + np.einsum("f,fmc->mc", slope[n2:], df3)


def compute(spec, theta, positions, species, cell=None, pbc=True):
    """Result for positions [n, 3], species [n] indices."""
    species = np.asarray(species, dtype=int)
    n = len(species)
    parameters = unpack(spec, theta)
    i, j, d = pairs(positions, cell, pbc, max(spec.rc, spec.rc3))
    energies, g = np.zeros(n), np.zeros_like(d)
    for a, part in enumerate(rows(i, n)):
        s = species[a]
        value, _, g[part] = _centre(spec, s, parameters[s], d[part], species[j[part]])
        energies[a] = value + (spec.e0[s] if len(spec.e0) else 0.0)
    return gather(n, energies, i, j, d, g, cell)


def fingerprints(spec, theta, positions, species, cell=None, pbc=True):
    """Network inputs G, a list of one array an atom."""
    species = np.asarray(species, dtype=int)
    parameters = unpack(spec, theta)
    i, j, d = pairs(positions, cell, pbc, max(spec.rc, spec.rc3))
    return [
        _centre(spec, species[a], parameters[species[a]], d[part], species[j[part]])[1]
        for a, part in enumerate(rows(i, len(species)))
    ]
