"""Atoms of one or many structures on the device, their ghosts and their neighbour list.

The kernels are csrc/cuda/neigh.cu. Rows are the atoms of all structures, ordered by structure, then by cells of space;
`order` leads back to the caller's order. Whatever a kernel reads is an attribute:

    n, n_total, n_structures    rows; rows and ghosts; structures
    x [n_total][4]              positions, wrapped, and the species, float64
    species, structure [n]      of the rows, int32
    structure_first             [n_structures + 1] rows of each structure, int32;  structure_counts: the same in NumPy
    owner [n_total - n]         row of each ghost
    slice_first, count, segment, index, reverse, entries     the list: csrc/cuda/common.cuh
    status [8]                  what kernels have to report
"""

import numpy as np

from ..validate import InputError
from .backend import GpuError

MARGIN = 1e-9  # rounding: cells and images reach a little farther than the cutoff
FLATTEST = 1e-6  # volume / (a b c) of a usable cell
FARTHEST_IMAGE = 500  # cells; image vectors are packed ten bits an axis
FINE = 0x7FFFFFFF
CLASH, POSITION, MOVED, FAR, FORCE, ENERGY = range(6)  # places of status
CHUNK = 2048  # rows that one block sums
MOST_SHARED = 4096  # counts of a histogram that a block keeps for itself
NEIGH = "cuda/neigh.cu"


def reduced_lattice(cell, pbc, where=""):
    """[3, 3]: lattice vectors (rows) as short as they come, unit vectors perpendicular to them along axes that are
    not periodic. Raises InputError."""
    pbc = [bool(p) for p in pbc]
    basis = np.zeros((3, 3))
    if cell is not None:
        basis[pbc] = np.asarray(cell, dtype=np.float64)[pbc]
    length = np.linalg.norm(basis, axis=1)
    for d in range(3):
        if pbc[d] and not (np.isfinite(length[d]) and 1e-12 <= length[d] <= 1e12):
            raise InputError(f"{where}cell vector {d} has length {length[d]:g} A, expected above 0 and finite")
    _complete(basis, pbc)
    unit = basis / np.maximum(np.linalg.norm(basis, axis=1), 1e-300)[:, None]
    volume = abs(np.linalg.det(unit))
    if not volume >= FLATTEST:
        raise InputError(
            f"{where}cell is singular or nearly so: its periodic vectors span volume/(a b c) = {volume:.3g}, "
            f"less than {FLATTEST:g}"
        )
    for _ in range(200):
        before = basis.copy()
        for d in range(3):
            for e in range(3):
                if d != e and pbc[d] and pbc[e]:
                    ratio = basis[d] @ basis[e] / (basis[e] @ basis[e])
                    if abs(ratio) > 0.5 + 1e-6:
                        basis[d] -= np.rint(ratio) * basis[e]
        if np.array_equal(before, basis):
            break
    _complete(basis, pbc)
    return basis


def _complete(basis, pbc):
    """Unit vectors along axes that are not periodic."""
    free = [d for d in range(3) if not pbc[d]]
    if len(free) == 3:
        basis[:] = np.eye(3)
    elif len(free) == 2:
        a = basis[pbc.index(True)]
        first = np.cross(a, np.eye(3)[np.argmin(np.abs(a))])
        second = np.cross(a, first)
        basis[free[0]], basis[free[1]] = first / np.linalg.norm(first), second / np.linalg.norm(second)
    elif len(free) == 1:
        d = free[0]
        normal = np.cross(basis[(d + 1) % 3], basis[(d + 2) % 3])
        size = np.linalg.norm(normal)
        basis[d] = normal / size if size > 0 else 0


class System:
    """A batch of structures; build() makes the list at given positions, refresh() moves the atoms.

    structures: a list of (species [n], cell [3, 3] or None, pbc [3]), species indices 0 .. n_species - 1. cutoff (Å):
    of the potential; skin (Å): what the list reaches beyond it. clash (Å): atoms closer than this are an error.
    Raises InputError, GpuError.
    """

    def __init__(self, backend, structures, n_species, cutoff, skin=0.0, clash=1e-3):
        self.backend, self.n_species = backend, int(n_species)
        self.cutoff, self.skin, self.clash = float(cutoff), float(skin), float(clash)
        self.range = self.cutoff * (1 + 1e-12) + self.skin
        xp = backend.xp
        sizes = [len(species) for species, _, _ in structures]
        self.n, self.n_structures = int(sum(sizes)), len(structures)
        if self.n >= FINE - 4096:
            raise InputError(f"{self.n} atoms: at most 2^31 - 4096")
        self.structure_counts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        species = [np.asarray(species, dtype=np.int32) for species, _, _ in structures]
        self._species = backend.device(np.concatenate([*species, np.empty(0, np.int32)]), np.int32)  # caller's order
        self._structure = backend.device(np.repeat(np.arange(self.n_structures, dtype=np.int32), sizes))
        self.structure_first = backend.device(self.structure_counts, np.int32)
        self._lattices(structures)
        self.status = xp.full(8, FINE, dtype=np.int32)
        self._chunks()
        self.n_builds = 0

    # ---- lattices and bins, on the host ----

    def _lattices(self, structures):
        table, grid = np.zeros((self.n_structures, 27)), np.zeros((self.n_structures, 8), dtype=np.int32)
        known = {}
        self.open = False  # an axis is not periodic: bins follow the atoms
        for k, (_, cell, pbc) in enumerate(structures):
            pbc = np.asarray(pbc, dtype=bool)
            key = (None if cell is None else np.asarray(cell, dtype=np.float64).tobytes(), pbc.tobytes())
            if key not in known:
                where = "" if self.n_structures == 1 else f"structure {k}: "
                known[key] = _lattice(cell, pbc, self.range, where)
            table[k], grid[k, 3:6] = known[key], pbc
            self.open |= not pbc.all()
        self._table, self._grid = table, grid
        if not self.open:
            self._divide(np.zeros((self.n_structures, 3)), np.ones((self.n_structures, 3)))

    def _divide(self, low, high):
        """Bins of every structure over low .. high of s, to the device. Edges at least the list's range, wider where
        there would be many more bins than atoms."""
        table, grid = self._table, self._grid
        periodic = grid[:, 3:6] > 0
        table[:, 18:21] = np.where(periodic, 0.0, low)
        edge = np.where(
            periodic, table[:, 24:27], self.range * (1 + MARGIN) + 1e-13 * np.abs(high) + 1e-13 * np.abs(low)
        )
        extent = np.where(periodic, 1.0, high - low)
        most = 4.0 * np.diff(self.structure_counts)[:, None] + 64
        bins = np.maximum(1.0, np.floor(extent / edge))
        for _ in range(200):
            over = np.prod(bins, axis=1, keepdims=True) > most
            if not over.any():
                break
            bins = np.where(over, np.maximum(1.0, np.floor(bins / 1.25)), bins)
        table[:, 21:24] = 1.0 / np.maximum(edge, extent / bins)
        grid[:, :3] = bins.astype(np.int32) + 2
        sizes = np.prod(grid[:, :3].astype(np.int64), axis=1)
        self.n_bins = int(sizes.sum())
        if self.n_bins >= FINE:
            raise GpuError(f"{self.n_structures} structures need {self.n_bins} bins, at most 2^31")
        grid[:, 6] = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        self._lattice_table, self._grid_table = self.backend.device(table), self.backend.device(grid)

    def _measure(self, x):
        """Bins of structures with open axes, from where the atoms are."""
        if not self.open:
            return
        table = self._table.copy()
        table[:, 18:21] = 0
        lattice, grid = self.backend.device(table), self.backend.device(self._grid)
        extent = self.backend.xp.empty((self.n_structures, 6))
        kernel = self.backend.kernel(NEIGH, "nnp_extent")
        kernel((self.n_structures,), (256,), (x, self.structure_first, lattice, grid, extent))
        e = self.backend.host(extent)
        e = np.where(np.isfinite(e) & (np.abs(e) < 1e13), e, 0.0)  # the bins' kernel names the atom
        self._divide(e[:, :3], e[:, 3:])

    def _chunks(self):
        """Rows in chunks that one block sums, and the chunks of each structure."""
        first, chunk_of = [], [0]
        for a, b in zip(self.structure_counts[:-1], self.structure_counts[1:], strict=True):
            first.append(np.arange(a, b, CHUNK))
            chunk_of.append(chunk_of[-1] + len(first[-1]))
        first = np.concatenate([*first, [self.n]]) if first else np.zeros(1)
        self.n_chunks = len(first) - 1
        self.chunk_first = self.backend.device(first, np.int32)
        self.structure_chunks = self.backend.device(chunk_of, np.int32)

    # ---- the list ----

    def build(self, x, check=True):
        """Order, ghosts and list at positions x [n, 3] in the caller's order, Å, NumPy's or on the device. Returns them
        in the order of the rows. check: atoms too close are an error. Raises InputError, GpuError."""
        rows, *place = self._cells(x)
        self._search(place)
        self.n_builds += 1
        if check:
            self.check(CLASH)
        else:
            self.status[CLASH] = FINE
        return rows

    def _cells(self, x):
        """Order and ghosts; (rows, bin of each row, lattices, grids, where each bin's rows and ghosts begin)."""
        backend, xp = self.backend, self.backend.xp
        x = backend.device(x, np.float64) if isinstance(x, np.ndarray) else x
        self._measure(x)
        tables = (self._lattice_table, self._grid_table)
        key = xp.empty(self.n, dtype=np.int32)
        self._launch("nnp_bins", self.n, (np.int32(self.n), x, self._structure, *tables, key, self.status))
        self._check_positions(x)
        self.order = _sorted_by(xp, key)
        key, rows = key[self.order], x[self.order]
        self.species, self.structure = self._species[self.order], self._structure
        ghost_key = self._make_ghosts(rows, tables)
        bins = xp.arange(self.n_bins + 1, dtype=np.int32)
        starts = [_starts(xp, k, bins) for k in (key, ghost_key)]
        self.refresh(rows)
        return rows, key, self.structure, *tables, *starts

    def histogram(self, x, r_max, n_bins):
        """Ordered pairs closer than r_max (Å, at most the cutoff) by species and distance: int64 [S, S, n_bins] of
        NumPy. The system has no list then, only cells."""
        backend, n, kinds = self.backend, np.int32(self.n), np.int32(self.n_species)
        _, *place = self._cells(x)
        counts = backend.xp.zeros((self.n_species, self.n_species, n_bins), dtype=np.uint64)
        shared = counts.size if counts.size <= MOST_SHARED else 0
        arguments = (n, kinds, np.int32(n_bins), np.float64(r_max), np.int32(shared), self.x, *place, counts)
        backend.launch(NEIGH, "nnp_pair_histogram", self.n, arguments, shared_mem=4 * shared)
        return backend.host(counts).astype(np.int64)

    def _make_ghosts(self, rows, tables):
        xp, n = self.backend.xp, np.int32(self.n)
        shift, images = xp.empty((self.n, 3)), xp.zeros(self.n + 1, dtype=np.int64)
        self._launch("nnp_wrap", self.n, (n, rows, self.structure, *tables, shift, images[1:]))
        first = xp.cumsum(images)
        n_ghost = int(first[-1])
        if self.n + n_ghost >= FINE:
            raise GpuError(f"cutoff {self.range:g} A needs {n_ghost} periodic images, at most 2^31")
        owner, image, key = (xp.empty(n_ghost, dtype=np.int32) for _ in range(3))
        self._launch("nnp_ghosts", self.n, (n, rows, self.structure, *tables, first, owner, image, key))
        by_bin = _sorted_by(xp, key)
        self.owner, self.image = owner[by_bin], image[by_bin]
        self.n_ghost, self.n_total = n_ghost, self.n + n_ghost
        self.shift = xp.empty((self.n_total, 3))
        self.shift[: self.n] = shift
        self.x = xp.empty((self.n_total, 4))
        arguments = (n, np.int32(n_ghost), self.owner, self.image, self.structure, tables[0], self.shift)
        self._launch("nnp_ghost_shift", n_ghost, arguments)
        return key[by_bin]

    def _search(self, place):
        xp, n = self.backend.xp, np.int32(self.n)
        cut2, least2 = np.float64(self.range**2), np.float64(self.clash**2)
        kinds = np.int32(self.n_species)
        self.segment = xp.empty((self.n_species, self.n), dtype=np.int32)
        self.count = xp.empty(self.n, dtype=np.int32)
        arguments = (n, kinds, cut2, least2, self.x, *place, self.segment, self.count, self.status)
        self._launch("nnp_count", self.n, arguments)
        self.n_slices = -(-self.n // 32)
        padded = xp.zeros(32 * self.n_slices, dtype=np.int64)
        padded[: self.n] = self.count
        self.slice_first = xp.zeros(self.n_slices + 1, dtype=np.int64)
        if self.n:
            self.slice_first[1:] = xp.cumsum(32 * padded.reshape(-1, 32).max(axis=1))
        self.entries = int(self.slice_first[-1])
        if self.entries >= FINE:
            raise GpuError(f"the neighbour list has {self.entries} entries, at most 2^31 on the GPU: use fewer atoms")
        self.index = xp.full(self.entries, -1, dtype=np.int32)
        scratch = xp.empty((self.n_species if self.n_species > 1 else 0, self.n), dtype=np.int32)
        arguments = (n, kinds, cut2, self.x, *place, self.segment, self.slice_first, scratch, self.index)
        self._launch("nnp_fill", self.n, arguments)
        self.reverse = xp.full(self.entries, -1, dtype=np.int32)
        lists = (self.slice_first, self.count, self.segment, self.index, self.owner, self.image, self.reverse)
        self._launch("nnp_reverse", self.n, (n, self.x, *lists))

    def refresh(self, rows):
        """Move the atoms to rows [n, 3], positions in the order of the rows, unwrapped; the list stays."""
        n = np.int32(self.n)
        self._launch("nnp_refresh_rows", self.n, (n, rows, self.shift, self.species, self.x))
        self.refresh_ghosts(rows)

    def refresh_ghosts(self, rows):
        """The ghosts' part of refresh()."""
        arguments = (np.int32(self.n), np.int32(self.n_ghost), rows, self.shift, self.owner, self.species, self.x)
        self._launch("nnp_refresh_ghosts", self.n_ghost, arguments)

    def _launch(self, name, n, arguments):
        self.backend.launch(NEIGH, name, n, arguments)

    # ---- results ----

    def list_arguments(self):
        """The arguments that begin a kernel on rows: n, entries, x, slice_first, count, segment, index."""
        return (
            np.int32(self.n),
            np.int64(self.entries),
            self.x,
            self.slice_first,
            self.count,
            self.segment,
            self.index,
        )

    def to_caller(self, rows):
        """An array whose first axis is the rows', in the caller's order."""
        out = self.backend.xp.empty_like(rows)
        out[self.order] = rows
        return out

    def check(self, *places):
        """Raise InputError for two atoms that are too close, if kernels have reported such at these places of status
        (CLASH); waits for the device."""
        status = self.backend.host(self.status)
        if any(status[place] != FINE for place in places):
            self.status[:] = FINE
            raise InputError(self.clash_text(int(status[CLASH])))

    def _check_positions(self, x):
        """InputError naming the first atom that no bin can take."""
        atom = int(self.backend.host(self.status)[POSITION])
        if atom == FINE:
            return
        self.status[:] = FINE
        p = self.backend.host(x[atom])
        where = (
            "" if self.n_structures == 1 else f"structure {np.searchsorted(self.structure_counts, atom, 'right') - 1}: "
        )
        number = atom - int(self.structure_counts[self.structure_counts <= atom][-1])
        what = "beyond 1e+12 Angstrom, or more than 1e+09 cells away" if np.isfinite(p).all() else "not finite"
        raise InputError(f"{where}atom {number}: position {p[0]:g} {p[1]:g} {p[2]:g} is {what}")

    def clash_text(self, row):
        """Which atoms are closer than `clash`, one of them being a row."""
        host = self.backend.host
        x = host(self.x)
        first = int(host(self.slice_first)[row // 32]) + row % 32
        partners = host(self.index)[first : first + 32 * int(host(self.count)[row]) : 32]
        j = int(partners[np.argmin(((x[partners, :3] - x[row, :3]) ** 2).sum(axis=1))])
        other = j if j < self.n else int(host(self.owner)[j - self.n])
        order = host(self.order)
        a, b = (int(order[k]) for k in (row, other))
        if self.n_structures > 1:
            k = int(np.searchsorted(self.structure_counts, a, side="right")) - 1
            first = int(self.structure_counts[k])
            return f"structure {k}: atoms {a - first} and {b - first} are closer than {self.clash:g} Angstrom"
        image = "" if j < self.n else " (a periodic image)"
        return f"atoms {a} and {b}{image} are closer than {self.clash:g} Angstrom"


def _sorted_by(xp, key):
    """Stable order of a key, int32."""
    return xp.argsort(key, kind="stable").astype(np.int32) if len(key) else xp.empty(0, dtype=np.int32)


def _starts(xp, key, bins):
    """Where each bin begins in a sorted key, int32."""
    return xp.searchsorted(key, bins).astype(np.int32) if len(key) else xp.zeros(len(bins), dtype=np.int32)


def _lattice(cell, pbc, reach, where):
    """One row of the table of lattices: basis 9, inverse 9, origin 3, 1/bin 3, reach 3."""
    basis = reduced_lattice(cell, pbc, where)
    inverse = np.linalg.inv(basis)
    width = 1.0 / np.linalg.norm(inverse, axis=0)  # distance of the lattice planes
    images = np.where(pbc, reach * (1 + MARGIN) / width + MARGIN, 0.0)
    if images.max() > FARTHEST_IMAGE:
        shown = ", ".join(f"{w:g}" for w in width)
        raise InputError(f"{where}cutoff {reach:g} needs too many periodic images: lattice planes are {shown} apart")
    return np.concatenate([basis.ravel(), inverse.ravel(), np.zeros(6), images])
