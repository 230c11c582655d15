"""Crystal lattices, random starts and a small relaxation. NumPy only; positions and cells in Angstrom.

Every lattice returns (positions [n, 3], cell [3, 3]) with cell vectors as rows, `repeats` times along each one.
Sites of the clathrates and of BC8: space-group positions of Pm-3n, Fd-3m (origin at -3m) and Ia-3 in
International Tables for Crystallography A; the free coordinates are ideal values, to be relaxed.
"""

from dataclasses import dataclass
from itertools import permutations, product

import numpy as np

from .units import AMU_PER_A3, GPA

# ---- lattices -------------------------------------------------------------------------------


def tile(positions, cell, repeats):
    """Repeat a cell: positions [n, 3], cell [3, 3], repeats an int or three; the same pair, enlarged."""
    repeats = np.broadcast_to(np.asarray(repeats, dtype=int), (3,))
    if (repeats < 1).any():
        raise ValueError(f"repeats: expected positive integers, got {tuple(repeats.tolist())}")
    cell = np.asarray(cell, dtype=float)
    shifts = np.array(list(product(*(range(m) for m in repeats))), dtype=float)
    positions = (shifts @ cell)[:, None, :] + np.asarray(positions, dtype=float)[None, :, :]
    return positions.reshape(-1, 3), cell * repeats[:, None]


def _crystal(fractional, lengths, repeats):
    lengths = np.broadcast_to(np.asarray(lengths, dtype=float), (3,))
    if not (lengths > 0).all():
        raise ValueError(f"lattice constant: expected positive lengths in Angstrom, got {lengths.tolist()}")
    cell = np.diag(lengths)
    return tile(np.asarray(fractional, dtype=float) @ cell, cell, repeats)


_FCC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
_BCC = np.array([[0, 0, 0], [0.5, 0.5, 0.5]])


def sc(a, repeats=1):
    """Simple cubic, 1 atom a cell of edge a."""
    return _crystal([[0, 0, 0]], a, repeats)


def bcc(a, repeats=1):
    """Body-centred cubic, 2 atoms a cell of edge a."""
    return _crystal(_BCC, a, repeats)


def fcc(a, repeats=1):
    """Face-centred cubic, 4 atoms a cell of edge a."""
    return _crystal(_FCC, a, repeats)


def diamond(a, repeats=1):
    """Cubic diamond, the oxygen sites of ice Ic: 8 atoms a cell of edge a; bond length a sqrt(3)/4."""
    return _crystal(np.concatenate([_FCC, _FCC + 0.25]), a, repeats)


def hexagonal_diamond(a, c=None, repeats=1):
    """Lonsdaleite, the oxygen sites of ice Ih: 8 atoms in the orthorhombic cell a, a sqrt(3), c.

    c defaults to the ideal a sqrt(8/3): all bonds then have the length 3 c / 8.
    """
    c = a * np.sqrt(8 / 3) if c is None else c
    layer = np.array([[0, 0], [0.5, 0.5]])  # one atom of the hexagonal layer and its centring
    other = layer + [0, 1 / 3]
    heights = [(layer, 0), (layer, 3 / 8), (other, 1 / 2), (other, 7 / 8)]
    sites = np.concatenate([np.column_stack([xy, np.full(2, z)]) for xy, z in heights])
    return _crystal(sites, [a, a * np.sqrt(3), c], repeats)


def beta_tin(a, c, repeats=1):
    """White tin, 4 atoms in the tetragonal cell a, a, c."""
    return _crystal([[0, 0, 0], [0, 0.5, 0.25], [0.5, 0.5, 0.5], [0.5, 0, 0.75]], [a, a, c], repeats)


def clathrate_i(a, repeats=1):
    """Oxygen framework of clathrate hydrate I (Pm-3n: 6c, 16i, 24k), 46 sites a cell of edge a (water: 11.6-12)."""
    cubic = [(p, s, 0.5 * _is_odd(p)) for p in permutations(range(3)) for s in product((1, -1), repeat=3)]
    sites = [[0.25, 0, 0.5], [0.1837, 0.1837, 0.1837], [0, 0.3088, 0.1172]]
    return _crystal(_orbit(sites, cubic, [[0, 0, 0]]), a, repeats)


def clathrate_ii(a, repeats=1):
    """Oxygen framework of clathrate hydrate II (Fd-3m: 8a, 32e, 96g), 136 sites a cell of edge a (water: 16.7-17.2)."""
    # about the tetrahedral site at 1/8: the 24 operations of -43m, then inversion through the origin
    tetrahedral = [(p, s, 0.0) for p in permutations(range(3)) for s in product((1, -1), repeat=3) if np.prod(s) > 0]
    sites = np.array([[0.125, 0.125, 0.125], [0.2174, 0.2174, 0.2174], [0.1823, 0.1823, 0.3716]])
    half = np.concatenate([_images(x - 0.125, tetrahedral) + 0.125 for x in sites])
    return _crystal(_unique(_centred(np.concatenate([half, -half]), _FCC)), a, repeats)


def bc8(a, x=0.1003, repeats=1):
    """BC8 (Ia-3, 16c at x, x, x), 16 atoms a cell of edge a."""
    first = np.array([[x, x, x], [0.5 - x, -x, 0.5 + x], [-x, 0.5 + x, 0.5 - x], [0.5 + x, 0.5 - x, -x]])
    return _crystal(_unique(_centred(np.concatenate([first, -first]), _BCC)), a, repeats)


def _is_odd(p):
    return p in ((1, 0, 2), (0, 2, 1), (2, 1, 0))


def _images(site, operations):
    """site [3] under (permutation, signs, translation along 111) operations: [n_operations, 3]."""
    return np.array([np.multiply(s, np.asarray(site)[list(p)]) + t for p, s, t in operations])


def _centred(sites, centring):
    return (sites[None, :, :] + np.asarray(centring)[:, None, :]).reshape(-1, 3)


def _unique(sites):
    """Fractional sites [m, 3] wrapped into the cell, one of each, in order of first appearance."""
    kept = []
    for site in np.mod(np.round(sites, 10), 1.0):
        if not any((np.abs(site - k - np.round(site - k)) < 1e-6).all() for k in kept):
            kept.append(site)
    return np.array(kept)


def _orbit(sites, operations, centring):
    return _unique(_centred(np.concatenate([_images(s, operations) for s in sites]), centring))


# ---- densities and random starts -------------------------------------------------------------


def density_to_volume(density, mass):
    """Volume in A3 of a mass in amu (sum over the atoms, or per atom) at a density in g/cm3."""
    if not (density > 0 and np.all(np.asarray(mass) > 0)):
        raise ValueError(f"density and mass: expected positive numbers, got {density} g/cm3 and {mass} amu")
    return AMU_PER_A3 * mass / density


def volume_to_density(volume, mass):
    """Density in g/cm3 of a mass in amu in a volume in A3."""
    if not volume > 0:
        raise ValueError(f"volume: expected a positive number of A3, got {volume}")
    return AMU_PER_A3 * mass / volume


def random_liquid(n, cell=None, *, density=None, mass=None, min_distance=None, rng=None):
    """n random positions, no two closer than min_distance under periodic boundaries: (positions [n, 3], cell [3, 3]).

    cell is [3, 3], three edges or one; without it a cubic cell is made from density (g/cm3) and mass (amu per atom).
    min_distance defaults to 0.8 (V/n)^(1/3). Sequential random placement: raises ValueError where it cannot
    succeed, at packing fractions above about 0.36 (min_distance near 0.88 (V/n)^(1/3)).
    """
    if n < 0:
        raise ValueError(f"n: expected a number of atoms, got {n}")
    if cell is None:
        if density is None or mass is None:
            raise ValueError("random_liquid: expected cell, or density (g/cm3) and mass (amu per atom)")
        cell = density_to_volume(density, n * mass) ** (1 / 3)
    cell = np.asarray(cell, dtype=float)
    if cell.shape != (3, 3):
        cell = np.diag(np.broadcast_to(cell, (3,)))
    volume = abs(np.linalg.det(cell))
    if not volume > 0:
        raise ValueError("cell: expected a non-zero volume")
    d_min = 0.8 * (volume / max(n, 1)) ** (1 / 3) if min_distance is None else float(min_distance)
    rng = np.random.default_rng(rng)
    images = np.array([[0, 0, 0]]) if _is_diagonal(cell) else np.array(list(product((-1, 0, 1), repeat=3)))
    placed = np.empty((n, 3))
    count = 0
    for _ in range(2000 * n + 1):
        if count == n:
            return placed @ cell, cell
        trial = rng.random(3)
        delta = placed[:count] - trial
        delta -= np.round(delta)
        gap = ((delta[:, None, :] + images) @ cell) if len(images) > 1 else (delta @ cell)[:, None, :]
        if not ((gap * gap).sum(axis=2) < d_min * d_min).any():
            placed[count] = trial
            count += 1
    packing = np.pi / 6 * d_min**3 * n / volume
    raise ValueError(
        f"random_liquid: placed {count} of {n} atoms at min_distance {d_min:.3g} A (packing fraction {packing:.2f}); "
        "expected a smaller min_distance or density"
    )


def _is_diagonal(cell):
    return not (cell - np.diag(np.diag(cell))).any()


# ---- relaxation ------------------------------------------------------------------------------


@dataclass
class Relaxed:
    """What relax() ended with; energy in eV, forces [n, 3] in eV/A, stress [6] in eV/A3 (None with a fixed cell)."""

    positions: np.ndarray
    cell: np.ndarray
    energy: float
    forces: np.ndarray
    stress: np.ndarray | None
    n_steps: int
    converged: bool


_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def relax(
    compute,
    positions,
    cell,
    *,
    vary="orthorhombic",
    pressure=0.0,
    max_force=1e-4,
    max_stress=1e-4,
    max_steps=1000,
    max_move=0.2,
):
    """Relax positions and cell to a local minimum of the enthalpy with limited-memory BFGS.

    compute(positions [n, 3], cell [3, 3]) -> (energy eV, forces [n, 3] eV/A, stress [6] eV/A3, ASE's sign and Voigt
    order). vary: "none" (cell fixed; stress may be None), "isotropic" (one scale), "orthorhombic" (a scale for each
    Cartesian axis) or "full" (six strains). pressure and max_stress in GPa, max_force in eV/A, max_move in A.
    Returns Relaxed; converged is False where max_steps was not enough. Raises FloatingPointError where energy,
    forces or stress stop being finite. Method: Nocedal, Wright, Numerical Optimization, section 7.2, with steps
    cut to max_move and rejected where the enthalpy rises.
    """
    problem = _Enthalpy(compute, positions, cell, vary, pressure)
    x = problem.start()
    value, gradient, state = problem(x)
    pairs = []
    trust = max_move
    for step in range(max_steps + 1):
        worst_force, worst_stress = problem.residuals(state)
        converged = worst_force <= max_force and worst_stress <= max_stress
        if converged or step == max_steps or trust < 1e-12:
            return Relaxed(*state, n_steps=step, converged=converged)
        move = -_lbfgs_product(pairs, gradient, problem.curvature)
        if not move @ gradient < 0:
            pairs.clear()
            move = -gradient / problem.curvature
        move *= min(1.0, trust / max(np.abs(move).max(), 1e-300))
        new_value, new_gradient, new_state = problem(x + move)
        y = new_gradient - gradient
        if y @ move > 1e-12 * np.sqrt((y @ y) * (move @ move)):
            pairs.append((move, y))
            del pairs[:-30]
        else:
            pairs.clear()
        if new_value > value + 1e-11 * max(1.0, abs(value)):
            trust = 0.25 * np.abs(move).max()
            continue
        trust = min(max_move, 2 * trust)
        x, value, gradient, state = x + move, new_value, new_gradient, new_state
    raise AssertionError("unreachable")


class _Enthalpy:
    """H = E + P V of the variables x = (positions in the starting frame, strains times a length), in eV."""

    strains = {  # noqa: RUF012 (read only): Voigt components that each strain variable adds to
        "none": [],
        "isotropic": [(0, 1, 2)],
        "orthorhombic": [(0,), (1,), (2,)],
        "full": [(0,), (1,), (2,), (3,), (4,), (5,)],
    }
    curvature = 10.0  # eV/A2: a stiff bond's, for the first step

    def __init__(self, compute, positions, cell, vary, pressure):
        if vary not in self.strains:
            raise ValueError(f"vary: expected one of {', '.join(self.strains)}, got {vary!r}")
        self.compute = compute
        self.x0 = np.array(positions, dtype=float).reshape(-1, 3)
        self.cell0 = np.array(cell, dtype=float).reshape(3, 3)
        self.modes = self.strains[vary]
        self.pressure = pressure / GPA
        # a strain of 1 moves atoms by about this length: makes curvatures of both kinds of variables alike
        self.length = max(1.0, np.sqrt(len(self.x0)) * abs(np.linalg.det(self.cell0) / max(1, len(self.x0))) ** (1 / 3))

    def start(self):
        return np.concatenate([self.x0.ravel(), np.zeros(len(self.modes))])

    def _deformation(self, x):
        f = np.eye(3)
        for q, components in zip(x[self.x0.size :] / self.length, self.modes, strict=True):
            for v in components:
                a, b = _VOIGT[v]
                f[a, b] += q if a == b else q / 2
                if a != b:
                    f[b, a] += q / 2
        return f

    def __call__(self, x):
        """Enthalpy, its gradient [len(x)] and (positions, cell, energy, forces, stress)."""
        f = self._deformation(x)
        positions, cell = x[: self.x0.size].reshape(-1, 3) @ f, self.cell0 @ f
        energy, forces, stress = self.compute(positions, cell)
        forces = np.asarray(forces, dtype=float)
        gradient = [-(forces @ f).ravel()]  # f is symmetric
        value = float(energy)
        if self.modes:
            stress = np.asarray(stress, dtype=float)
            volume = abs(np.linalg.det(cell))
            value += self.pressure * volume
            tensor = np.empty((3, 3))
            for v, (a, b) in enumerate(_VOIGT):
                tensor[a, b] = tensor[b, a] = stress[v] + (self.pressure if a == b else 0.0)
            # dH = V sigma : (df f^-1), symmetrised
            slope = volume * tensor @ np.linalg.inv(f)
            slope = (slope + slope.T) / 2
            voigt = np.array([slope[a, b] for a, b in _VOIGT])
            gradient.append(np.array([sum(voigt[v] for v in components) for components in self.modes]) / self.length)
        gradient = np.concatenate(gradient)
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            raise FloatingPointError("relax: energy, forces or stress not finite; expected a sane starting structure")
        return value, gradient, (positions, cell, float(energy), forces, stress)

    def residuals(self, state):
        """Largest force component (eV/A) and largest deviation of the varied stresses from -pressure (GPa)."""
        forces, stress = state[3], state[4]
        worst = 0.0
        for components in self.modes:
            target = [stress[v] + (self.pressure if v < 3 else 0.0) for v in components]
            worst = max(worst, abs(np.mean(target)) * GPA)
        return np.abs(forces).max(initial=0.0), worst


def _lbfgs_product(pairs, gradient, curvature):
    """Inverse Hessian times gradient from the (step, gradient change) pairs: the two-loop recursion."""
    q = gradient.copy()
    weights = []
    for s, y in reversed(pairs):
        a = (s @ q) / (y @ s)
        weights.append(a)
        q -= a * y
    if pairs:
        s, y = pairs[-1]
        q *= (s @ y) / (y @ y)
    else:
        q /= curvature
    for (s, y), a in zip(pairs, reversed(weights), strict=True):
        q += s * (a - (y @ q) / (y @ s))
    return q
