"""A potential as data: architecture, parameters in NumPy, annotations; the .nnp file (docs/model-file.md)."""

import copy
import os
from pathlib import Path

import numpy as np

from . import __version__, architecture, bp, modelfile, msr
from .architecture import ARCHITECTURE
from .checkpoint import write_atomic
from .elements import NUMBERS
from .modelfile import ModelFileError
from .units import KCAL_MOL_MW
from .validate import InputError

STILLINGER_WEBER = {
    # J. Phys. Chem. B 113, 4008 (2009): eps = 6.189 kcal/mol; one molecule is one particle, named "O"
    "mW": {"species": "O", "mass": 18.015, "epsilon": 6.189 * KCAL_MOL_MW, "sigma": 2.3925, "lambda": 23.15},
    # Phys. Rev. B 31, 5262 (1985)
    "Si": {"species": "Si", "mass": 28.0855, "epsilon": 2.1683, "sigma": 2.0951, "lambda": 21.0},
}


class Model:
    """A potential. Fixed architecture; parameters `theta`; free annotations `info` (a dict that JSON can hold).

    Make one with Model.msr(), Model.bp(), Model.stillinger_weber(), Model.lennard_jones(), Model.zbl() or load(). Every
    instance has passed the checks of the C core. Energies in eV, lengths in Å, masses in amu.
    """

    def __init__(self, metadata, tensors=None):
        """metadata: the dict of docs/model-file.md; tensors: {name: array} of its architecture. InputError."""
        metadata = copy.deepcopy(metadata)
        self._spec = {key: metadata.pop(key) for key in ARCHITECTURE if key in metadata}
        self.info = metadata
        self._shapes = self._tensor_shapes()
        self._set(self._flatten(tensors or {}))

    # ---- makers ----

    @classmethod
    def msr(
        cls,
        species,
        rc,
        rc3=None,
        n2=5,
        n3=5,
        hidden=(25, 25),
        rs=0.0,
        cutoff="cosine",
        seed=0,
        e0=None,
        mass=None,
        baseline=None,
        info=None,
    ):
        """New MSR model with random parameters (msr.init_msr). Raises InputError.

        species: element symbols. rc, rc3 <= rc: cutoffs of pairs and triplets in Å (rc3: rc by default); rs < rc:
        start of the short-range branch, 0 for none. cutoff: x(r), "cosine" as published or "smooth", of which three
        derivatives vanish at rc (MD then conserves energy better). n2, n3: fingerprints of every channel,
        or lists [S][S] and [S][S(S+1)/2] by centre species. hidden: widths of the tanh layers, or a list of such lists,
        one a species. e0 (eV, 0 by default), mass (amu, standard weights by default): one number, a list, or
        {symbol: number}. baseline: a Model with a classical
        potential, or a list of them, for the network to add to. seed: an int or a numpy Generator.
        """
        species = architecture.check_symbols(species)
        n = len(species)
        n2 = msr.expand_counts(n2, "n2", n, n)
        n3 = msr.expand_counts(n3, "n3", n, msr.n_channels(n))
        hidden = architecture.check_hidden(hidden, n)
        spec = architecture.common("msr", species, mass, e0)
        rc = architecture.number(rc, "rc")
        rc3 = rc if rc3 is None else architecture.number(rc3, "rc3")
        if cutoff not in msr.CUTOFFS:
            raise InputError(f"cutoff: {cutoff!r} is not one of {', '.join(msr.CUTOFFS)}")
        rs = architecture.number(rs, "rs")
        spec["msr"] = {"rc": rc, "rc3": rc3, "rs": rs, "cutoff": cutoff, "n2": n2, "n3": n3}
        spec["network"] = [{"hidden": widths, "activation": ["tanh"] * len(widths)} for widths in hidden]
        if baseline is not None:
            spec["baseline"] = architecture.baseline_list(baseline)
        shapes = {}
        for s, symbol in enumerate(species):
            shapes |= msr.tensor_shapes(symbol, n2[s], n3[s], hidden[s])
        architecture.check_size(shapes)
        tensors = msr.init_msr(np.random.default_rng(seed), shapes)
        return cls({**spec, "code_version": __version__, **architecture.check_info(info or {})}, tensors)

    @classmethod
    def bp(
        cls,
        species,
        functions,
        hidden=(25, 25),
        activation="tanh",
        mass=None,
        e0=None,
        seed=0,
        centre=None,
        factor=None,
        minimum=None,
        maximum=None,
        weights=None,
        baseline=None,
        info=None,
    ):
        """New Behler-Parrinello model: symmetry functions (dicts, see nnpcore/bp.py) and networks. Raises InputError.

        functions: {symbol of the centre: [dict, ...]} in the order of the network's inputs; a list for one species.
        hidden: as for msr(). activation: a name of bp.ACTIVATIONS, a list by hidden layer, or such a list a species;
        the last layer is linear. Network input = (G - centre) factor, (G - 0) 1 by default; minimum, maximum: range of
        G in the training, None if unknown; each {symbol: [n]} or a list of lists. weights: {symbol: [(W [in][out],
        b [out]), ...]}, or None: Glorot-uniform by the seed. mass (amu), e0 (eV), baseline as for msr().
        """
        species = architecture.check_symbols(species)
        hidden = architecture.check_hidden(hidden, len(species))
        scale = {"centre": centre, "factor": factor, "minimum": minimum, "maximum": maximum}
        spec = architecture.common("bp", species, mass, e0)
        spec |= bp.metadata(species, functions, hidden, activation, scale)
        if baseline is not None:
            spec["baseline"] = architecture.baseline_list(baseline)
        shapes = {}
        for symbol, own, widths in zip(species, spec["bp"]["functions"], hidden, strict=True):
            shapes |= bp.tensor_shapes(symbol, len(own), widths)
        architecture.check_size(shapes)
        if weights is None:
            tensors = bp.init_weights(np.random.default_rng(seed), shapes)
        else:
            tensors = bp.given_weights(weights, shapes, species)
        return cls({**spec, "code_version": __version__, **architecture.check_info(info or {})}, tensors)

    @classmethod
    def stillinger_weber(cls, name):
        """Stillinger-Weber "mW" water (one particle a molecule, species "O", 18.015 amu) or "Si". InputError."""
        if name not in STILLINGER_WEBER:
            raise InputError(f"stillinger_weber: {name!r} is not one of {', '.join(STILLINGER_WEBER)}")
        own = dict(STILLINGER_WEBER[name])
        spec = architecture.common("baseline", [own.pop("species")], own.pop("mass"), None)
        # fmt: off
        sw = {"kind": "sw", "species": list(spec["species"]), **own, "a": 1.8, "gamma": 1.2, "cos_theta0": -1.0 / 3.0,
              "A": 7.049556277, "B": 0.6022245584, "p": 4.0, "q": 0.0}
        # fmt: on
        return cls({**spec, "baseline": [sw], "name": f"Stillinger-Weber {name}", "code_version": __version__})

    @classmethod
    def lennard_jones(cls, species, epsilon, sigma, cutoff, switch_on=None, mass=None):
        """Lennard-Jones of one species, or of every pair of several; eV, Å. Switched off from switch_on
        (0.8 cutoff by default) to cutoff. epsilon, sigma: numbers, or [S][S] symmetric tables. InputError."""
        spec = architecture.common("baseline", architecture.check_symbols(species), mass, None)
        species = spec["species"]
        cutoff = architecture.number(cutoff, "cutoff")
        switch_on = 0.8 * cutoff if switch_on is None else architecture.number(switch_on, "switch_on")
        epsilon = architecture.symmetric(epsilon, "epsilon", len(species))
        sigma = architecture.symmetric(sigma, "sigma", len(species))
        pairs = [(s, t) for s in range(len(species)) for t in range(s, len(species))]
        terms = [
            {
                "kind": "lj",
                "species": [species[s], species[t]],
                "epsilon": epsilon[s][t],
                "sigma": sigma[s][t],
                "cutoff": cutoff,
                "switch_on": switch_on,
            }
            for s, t in pairs
        ]
        return cls({**spec, "baseline": terms, "name": "Lennard-Jones", "code_version": __version__})

    @classmethod
    def zbl(cls, species, inner, outer, mass=None):
        """ZBL screened nuclear repulsion between all species, switched off from inner to outer (Å). InputError."""
        spec = architecture.common("baseline", architecture.check_symbols(species), mass, None)
        term = {
            "kind": "zbl",
            "inner": architecture.number(inner, "inner"),
            "outer": architecture.number(outer, "outer"),
        }
        return cls({**spec, "baseline": [term], "name": "ZBL", "code_version": __version__})

    def replace(self, theta=None, tensors=None, e0=None, mass=None, baseline=None, info=None):
        """A copy with other parameters, E0 (eV), masses (amu), baseline or annotations. Raises InputError."""
        metadata = self.metadata
        if info is not None:
            metadata = {**{key: metadata[key] for key in self._spec}, **architecture.check_info(info)}
        for key, value in (("e0", e0), ("mass", mass)):
            if value is not None:
                metadata[key] = architecture.per_species(value, key, self.species)
        if baseline is not None:
            metadata["baseline"] = architecture.baseline_list(baseline)
        new = type(self)(metadata, self.tensors if tensors is None else tensors)
        if theta is not None:
            new.theta = theta
        return new

    # ---- architecture ----

    def _tensor_shapes(self):
        """{name: shape} in theta's order; a spec too odd for that is left to the core's checks."""
        shapes = {}
        if self._spec.get("method") not in ("msr", "bp"):
            return shapes
        try:
            for s, symbol in enumerate(self._spec["species"]):
                hidden = self._spec["network"][s]["hidden"]
                if self.method == "bp":
                    shapes |= bp.tensor_shapes(symbol, len(self._spec["bp"]["functions"][s]), hidden)
                else:
                    counts = self._spec["msr"]
                    shapes |= msr.tensor_shapes(symbol, counts["n2"][s], counts["n3"][s], hidden)
        except (KeyError, IndexError, TypeError) as error:
            raise InputError(f"model: metadata incomplete or of the wrong kind ({error})") from None
        architecture.check_size(shapes)
        return shapes

    @property
    def metadata(self):
        """Everything the file's JSON document holds: architecture and info. A copy."""
        return copy.deepcopy({**self._spec, **architecture.check_info(self.info)})

    @property
    def method(self):
        """ "msr", "bp", or "baseline" for a classical potential alone."""
        return self._spec["method"]

    @property
    def species(self):
        """Element symbols in the order of species indices."""
        return list(self._spec["species"])

    @property
    def numbers(self):
        """Atomic numbers of the species."""
        return [NUMBERS[symbol] for symbol in self._spec["species"]]

    @property
    def mass(self):
        """Masses in amu, float64 [S]."""
        return np.array(self._spec["mass"], dtype=np.float64)

    @property
    def e0(self):
        """Energies of the isolated atoms, or fitted ones, in eV, float64 [S]."""
        return np.array(self._spec["e0"], dtype=np.float64)

    @property
    def baseline(self):
        """Classical potentials as in the file, a list of dicts."""
        return copy.deepcopy(self._spec.get("baseline", []))

    @property
    def cutoff(self):
        """Largest cutoff radius in Å."""
        return self._core.cutoff

    @property
    def n_fingerprints(self):
        """Network inputs of every species."""
        return self._core.n_fingerprints

    @property
    def core(self):
        """The compiled core's object for this state (nnpcore._core.Model); a new one after theta was set."""
        return self._core

    # ---- parameters ----

    def _flatten(self, tensors):
        extra = set(tensors) - set(self._shapes)
        missing = [name for name in self._shapes if name not in tensors]
        if extra or missing:
            names = [f"{name!r} is missing" for name in missing] + [f"{name!r} is not in it" for name in sorted(extra)]
            raise InputError(f"tensors: do not fit the architecture: {', '.join(names[:4])}")
        parts = [np.empty(0)]
        for name, shape in self._shapes.items():
            value = np.asarray(tensors[name], dtype=np.float64)
            if value.shape != shape:
                raise InputError(f"tensors: {name!r} has shape {list(value.shape)}, expected {list(shape)}")
            parts.append(value.ravel())
        return np.concatenate(parts)

    def _set(self, theta):
        """Take theta [n_parameters] over, if the core accepts it."""
        core = modelfile.parse(modelfile.encode(self.metadata, self._shapes, theta), "model", InputError)
        theta.flags.writeable = False
        self._theta, self._core, self._work = theta, core, {}

    @property
    def theta(self):
        """All trainable numbers, float64 [n_parameters], read-only; assign a new vector. Order: docs/model-file.md."""
        return self._theta

    @theta.setter
    def theta(self, value):
        value = np.array(value, dtype=np.float64)
        if value.shape != self._theta.shape:
            raise InputError(f"theta: expected shape [{self._theta.size}], got {list(value.shape)}")
        self._set(value)

    @property
    def n_parameters(self):
        return self._theta.size

    @property
    def slices(self):
        """{tensor name: slice of theta}, in order."""
        slices, start = {}, 0
        for name, shape in self._shapes.items():
            stop = start + int(np.prod(shape))
            slices[name] = slice(start, stop)
            start = stop
        return slices

    @property
    def tensors(self):
        """{tensor name: float64 array}, read-only views of theta."""
        return {name: self._theta[part].reshape(self._shapes[name]) for name, part in self.slices.items()}

    def parameter_names(self):
        """A name for every entry of theta: "msr.Si.triplet[3,beta]", "net.Si.0.weight[2,7]"."""
        names = []
        for name, shape in self._shapes.items():
            for index in np.ndindex(shape):
                last = ("a", "b", "beta")[index[-1]] if name.endswith(".triplet") else index[-1]
                names.append(f"{name}[{','.join(map(str, (*index[:-1], last)))}]")
        return names

    def mask(self, *groups, species=None):
        """bool [n_parameters]: members of the groups, of one species or all.

        Groups: "alpha", "triplet" or its columns "a", "b", "beta", "mu", "weight", "bias". Raises InputError.
        """
        columns = {"a": 0, "b": 1, "beta": 2}
        unknown = set(groups) - {"alpha", "triplet", *columns, "mu", "weight", "bias"}
        if unknown:
            raise InputError(f"groups: {sorted(unknown)[0]!r} is not a group of parameters")
        if species is not None and species not in self._spec["species"]:
            raise InputError(f"species: {species!r} is not in the model, which has {', '.join(self.species)}")
        mask = np.zeros(self.n_parameters, dtype=bool)
        for name, part in self.slices.items():
            _, symbol, *_, kind = name.split(".")
            if species not in (None, symbol):
                continue
            mask[part] = kind in groups
            for group, column in columns.items():
                if kind == "triplet" and group in groups:
                    mask[part][column::3] = True
        return mask

    @property
    def exponents(self):
        """bool [n_parameters]: alpha, a, b, beta."""
        return self.mask(*msr.EXPONENTS)

    # ---- energies and forces ----

    def compute(
        self,
        positions,
        species,
        cell=None,
        pbc=None,
        *,
        forces=True,
        virials=False,
        precision="float64",
        n_threads=0,
        skin=0.0,
        device="cpu",
    ):
        """Energy, forces and stress of one configuration (compute.Results).

        positions: [n,3] Å, unwrapped or not. species: symbols or indices [n], or one symbol for all. cell: [3,3] rows,
        three lengths, or None for an isolated system. pbc: one or three booleans (True where there is a cell).
        virials: per-atom 3x3 virials too. precision: "float64" or "float32" (float arithmetic, double sums).
        n_threads: 0 for all. skin (Å): > 0 keeps the neighbour list between calls until an atom moved half of it.
        device: "cpu", or "gpu" (needs CuPy; n_threads then has no meaning). Raises InputError (bad arguments, unknown
        species, singular cell, atoms on top of each other; gpu.backend.GpuError where a GPU cannot be used).
        """
        from .compute import compute, make_workspace

        key = (precision, int(n_threads), float(skin), device)
        work, self._work = self._work.pop(key, None), {}
        if work is None or work.model is not self._core:
            work = make_workspace(self, precision, int(n_threads), float(skin), device)
        results = compute(work, positions, species, cell, pbc, forces, virials)
        self._work = {key: work}
        return results

    # ---- files ----

    def to_bytes(self):
        """The .nnp file as bytes, the same for the same model. Raises InputError if info is not JSON."""
        return modelfile.encode(self.metadata, self._shapes, self._theta)

    @classmethod
    def from_bytes(cls, data, where="model"):
        """The model of a .nnp file's bytes; where: its name for error texts. Raises ModelFileError."""
        core = modelfile.parse(data, where, ModelFileError)
        try:
            metadata = modelfile.read_metadata(data)
            model = cls.__new__(cls)
            model._spec = {key: metadata.pop(key) for key in ARCHITECTURE if key in metadata}
            model.info = metadata
            model._shapes = model._tensor_shapes()
        except ValueError as error:  # not UTF-8, which the core does not look at
            raise ModelFileError(f"{where}: metadata: {error}", 4) from None
        model._theta, model._core, model._work = core.parameters(), core, {}
        model._theta.flags.writeable = False
        return model

    def save(self, path):
        """Write the .nnp file; path holds the old file or the whole new one at any moment. Raises OSError."""
        write_atomic(path, self.to_bytes())

    @classmethod
    def load(cls, path):
        """Read a .nnp file. Raises OSError if it cannot be read, ModelFileError if it is not a good model."""
        path = Path(path)
        if os.stat(path).st_size > modelfile.MAX_FILE:
            raise ModelFileError(f"{path}: not a model file (.nnp): larger than {modelfile.MAX_FILE} bytes", 4)
        return cls.from_bytes(path.read_bytes(), str(path))

    def __reduce__(self):
        return type(self).from_bytes, (self.to_bytes(),)

    def __eq__(self, other):
        return isinstance(other, Model) and self.to_bytes() == other.to_bytes()

    __hash__ = None

    # ---- description ----

    def describe(self):
        """What the model is, as a dict that JSON can hold (`nnpcore info --json`)."""
        about = {
            "method": self.method,
            "species": self.species,
            "mass[amu]": self._spec["mass"],
            "e0[eV]": self._spec["e0"],
            "cutoff[A]": self.cutoff,
            "n_parameters": self.n_parameters,
        }
        if self.method in ("msr", "bp"):
            network = self._spec["network"]
            about |= {
                self.method: self._spec[self.method],
                "n_fingerprints": self.n_fingerprints,
                "hidden": [entry["hidden"] for entry in network],
                "activation": [entry["activation"] for entry in network],
            }
        return copy.deepcopy({**about, "baseline": self.baseline, "info": self.info})

    def __str__(self):
        """The text of `nnpcore info`."""
        about = self.describe()
        lines = [f"method        {about['method']}", f"cutoff        {about['cutoff[A]']:g} A"]
        if self.method == "msr":
            own = about["msr"]
            kind = own.get("cutoff", "cosine")
            lines.append(f"MSR           rc {own['rc']:g} A, rc3 {own['rc3']:g} A, rs {own['rs']:g} A, {kind} cutoff")
        lines.append(f"parameters    {about['n_parameters']}")
        for s, symbol in enumerate(about["species"]):
            line = f"species {s:<2d}    {symbol:<2s}  {about['mass[amu]'][s]:g} amu, E0 {about['e0[eV]'][s]:.10g} eV"
            if self.method in ("msr", "bp"):
                widths = "-".join(map(str, [about["n_fingerprints"][s], *about["hidden"][s], 1]))
            if self.method == "msr":
                line += f", {sum(own['n2'][s])} pair + {sum(own['n3'][s])} triplet fingerprints, network {widths}"
            if self.method == "bp":
                line += f", network {widths}, {' '.join([*about['activation'][s], 'linear'])}"
            lines.append(line)
            if self.method == "bp":
                lines += [f"              {bp.describe(f)}" for f in about["bp"]["functions"][s]]
        for term in about["baseline"]:
            values = ", ".join(f"{key} {value:g}" for key, value in term.items() if key not in ("kind", "species"))
            lines.append(f"baseline      {term['kind']} {'-'.join(term.get('species', ['all pairs']))}: {values}")
        lines += [f"{key:<13s} {value}" for key, value in about["info"].items()]
        return "\n".join(lines)

    def __repr__(self):
        return f"<nnpcore.Model {self.method} {'-'.join(self.species)}, {self.n_parameters} parameters>"


def load(path):
    """Read a .nnp model file: Model.load()."""
    return Model.load(path)
