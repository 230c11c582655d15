"""Behler-Parrinello symmetry functions on the device: the kernels of csrc/cuda/bp.cu and the tables they read.

The functions of a model are sorted into groups that share a radial factor, and groups into sweeps over the same
triplets (csrc/cuda/bp_tables.cuh, whose structs the dtypes here mirror). A warp does one atom; the neighbours that the
angular functions see stand in shared memory, so that after every new list `capacity()` looks how many they are.
"""

import math

import numpy as np

from .backend import DEFAULT_SHARED, REAL, GpuError

KERNELS = "cuda/bp.cu"
RADIAL, NARROW = (2, 12, 20, 23), (3, 13, 21, 24)
DEGREE = 6  # NNP_BP_DEGREE
MEMBERS = 48  # functions that a sweep sums at once
BATCH = {"float64": 64, "float32": 128}  # NNP_BP_BATCH
SET = 26  # NNP_BP_SET
LEAST_FOR_MOMENTS = 3  # functions of a group: as csrc/bp.c
WARPS = 4  # of a block, fewer where shared memory is short
INTEGERS = 64  # powers up to this are products
LEAST_OPTIN = 99 * 1024  # bytes of shared memory that devices since compute capability 8.6 lend a block
MOST_NEAR = 32767  # neighbours: two of their places are packed into one int
FAR = 1e30  # squared reach of functions without R(r_jk)
VALUES, PULL, RATES = range(3)
SUBTYPES = {"e": 4, "p1": 5, "p2": 6, "p3": 7, "p4": 8}


def dtypes(real):
    """{name of a section: dtype} of the buffer; the names are those of the C structs without nnp_bp_."""
    i = np.int32
    fields = {
        "centre": [(name, i) for name in (*COUNTS, *PLACES)],
        "span": i,
        "near": real,
        "radius": [("kind", i), ("cut", i)] + [(name, real) for name in ("eta", "rs", "rc", "inner", "scale")],
        "radial": [(name, i) for name in ("radius", "first", "n")],
        "use": [("input", i), ("scale", real)],
        "side": i,
        "set": i,
        "term": i,
        "sweep": [(name, i) for name in SWEEP] + [("reach2", real)],
        "group": [(name, i) for name in GROUP],
        "member": [(name, i) for name in ("input", "kind", "fresh", "n_steps", "bits", "n_lower", "lower_bits")]
        + [(name, real) for name in ("lambda", "zeta", "scale", "slope")]
        + [("poly", real, (DEGREE + 1,))],
        "function": [(name, real) for name in ("centre", "factor", "minimum", "maximum")],
    }
    return {name: np.dtype(own, align=True) if isinstance(own, list) else np.dtype(own) for name, own in fields.items()}


REACH = 4  # place of rc in a row of the radii
COUNTS = ("n_functions", "first_function", "first_term", "n_terms", "max_own", "max_members", "max_groups")
PLACES = ("first_sweep", "n_sweeps", "radial", "side", "sets", "reach", "n_sets")
SWEEP = ("t", "u", "first", "n", "first_member", "n_members", "by_moments")
GROUP = ("term", "narrow", "first", "n", "n_poly", "degree", "set_t", "set_u")


class Tables:
    """The buffer of a model of method "bp" in a precision: `data`, uint8; centres: the counts of each species.

    csrc/cuda/bp_tables.cuh says what stands in it.
    """

    def __init__(self, model, precision):
        self.real, self.batch = np.dtype(REAL[precision]), BATCH[precision]
        self.model, self.spec = model, model.metadata["bp"]
        self.numbers, self.n_species = model.numbers, len(model.species)
        self.rows = {name: [] for name in dtypes(self.real)}
        self._radii, self._cuts = {}, []
        for s in range(self.n_species):
            self._species(s)
        self.centres = [dict(zip((*COUNTS, *PLACES), row, strict=True)) for row in self.rows["centre"]]
        self.data = self._pack()

    # ---- one centre species ----

    def _species(self, s):
        functions = self.spec["functions"][s]
        radius = [self._radius(f) for f in functions]
        row = {
            "n_functions": len(functions),
            "first_function": len(self.rows["function"]),
            "first_term": len(self.rows["term"]),
            "first_sweep": len(self.rows["sweep"]),
        }
        row |= self._radial(functions, radius)
        row |= self._angular(functions, radius)
        row["n_sets"] = self.rows["span"][row["sets"] + self.n_species] - self.rows["span"][row["sets"]]
        row["n_sweeps"] = len(self.rows["sweep"]) - row["first_sweep"]
        self.rows["centre"].append(tuple(row[name] for name in (*COUNTS, *PLACES)))
        self._scaling(s, len(functions))

    def _scaling(self, s, n):
        low, high = (self.spec[key] for key in ("minimum", "maximum"))
        slack = 1e-9 if self.real == np.float64 else 1e-5
        for f in range(n):
            more = slack * (high[s][f] - low[s][f]) if low else 0.0
            ends = (low[s][f] - more, high[s][f] + more) if low else (-np.inf, np.inf)
            self.rows["function"].append((self.spec["centre"][s][f], self.spec["factor"][s][f], *ends))

    def _radius(self, f):
        """Place of a function's R(r) among the radii."""
        if f["type"] >= 20:
            core, asymmetric = SUBTYPES[f["subtype"].rstrip("a")], f["subtype"].endswith("a")
            width, centre = 0.5 * (f["r_high"] - f["r_low"]), 0.5 * (f["r_low"] + f["r_high"])
            key = (9 + 2 * (core - 4) + asymmetric, -1, 1 / width, centre, f["r_high"], 0.0, 0.0)
        else:
            inner = 0.0 if f["cutoff"] in (2, 3) else f["alpha"] * f["rc"]
            rs = f["rs"] if f["eta"] else 0.0
            cut = index_in(self._cuts, (f["cutoff"], f["rc"], inner))
            key = (f["cutoff"], cut, f["eta"], rs, f["rc"], inner, 1 / (f["rc"] - inner))
        if key not in self._radii:
            self._radii[key] = len(self.rows["radius"])
            self.rows["radius"].append(key)
        return self._radii[key]

    def _radial(self, functions, radius):
        """Radial functions by partner species."""
        lists = []
        for t in range(self.n_species):
            uses = {}
            for k, f in enumerate(functions):
                partners = f.get("partners")
                if f["type"] in RADIAL and (not partners or partners[0] == self.model.species[t]):
                    uses.setdefault(radius[k], []).append((k, 1.0 if partners else float(self.numbers[t])))
            lists.append([])
            for place, own in uses.items():
                lists[-1].append((place, len(self.rows["use"]), len(own)))
                self.rows["use"] += own
        return {"radial": self._span("radial", lists), "max_own": max(map(len, lists))}

    def _angular(self, functions, radius):
        """The groups of all channels as sweeps; (most members of a sweep, most groups of one, number of sets)."""
        species = range(self.n_species)
        channels = [
            (t, u, *sweep) for t in species for u in species[t:] for sweep in self._sweeps(functions, radius, t, u)
        ]
        terms, side, sets = [], [[] for _ in species], [[] for _ in species]
        for t, u, _, by_moments, groups in channels:
            for place, _, _ in groups:
                term = index_in(terms, place)
                for partner in (t, u):
                    index_in(side[partner], term)
                    if by_moments:
                        index_in(sets[partner], term)
        self.rows["term"] += terms
        first_set = np.concatenate([[0], np.cumsum([len(own) for own in sets])])
        most_members = most_groups = 0
        for t, u, reach2, by_moments, groups in channels:
            first, first_member = len(self.rows["group"]), len(self.rows["member"])
            for place, narrow, own in groups:
                term = terms.index(place)
                poly = sum(is_polynomial(functions[k]) for k in own)
                degree = max((int(functions[k]["zeta"]) for k in own[:poly]), default=0)
                pair = [int(first_set[p]) + sets[p].index(term) if by_moments else -1 for p in (t, u)]
                self.rows["group"].append((term, narrow, len(self.rows["member"]), len(own), poly, degree, *pair))
                self._members(functions, own, t, u)
            members = len(self.rows["member"]) - first_member
            self.rows["sweep"].append((t, u, first, len(groups), first_member, members, int(by_moments), reach2))
            most_members, most_groups = max(most_members, members), max(most_groups, len(groups))
        spans = {"side": self._span("side", side), "sets": self._span("set", sets), "reach": len(self.rows["near"])}
        self.rows["near"] += [max((self.rows["radius"][terms[k]][REACH] for k in own), default=0.0) for own in side]
        return {"n_terms": len(terms), "max_members": most_members, "max_groups": most_groups} | spans

    def _span(self, name, lists):
        """Put lists, one a partner species, one after the other; where their S + 1 ends stand among the spans."""
        ends = len(self.rows["span"])
        for own in lists:
            self.rows["span"].append(len(self.rows[name]))
            self.rows[name] += own
        self.rows["span"].append(len(self.rows[name]))
        return ends

    def _sweeps(self, functions, radius, t, u):
        """[(reach squared, by moments, [(radius, narrow, functions), ...])] of the channel t, u."""
        pair = sorted((self.model.species[t], self.model.species[u]))
        groups = {}
        for k, f in enumerate(functions):
            if f["type"] not in RADIAL and ("partners" not in f or sorted(f["partners"]) == pair):
                groups.setdefault((f["type"] in NARROW, radius[k]), []).append(k)
        sweeps = {}
        for (narrow, place), own in groups.items():
            reach2 = float(self.rows["radius"][place][REACH]) ** 2 if narrow else FAR
            by_moments = not narrow and len(own) >= LEAST_FOR_MOMENTS and all(is_moment(functions[k]) for k in own)
            own.sort(key=lambda k: order(functions[k]))
            for k in range(0, len(own), MEMBERS):
                sweeps.setdefault((reach2, by_moments), []).append((place, int(narrow), own[k : k + MEMBERS]))
        table = []
        for kind, all_groups in sorted(sweeps.items()):
            room = 0
            for group in all_groups:
                if room < len(group[2]):
                    table.append((*kind, []))
                    room = MEMBERS
                table[-1][2].append(group)
                room -= len(group[2])
        return table

    def _members(self, functions, own, t, u):
        before = None  # lambda and power that the member before leaves
        for k in own:
            f = functions[k]
            weight = 1.0 if "partners" in f else float(self.numbers[t] * self.numbers[u])
            row, before = member(f, k, weight, before)
            self.rows["member"].append(row)

    # ---- the buffer ----

    def _pack(self):
        kinds = dtypes(self.real)
        header = np.zeros(2 + len(kinds), dtype=np.int32)
        at = (4 * len(header) + 15) // 16 * 16
        parts = []
        for k, (name, kind) in enumerate(kinds.items()):
            values = np.zeros(max(len(self.rows[name]), 1), dtype=kind)
            values[: len(self.rows[name])] = self.rows[name]
            header[2 + k] = at
            parts.append((at, values.view(np.uint8).ravel()))
            at += (values.nbytes + 15) // 16 * 16
        header[:2] = at, self.n_species
        data = np.zeros(at, dtype=np.uint8)
        data[: header.nbytes] = header.view(np.uint8)
        for place, part in parts:
            data[place : place + len(part)] = part
        return data

    def room(self, s, mode, capacity):
        """Bytes of shared memory that a warp needs: nnp_bp_room()."""
        c, m = self.centres[s], capacity
        columns = max(c["max_own"], c["max_members"])
        n = (4 + c["n_terms"]) * m + c["n_functions"]
        if mode != VALUES:
            n += (c["n_terms"] + 3) * m
        if mode == VALUES:
            n += 32 * columns + SET * c["n_sets"]
        elif mode == PULL:
            n += c["max_own"] + c["max_groups"] * (DEGREE + 1) + 2 * SET * c["n_sets"]
        else:
            n += m + c["n_functions"] + 64 * columns
        ints = self.n_species + 1 + self.batch + m + 4
        return (n + 3) // 4 * 4 * self.real.itemsize + (ints + 3) // 4 * 4 * 4


def index_in(values, value):
    """Place of a value in a list, put at its end where it is not there."""
    if value not in values:
        values.append(value)
    return values.index(value)


def is_moment(f):
    """Whether a wide function may be summed by moments."""
    return is_polynomial(f) and f["zeta"] <= 4


def is_polynomial(f):
    """Whether A(cos) is summed as a polynomial on the way back."""
    return f["type"] < 20 and f["zeta"] == int(f["zeta"]) and f["zeta"] <= DEGREE


def order(f):
    """Members of a group: polynomials first, powers of one lambda one after the other."""
    if f["type"] >= 20:
        return 2, 0.0, 0.0
    return int(not is_polynomial(f)), f["lambda"], f["zeta"]


def climb(n, start=1):
    """(steps, bits) from p^start to p^n by squares and products with p; None where start is no prefix of n."""
    steps = n.bit_length() - start.bit_length()
    if steps < 0 or n >> steps != start:
        return None
    bits = 0
    for k in range(steps):
        bits |= (n >> (steps - 1 - k) & 1) << k
    return steps, bits


def member(f, k, weight, before):
    """(row of the table, what it leaves for the next) of function number k."""
    poly = np.zeros(DEGREE + 1)
    if f["type"] >= 20:
        left, right = np.radians(f["theta_left"]), np.radians(f["theta_right"])
        core = SUBTYPES[f["subtype"].rstrip("a")]
        return (k, core, 1, 0, 0, -1, 0, 2 / (right - left), 0.5 * (left + right), weight, 1.0, poly), None
    power, zeta, scale = f["lambda"], f["zeta"], 2.0 * weight
    slope = 0.5 * power * zeta
    if zeta != int(zeta) or zeta > INTEGERS:
        return (k, 1, 1, 0, 0, -1, 0, power, zeta, scale, slope, poly), None
    n = int(zeta)
    steps = climb(n, before[1]) if before and before[0] == power else None
    fresh = steps is None
    lower = climb(n - 1) if n > 1 else (-1, 0)
    if n <= DEGREE:  # p^n = 2^-n sum_m (n over m) lambda^m cos^m
        poly[: n + 1] = [scale * math.comb(n, m) * power**m / 2**n for m in range(n + 1)]
    row = (k, 0, int(fresh), *(climb(n) if fresh else steps), *lower, power, zeta, scale, slope, poly)
    return row, (power, n)


def shared_limit(backend):
    """Bytes of dynamic shared memory that a block may ask for."""
    cuda = getattr(backend.xp, "cuda", None)
    return cuda.Device().attributes["MaxSharedMemoryPerBlockOptin"] if cuda else LEAST_OPTIN


class Bp:
    """The symmetry functions of a model; what model.py and train.py ask of them: msr.py. Raises GpuError.

    They have no trainable numbers: set_theta() and parameters() do nothing.
    """

    clash = 1e-3  # Å: atoms closer than this are an error

    def __init__(self, backend, model, precision):
        self.backend, self.precision = backend, precision
        self.tables = Tables(model, precision)
        self.data = backend.device(self.tables.data)
        self.size = model.n_fingerprints
        self.has_ranges = model.metadata["bp"]["minimum"] is not None
        self._outside = None  # [n] of the last inputs()

    def set_theta(self, theta):
        """Nothing: no parameter is the functions' own."""

    def n_own(self, s):
        """Parameters of species s that are not its network's."""
        return 0

    # ---- launches ----

    def _arguments(self, system, places, capacity):
        lists = (np.int32(system.n), system.x, system.slice_first, system.index, system.segment)
        return (np.int32(places.n), places.rows, *lists, np.int32(capacity), self.data, np.int32(places.species))

    def capacity(self, system, places):
        """Neighbours of an atom that the angular functions see at most until the list is built again; kept as
        places.near. Waits for the device at the first call."""
        if getattr(places, "near", None) is None:
            most = self.backend.xp.zeros(1, dtype=np.int32)
            arguments = (*self._arguments(system, places, 0), np.float64(system.skin + 1e-6), most)
            self.backend.launch(KERNELS, "nnp_bp_crowd", places.n, arguments, self.precision)
            places.near = max(int(self.backend.host(most)[0]), 1) | 1  # odd: rows begin in different banks
        return places.near

    def _launch(self, name, mode, system, places, arguments):
        if places.n == 0:
            return
        capacity = self.capacity(system, places)
        room, most = self.tables.room(places.species, mode, capacity), shared_limit(self.backend)
        if room > most or capacity > MOST_NEAR:
            raise GpuError(
                f"{capacity} neighbours of an atom are too many for the GPU's shared memory ({room} bytes an atom, "
                f"there are {most}): a shorter cutoff of the angular functions, or float32"
            )
        warps = max(1, min(WARPS, (DEFAULT_SHARED if room <= DEFAULT_SHARED else most) // room))
        kernel = self.backend.kernel(KERNELS, name, self.precision)
        arguments = (*self._arguments(system, places, capacity), *arguments)
        kernel((-(-places.n // warps),), (32 * warps,), arguments, shared_mem=warps * room)

    def _empty(self, places):
        return self.backend.xp.empty((self.size[places.species], places.n), dtype=REAL[self.precision])

    def inputs(self, system, places):
        """(network inputs [f, n] of the places, None); atoms closer than system.clash are reported in system.status."""
        if self._outside is None or len(self._outside) != system.n:
            self._outside = self.backend.xp.zeros(system.n, dtype=np.int32)
        inputs, least = self._empty(places), np.float64(max(system.clash, self.clash))
        self._launch("nnp_bp_values", VALUES, system, places, (least, inputs, self._outside, system.status))
        return inputs, None

    def gradient(self, system, places, de_dg, more, gradient, add):
        """g_ij = dE_i/dr_ij of the places' entries: written to gradient [3, entries], or added to it."""
        arguments = (de_dg, np.int64(system.entries), gradient, np.int32(add))
        self._launch("nnp_bp_gradient", PULL, system, places, arguments)

    def rates(self, system, places, tangent):
        """(inputs, d(inputs)/dt [f, n], None) along the tangents of the pairs, lambda_i - lambda_j - M r_ij.

        tangent.forces [n, 3]: lambda = dL/dF in the order of the rows; tangent.virials [structures, 9]: M = dL/dW.
        """
        inputs, rates = self._empty(places), self._empty(places)
        arguments = (tangent.forces, tangent.virials, system.structure, system.owner, inputs, rates)
        self._launch("nnp_bp_rates", RATES, system, places, arguments)
        return inputs, rates, None

    def parameters(self, places, rate, more, p, q, groups, grad):
        """Nothing: no parameter is the functions' own."""

    def outside(self):
        """(atoms, functions of atoms) beyond their training range at the last inputs(); waits for the device."""
        if self._outside is None or not self.has_ranges:
            return 0, 0
        count = self.backend.host(self._outside)
        return int((count > 0).sum()), int(count.sum())


__all__ = ["Bp", "Tables"]
