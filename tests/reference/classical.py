"""Stillinger-Weber, Lennard-Jones and ZBL; the switched ones go to zero with a septic between two radii."""

import numpy as np

from .neighbors import gather, pairs, rows

COULOMB = 14.3996454784255  # e^2/(4 pi eps0) in eV A, CODATA 2018

MW = {"epsilon": 0.2683805, "sigma": 2.3925, "a": 1.80, "lambda": 23.15, "gamma": 1.20, "cos_theta0": -1 / 3}
SILICON = {"epsilon": 2.1683, "sigma": 2.0951, "a": 1.80, "lambda": 21.0, "gamma": 1.20, "cos_theta0": -1 / 3}
for _set in (MW, SILICON):
    _set.update({"A": 7.049556277, "B": 0.6022245584, "p": 4, "q": 0})


def stillinger_weber(parameters, positions, cell=None, pbc=True):
    """One species. Half of each pair energy belongs to either atom, a triplet's to its centre."""
    k = parameters
    sigma, cutoff = k["sigma"], k["a"] * k["sigma"]
    n = len(positions)
    i, j, d = pairs(positions, cell, pbc, cutoff)
    r = np.linalg.norm(d, axis=1)
    screen = np.exp(sigma / (r - cutoff))
    dscreen = -sigma / (r - cutoff) ** 2 * screen
    bp, bq = k["B"] * (sigma / r) ** k["p"], (sigma / r) ** k["q"]
    pre = k["A"] * k["epsilon"]
    v2 = pre * (bp - bq) * screen
    dv2 = pre * ((-k["p"] * bp + k["q"] * bq) / r * screen + (bp - bq) * dscreen)
    energies = np.bincount(i, v2, n) / 2 if n else np.zeros(0)
    g = (dv2 / (2 * r))[:, None] * d
    h = np.exp(k["gamma"] * sigma / (r - cutoff))
    dh = -k["gamma"] * sigma / (r - cutoff) ** 2 * h
    for a, part in enumerate(rows(i, n)):
        e, gradient = _sw_triplets(k, d[part], r[part], h[part], dh[part])
        energies[a] += e
        g[part] += gradient
    return gather(n, energies, i, j, d, g, cell)


def _sw_triplets(k, d, r, h, dh):
    unit = d / r[:, None]
    J, K = np.triu_indices(len(r), 1)
    c = (unit[J] * unit[K]).sum(axis=1)
    pre, q = k["lambda"] * k["epsilon"], c - k["cos_theta0"]
    g = np.zeros_like(d)
    by_c = 2 * pre * q * h[J] * h[K]
    dc_j = (unit[K] - c[:, None] * unit[J]) / r[J][:, None]
    dc_k = (unit[J] - c[:, None] * unit[K]) / r[K][:, None]
    np.add.at(g, J, by_c[:, None] * dc_j + (pre * q * q * dh[J] * h[K])[:, None] * unit[J])
    np.add.at(g, K, by_c[:, None] * dc_k + (pre * q * q * h[J] * dh[K])[:, None] * unit[K])
    return (pre * q * q * h[J] * h[K]).sum(), g


def septic(r, inner, outer):
    """S = 1 - 10 t^3 + 15 t^4 - 6 t^5, t = (r - inner)/(outer - inner), and dS/dr; 1 below inner, 0 beyond outer."""
    t = np.clip((r - inner) / (outer - inner), 0, 1)
    return 1 - 10 * t**3 + 15 * t**4 - 6 * t**5, -30 * t**2 * (1 - t) ** 2 / (outer - inner)


def _pair_potential(phi, positions, species, cell, pbc, cutoff):
    """phi(r, s_i, s_j) -> (energy, slope) of whole pairs; half goes to either atom."""
    species, n = np.asarray(species, dtype=int), len(species)
    i, j, d = pairs(positions, cell, pbc, cutoff)
    r = np.linalg.norm(d, axis=1)
    value, slope = phi(r, species[i], species[j])
    energies = np.bincount(i, value, n) / 2 if n else np.zeros(0)
    return gather(n, energies, i, j, d, (slope / (2 * r))[:, None] * d, cell)


def lennard_jones(epsilon, sigma, switch_on, cutoff, between, positions, species, cell=None, pbc=True):
    """4 eps [(sigma/r)^12 - (sigma/r)^6] S(r) between the two species `between`."""

    def phi(r, s, t):
        mine = ((s == between[0]) & (t == between[1])) | ((s == between[1]) & (t == between[0]))
        x = (sigma / r) ** 6
        value, slope = 4 * epsilon * (x * x - x), 4 * epsilon * (-12 * x * x + 6 * x) / r
        on, don = septic(r, switch_on, cutoff)
        return mine * value * on, mine * (slope * on + value * don)

    return _pair_potential(phi, positions, species, cell, pbc, cutoff)


def zbl(atomic_numbers, inner, outer, positions, species, cell=None, pbc=True):
    """Universal screening (Ziegler, Biersack, Littmark 1985) times the septic; atomic_numbers by species."""
    z = np.asarray(atomic_numbers, dtype=float)
    weights = np.array([0.18175, 0.50986, 0.28022, 0.02817])
    exponents = np.array([3.1998, 0.94229, 0.4029, 0.20162])

    def phi(r, s, t):
        a = 0.46850 / (z[s] ** 0.23 + z[t] ** 0.23)
        terms = weights * np.exp(-exponents * (r / a)[:, None])
        screening, dscreening = terms.sum(axis=1), -(terms * exponents).sum(axis=1) / a
        pre = COULOMB * z[s] * z[t]
        value, slope = pre / r * screening, pre / r * (dscreening - screening / r)
        on, don = septic(r, inner, outer)
        return value * on, slope * on + value * don

    return _pair_potential(phi, positions, species, cell, pbc, outer)
