"""Symmetry functions for a data set: systematic grids of candidates, and the choice of few that say most.

Grids: Gastegger, Schwiedrzik, Bittermann, Berzsenyi, Marquetand, J. Chem. Phys. 148, 241709 (2018); Imbalzano, Anelli,
Giofre, Klees, Behler, Ceriotti, J. Chem. Phys. 148, 241730 (2018), whose CUR and farthest-point selection this is too.
"""

import numpy as np

from .n2p2_format import sort_key

ZETAS = (1.0, 2.0, 4.0, 16.0)
FLAT = 1e-4  # standard deviation below which a function is taken for constant on the data


def gastegger(r_first, rc, n):
    """[(eta, rs)] of n centred and n shifted Gaussians on the grid r_i from r_first to rc - 0.5 A.

    Centred: eta_i = 1/(2 r_i^2), rs = 0; shifted: rs_i = r_i, eta = 1/(2 dr^2) with the spacing dr of the grid.
    """
    grid = np.linspace(r_first, max(rc - 0.5, r_first + 0.5), n)
    width = grid[1] - grid[0]
    return [(0.5 / r**2, 0.0) for r in grid], [(0.5 / width**2, r) for r in grid]


def imbalzano(rc, n):
    """[(eta, rs)] of n + 1 centred and n shifted Gaussians.

    Centred: eta_m = (n^(m/n)/rc)^2, m = 0..n, rs = 0; shifted: rs_m = rc/n^(m/n), eta_m = 1/(rs_(m-1) - rs_m)^2,
    m = 1..n.
    """
    powers = n ** (np.arange(n + 1) / n)
    shifts = rc / powers
    return (
        [(float(p / rc) ** 2, 0.0) for p in powers],
        [(float((shifts[m - 1] - shifts[m]) ** -2), float(shifts[m])) for m in range(1, n + 1)],
    )


def candidates(symbol, species, rc, r_first, grid="both", angular=9, cutoff=6):
    """The pool for one centre element: dicts as for Model.bp(), radial ones for neighbours, angular ones for pairs.

    r_first: start of Gastegger's grid, A, about the shortest distance. grid: "gastegger", "imbalzano" or "both".
    angular: type 3 (narrow) or 9 (wide), lambda -1 and 1, zeta of ZETAS, centred Gaussians alone.
    """
    radial, centred = [], []
    if grid in ("gastegger", "both"):
        own, shifted = gastegger(r_first, rc, 8)
        radial += own + shifted
        centred += gastegger(r_first, rc, 4)[0]
    if grid in ("imbalzano", "both"):
        own, shifted = imbalzano(rc, 6)
        radial += own + shifted
        centred += imbalzano(rc, 3)[0]
    base = {"rc": float(rc), "cutoff": cutoff, "alpha": 0.0}
    pool = []
    for s in species:
        for eta, rs in radial:
            pool.append({"type": 2, "partners": [s], **base, "eta": _short(eta), "rs": _short(rs)})
    for i, s in enumerate(species):
        for t in species[i:]:
            for eta, _ in centred:
                for sign in (-1.0, 1.0):
                    for zeta in ZETAS:
                        f = {"type": angular, "partners": [s, t], **base, "eta": _short(eta), "rs": 0.0}
                        pool.append({**f, "lambda": sign, "zeta": zeta})
    return sorted(pool, key=sort_key)


def _short(value):
    """Few digits: nothing depends on more, and people read it."""
    return float(f"{value:.4g}")


def gram(g):
    """(indices of the columns of g [n][m] that vary, their correlation matrix): what selection works on."""
    spread = g.std(axis=0) if len(g) else np.zeros(g.shape[1])
    live = np.flatnonzero(spread > FLAT)
    x = (g[:, live] - g[:, live].mean(axis=0)) / spread[live] if len(live) else np.zeros((len(g), 0))
    return live, x.T @ x / max(len(g), 1)


def leading(c, basis):
    """Leading eigenvectors of c [m][m], ascending, by subspace iteration from an orthonormal basis [m][k].

    Good enough to find the largest entries of the last: its eigenvalue has settled to 1e-6.
    """
    value = 0.0
    for _ in range(50):
        y = c @ basis
        values, turn = np.linalg.eigh(basis.T @ y)
        if abs(values[-1] - value) <= 1e-6 * abs(values[-1]):
            return basis @ turn
        value, basis = values[-1], np.linalg.qr(y @ turn)[0]
    return basis


def cur(c, n):
    """Greedy CUR: (columns, fraction of the variance that they explain after each).

    In turns, the column with the largest entry in the leading eigenvector of the correlation matrix c [m][m] is taken,
    and everything that it explains is projected out of the others.
    """
    rest, taken, explained = np.array(c), [], []
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(len(c), min(8, len(c)))))[0]
    for _ in range(min(n, len(c))):
        basis = leading(rest, basis)
        score = basis[:, -1] ** 2
        score[np.diag(rest) < 1e-9] = 0
        score[taken] = 0
        best = int(np.argmax(score))
        if score[best] <= 0:
            break
        taken.append(best)
        rest -= np.outer(rest[:, best], rest[best]) / rest[best, best]
        explained.append(1.0 - float(np.trace(rest)) / len(c))
    return taken, explained


def farthest(c, n):
    """Farthest-point selection of columns: (columns, fraction of the variance that they explain after each).

    The distance of two columns is 2 - 2 |correlation|; the first is the one that correlates most with all.
    """
    if not len(c):
        return [], []
    distance = 2.0 - 2.0 * np.abs(c)
    taken = [int(np.argmin(distance.sum(axis=0)))]
    while len(taken) < min(n, len(c)):
        nearest = distance[taken].min(axis=0)
        nearest[taken] = -1
        best = int(np.argmax(nearest))
        if nearest[best] < 1e-9:
            break
        taken.append(best)
    rest, explained = np.array(c), []
    for k in taken:
        if rest[k, k] > 1e-12:
            rest -= np.outer(rest[:, k], rest[k]) / rest[k, k]
        explained.append(1.0 - float(np.trace(rest)) / len(c))
    return taken, explained


SELECTIONS = {"cur": cur, "fps": farthest}


def select(g, n, how="cur"):
    """(indices of n columns of g [n_atoms][m], ascending, fraction of the variance of all that they explain)."""
    live, c = gram(g)
    taken, explained = SELECTIONS[how](c, n)
    return sorted(int(live[k]) for k in taken), explained[-1] if explained else 1.0
