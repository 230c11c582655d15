"""Behler-Parrinello potentials in plain NumPy, straight from the papers' formulas; derivatives by complex steps.

Phys. Rev. Lett. 98, 146401 (2007); J. Chem. Phys. 134, 074106 (2011); Mach. Learn.: Sci. Technol. 2, 035026 (2021).
"""

import numpy as np

from .neighbors import gather, pairs, rows

STEP = 1e-30  # of the complex derivative: no cancellation, so any small number serves
NUMBERS = {"H": 1, "C": 6, "O": 8, "Si": 14, "S": 16, "Cu": 29, "Ge": 32}

ACTIVATIONS = {
    "linear": lambda z: z,
    "tanh": np.tanh,
    "logistic": lambda z: 1 / (1 + np.exp(-z)),
    "softplus": lambda z: np.log(1 + np.exp(z)),
    "gaussian": lambda z: np.exp(-z * z / 2),
    "cos": np.cos,
    "relu": lambda z: np.where(z.real > 0, z, 0),
    "exp": lambda z: np.exp(-z),
    "harmonic": lambda z: z * z,
}


def shape(kind, x):
    """f(x) of the kinds 1, 4 .. 8 for 0 <= Re x < 1."""
    if kind == 1:
        return 0.5 * (np.cos(np.pi * x) + 1)
    if kind == 4:
        return np.exp(1 - 1 / (1 - x * x))
    if kind == 5:
        return (2 * x - 3) * x**2 + 1
    if kind == 6:
        return ((15 - 6 * x) * x - 10) * x**3 + 1
    if kind == 7:
        return (x * (x * (20 * x - 70) + 84) - 35) * x**4 + 1
    return (x * (x * ((315 - 70 * x) * x - 540) + 420) - 126) * x**5 + 1


def cutoff(kind, r, rc, alpha):
    """fc(r)."""
    inside = r.real < rc
    if kind == 0:
        return np.where(inside, 1.0 + 0 * r, 0)
    if kind in (2, 3):
        return np.where(inside, np.tanh(1 - r / rc) ** 3 / (np.tanh(1) ** 3 if kind == 3 else 1), 0)
    x = (r - alpha * rc) / (rc - alpha * rc)
    safe = np.where(inside & (x.real > 0), x, 0)
    return np.where(inside, shape(kind, safe), 0)


def window(v, low, high, subtype, radial=True):
    """Compact function of v between low and high; the asymmetric forms exist for distances alone."""
    x = (v - (low + high) / 2) / ((high - low) / 2)
    x = np.where(x.real < 0, -x, x)
    inside = x.real < 1
    x = np.where(inside, x, 0)
    if subtype.endswith("a") and radial:
        x = (2 - x) * x
    return np.where(inside, shape({"e": 4, "p": 4 + int(subtype[1:2] or 0)}[subtype[0]], x), 0)


def radial_factor(f, r):
    """R(r) of a function, a dict of the model's metadata."""
    if f["type"] >= 20:
        return window(r, f["r_low"], f["r_high"], f["subtype"])
    return np.exp(-f["eta"] * (r - f["rs"]) ** 2) * cutoff(f["cutoff"], r, f["rc"], f["alpha"])


def angular_factor(f, c):
    """A(cos theta) of an angular function."""
    if f["type"] >= 20:
        cosine = np.clip(c.real, -1, 1)
        sine = np.sqrt(1 - cosine**2)
        theta = np.arccos(cosine) - 1j * np.where(sine > 1e-7, c.imag / np.maximum(sine, 1e-7), 0)
        return window(
            theta if np.iscomplexobj(c) else theta.real,
            np.radians(f["theta_left"]),
            np.radians(f["theta_right"]),
            f["subtype"],
            radial=False,
        )
    base = 1 + f["lambda"] * c
    return 2 ** (1 - f["zeta"]) * np.where(base.real > 0, np.where(base.real > 0, base, 1) ** f["zeta"], 0)


def values(functions, d, symbols):
    """G [..., n_functions] of one centre with neighbour vectors d [..., m, 3] of the symbols [m]."""
    r = np.sqrt((d * d).sum(axis=-1))
    t = np.array(symbols)
    z = np.array([NUMBERS[s] for s in symbols], dtype=float)
    J, K = np.triu_indices(len(t), 1)
    c = (d[..., J, :] * d[..., K, :]).sum(axis=-1) / (r[..., J] * r[..., K])
    dist = np.sqrt(((d[..., J, :] - d[..., K, :]) ** 2).sum(axis=-1))
    out = []
    for f in functions:
        partners = f.get("partners")
        R = radial_factor(f, r)
        if f["type"] in (2, 12, 20, 23):
            weight = z if partners is None else (t == partners[0])
            out.append((R * weight).sum(axis=-1))
            continue
        if partners is None:
            weight = z[J] * z[K]
        else:
            a, b = partners
            weight = ((t[J] == a) & (t[K] == b)) | ((t[J] == b) & (t[K] == a))
        term = angular_factor(f, c) * R[..., J] * R[..., K] * weight
        if f["type"] in (3, 13, 21, 24):
            term = term * radial_factor(f, dist)
        out.append(term.sum(axis=-1))
    return np.stack(out, axis=-1)


def network(layers, activation, g):
    """Output of layers [(W, b), ...] for inputs [..., n]."""
    for (w, b), name in zip(layers, [*activation, "linear"], strict=True):
        g = ACTIVATIONS[name](g @ w + b)
    return g[..., 0]


def layers_of(tensors, symbol):
    """[(W, b), ...] of a species among {tensor name: array}."""
    n = sum(name.startswith(f"net.{symbol}.") for name in tensors) // 2
    return [(tensors[f"net.{symbol}.{k}.weight"], tensors[f"net.{symbol}.{k}.bias"]) for k in range(n)]


def compute(metadata, tensors, positions, species, cell=None, pbc=True):
    """Result for positions [n, 3], species [n] indices; metadata, tensors as nnpcore.Model has them."""
    symbols, spec = metadata["species"], metadata["bp"]
    species = np.asarray(species, dtype=int)
    n = len(species)
    largest = max(f.get("rc", f.get("r_high")) for own in spec["functions"] for f in own)
    i, j, d = pairs(positions, cell, pbc, largest)
    energies, g = np.zeros(n), np.zeros_like(d)
    for a, part in enumerate(rows(i, n)):
        s = species[a]
        own = d[part]
        m = len(own)
        moved = np.tile(own.astype(complex), (3 * m + 1, 1, 1))
        for k in range(3 * m):
            moved[k + 1, k // 3, k % 3] += 1j * STEP
        G = values(spec["functions"][s], moved, [symbols[t] for t in species[j[part]]])
        x = (G - np.array(spec["centre"][s])) * np.array(spec["factor"][s])
        e = network(layers_of(tensors, symbols[s]), metadata["network"][s]["activation"], x)
        energies[a] = e[0].real + metadata["e0"][s]
        g[part] = (e[1:].imag / STEP).reshape(m, 3)
    return gather(n, energies, i, j, d, g, cell)


def fingerprints(metadata, positions, species, cell=None, pbc=True):
    """Unscaled G, a list of one array an atom."""
    symbols, functions = metadata["species"], metadata["bp"]["functions"]
    species = np.asarray(species, dtype=int)
    largest = max(f.get("rc", f.get("r_high")) for own in functions for f in own)
    i, j, d = pairs(positions, cell, pbc, largest)
    return [
        values(functions[species[a]], d[part], [symbols[t] for t in species[j[part]]])
        for a, part in enumerate(rows(i, len(species)))
    ]
