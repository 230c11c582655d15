"""Behler-Parrinello models: symmetry functions as dicts, their checks, input scaling, starting weights.

Types by n2p2's numbers; sums over neighbours j or pairs j < k; c = cos(theta_jik); lengths in Å, angles in degrees:

    2  sum exp(-eta (r - rs)^2) fc(r)                                                             partners [t]
    3  2^(1-zeta) sum (1 + lambda c)^zeta R(r_ij) R(r_ik) R(r_jk), R(r) as in 2                   partners [t, u]
    9  the same without R(r_jk)                                                                   partners [t, u]
   12, 13   as 2 and 3 over all species, each term times Z_j, or Z_j Z_k
   20  sum C(r), C a compact polynomial between r_low and r_high                                  partners [t]
   21  sum C(r_ij) C(r_ik) C(r_jk) C(theta) with a window theta_left, theta_right; 22 without C(r_jk)
   23, 24, 25   as 20, 21, 22 over all species, each term times Z_j, or Z_j Z_k

Refs: Behler, Parrinello, Phys. Rev. Lett. 98, 146401 (2007); Behler, J. Chem. Phys. 134, 074106 (2011); Bircher,
Singraber, Dellago, Mach. Learn.: Sci. Technol. 2, 035026 (2021).
"""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np

from . import architecture
from .validate import InputError

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

RADIAL, NARROW, WIDE = (2, 12, 20, 23), (3, 13, 21, 24), (9, 22, 25)
WEIGHTED = (12, 13, 23, 24, 25)
TYPES = tuple(sorted(RADIAL + NARROW + WIDE))
SUBTYPES = ("e", "p1", "p2", "p3", "p4", "p1a", "p2a", "p3a", "p4a", "ea")
ACTIVATIONS = ("tanh", "logistic", "softplus", "gaussian", "cos", "relu", "exp", "harmonic", "linear")
DEFAULTS = {"cutoff": 1, "alpha": 0.0, "rs": 0.0}
"""What a function dict may leave out: cosine cutoff, no inner radius, no shift."""


def keys(kind):
    """Keys of a function of a type, in the file's order."""
    names = ["type"]
    if kind not in WEIGHTED:
        names.append("partners")
    if kind >= 20:
        names += ["r_low", "r_high"]
        if kind not in RADIAL:
            names += ["theta_left", "theta_right"]
        return [*names, "subtype"]
    names += ["rc", "cutoff", "alpha", "eta", "rs"]
    return names if kind in RADIAL else [*names, "lambda", "zeta"]


def check_function(function, species, where):
    """One function dict in full, partners in the order of species; where names it. Raises InputError."""
    if not isinstance(function, dict):
        raise InputError(f"{where}: expected a dict, got {function!r}")
    kind = function.get("type")
    if isinstance(kind, bool) or kind not in TYPES:
        raise InputError(f"{where}: type {kind!r} is not one of {', '.join(map(str, TYPES))}")
    given = {**({} if kind >= 20 else DEFAULTS), **function, "type": int(kind)}
    if "subtype" not in given and kind >= 20:
        given["subtype"] = "p2"
    unknown, missing = set(given) - set(keys(kind)), [key for key in keys(kind) if key not in given]
    if unknown:
        raise InputError(f"{where}: {sorted(unknown)[0]!r} is not a parameter of type {kind}")
    if missing:
        raise InputError(f"{where}: {missing[0]!r} is missing for type {kind}")
    checked = {}
    for key in keys(kind):
        value = given[key]
        if key == "partners":
            value = _partners(value, kind, species, where)
        elif key == "subtype":
            if value not in SUBTYPES:
                raise InputError(f"{where}: subtype {value!r} is not one of {', '.join(SUBTYPES)}")
        elif key in ("type", "cutoff"):
            if value != int(architecture.number(value, f"{where}: {key}")):
                raise InputError(f"{where}: {key} is {value!r}, expected an integer")
            value = int(value)
        else:
            value = architecture.number(value, f"{where}: {key}")
        checked[key] = value
    _check_ranges(checked, where)
    return checked


def _partners(value, kind, species, where):
    value = [value] if isinstance(value, str) else list(value)
    n = 1 if kind in RADIAL else 2
    if len(value) != n or any(symbol not in species for symbol in value):
        raise InputError(f"{where}: partners are {value!r}, expected {n} of {', '.join(species)}")
    return sorted(value, key=species.index)


def _check_ranges(f, where):
    """The bounds that the core has too, in words that name the function."""
    bounds = {
        "rc": (0 < f.get("rc", 1) <= 1e3, "a number above 0, at most 1000"),
        "cutoff": (0 <= f.get("cutoff", 0) <= 8, "0 to 8"),
        "alpha": (0 <= f.get("alpha", 0) < 1, "0 or more and below 1"),
        "eta": (0 <= f.get("eta", 0) <= 1e6, "0 or more, at most 1e6"),
        "rs": (abs(f.get("rs", 0)) <= 1e3, "at most 1000 in size"),
        "lambda": (abs(f.get("lambda", 0)) <= 1, "-1 to 1"),
        "zeta": (1 <= f.get("zeta", 1) <= 1e6, "1 or more, at most 1e6"),
        "r_high": (0 < f.get("r_high", 1) <= 1e3, "a number above 0, at most 1000"),
        "r_low": (-1e3 <= f.get("r_low", -1) < f.get("r_high", 1), "a number below r_high"),
        "theta_left": (-360 <= f.get("theta_left", -1) < f.get("theta_right", 1), "a number below theta_right"),
        "theta_right": (f.get("theta_right", 0) <= 720, "at most 720"),
    }
    for key, (good, expected) in bounds.items():
        if key in f and not good:
            raise InputError(f"{where}: {key} is {f[key]!r}, expected {expected}")


def check_functions(functions, species):
    """{symbol: [function dict, ...]} (one list for one species) as lists in the order of species. Raises InputError."""
    if not isinstance(functions, dict):
        if len(species) > 1:
            raise InputError(f"functions: expected {{symbol: [dict, ...]}} for {', '.join(species)}")
        functions = {species[0]: functions}
    odd = [symbol for symbol in functions if symbol not in species]
    if odd:
        raise InputError(f"functions: {odd[0]!r} is not one of the species {', '.join(species)}")
    table = []
    for symbol in species:
        own = functions.get(symbol) or []
        if not isinstance(own, (list, tuple)) or not own:
            raise InputError(f"functions: {symbol} has none")
        table.append([check_function(f, species, f"functions of {symbol}, number {k}") for k, f in enumerate(own)])
    return table


def read_functions(path):
    """Symmetry functions of a file: {symbol: [dict, ...]} as TOML or JSON, a .nnp model's, or n2p2's input.nn.

    Raises InputError.
    """
    path = Path(path)
    if path.suffix == ".nn":
        from .n2p2 import functions

        return functions(path)[1]
    if path.suffix == ".nnp":
        from .model import load

        model = load(path)
        if model.method != "bp":
            raise InputError(f"{path}: a model of method {model.method!r} has no symmetry functions")
        return dict(zip(model.species, model.metadata["bp"]["functions"], strict=True))
    try:
        text = path.read_text(encoding="utf-8")
        table = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:  # UTF-8, JSON, TOML
        raise InputError(f"{path}: not {'JSON' if path.suffix == '.json' else 'TOML'}: {error}") from None
    if not isinstance(table, dict) or any(not isinstance(own, list) for own in table.values()):
        raise InputError(f"{path}: expected a list of symmetry functions for each element symbol")
    return table


def rows(values, name, species, counts, default=None):
    """[counts[s]] numbers for each species from None, {symbol: list} or a list of lists. Raises InputError."""
    if values is None:
        return None if default is None else [[default] * n for n in counts]
    if isinstance(values, dict):
        if set(values) != set(species):
            raise InputError(f"{name}: expected a list for each of {', '.join(species)}, got {sorted(values)}")
        values = [values[symbol] for symbol in species]
    if len(values) != len(species):
        raise InputError(f"{name}: expected {len(species)} lists, one a species, got {len(values)}")
    table = []
    for symbol, row, n in zip(species, values, counts, strict=True):
        if len(row) != n:
            raise InputError(f"{name}: {symbol} has {len(row)} numbers, expected {n}, one a function")
        table.append([architecture.number(value, f"{name} of {symbol}") for value in row])
    return table


def scaling(species, functions, centre, factor, minimum, maximum):
    """The "bp" object of the metadata; functions as from check_functions()."""
    counts = [len(own) for own in functions]
    if (minimum is None) != (maximum is None):
        raise InputError("minimum and maximum: expected both or neither")
    return {
        "functions": functions,
        "centre": rows(centre, "centre", species, counts, 0.0),
        "factor": rows(factor, "factor", species, counts, 1.0),
        "minimum": rows(minimum, "minimum", species, counts),
        "maximum": rows(maximum, "maximum", species, counts),
    }


def rescaled(model, centre, factor, minimum=None, maximum=None):
    """A copy of a BP model with another input scaling, (G - centre) factor, and other training ranges of G.

    Each: {symbol: [n_functions]} or a list of lists. Raises InputError.
    """
    metadata = model.metadata
    metadata["bp"] = scaling(model.species, metadata["bp"]["functions"], centre, factor, minimum, maximum)
    return type(model)(metadata, model.tensors)


def check_activation(activation, hidden):
    """Names of the hidden layers' functions: one for all, a list by layer, or such lists by species. InputError."""
    if isinstance(activation, str):
        table = [[activation] * len(widths) for widths in hidden]
    elif all(isinstance(name, str) for name in activation):
        table = [list(activation)] * len(hidden)
    else:
        table = [list(row) for row in activation]
    if len(table) != len(hidden):
        raise InputError(f"activation: expected {len(hidden)} lists, one a species, got {len(table)}")
    for row, widths in zip(table, hidden, strict=True):
        if len(row) != len(widths) or any(name not in ACTIVATIONS for name in row):
            raise InputError(
                f"activation: {row!r} does not name one of {', '.join(ACTIVATIONS)} for each of {len(widths)} layers"
            )
    return table


def tensor_shapes(symbol, n_functions, hidden):
    """Names and shapes of the tensors of one centre species, in theta's order."""
    shapes = {}
    for layer, (n_in, n_out) in enumerate(pairwise([n_functions, *hidden, 1])):
        shapes[f"net.{symbol}.{layer}.weight"] = (n_in, n_out)
        shapes[f"net.{symbol}.{layer}.bias"] = (n_out,)
    return shapes


def given_weights(weights, shapes, species):
    """{tensor name: array} of weights {symbol: [(W [in][out], b [out]), ...]}. Raises InputError."""
    if set(weights) != set(species):
        raise InputError(f"weights: expected layers for each of {', '.join(species)}, got {sorted(weights)}")
    tensors = {}
    for symbol, layers in weights.items():
        wanted = sum(name.startswith(f"net.{symbol}.") for name in shapes) // 2
        if len(layers) != wanted:
            raise InputError(f"weights: {symbol} has {len(layers)} layers, expected {wanted}")
        for layer, (weight, bias) in enumerate(layers):
            tensors[f"net.{symbol}.{layer}.weight"] = np.asarray(weight, dtype=np.float64)
            tensors[f"net.{symbol}.{layer}.bias"] = np.asarray(bias, dtype=np.float64).reshape(-1)
    return tensors


def init_weights(rng, shapes):
    """Glorot-uniform weights, no bias, drawn in order from rng; {tensor name: array}."""
    return {
        name: rng.uniform(-1.0, 1.0, shape) * np.sqrt(6.0 / sum(shape)) if name.endswith("weight") else np.zeros(shape)
        for name, shape in shapes.items()
    }


def metadata(species, functions, hidden, activation, scale):
    """The method's own part of the metadata; scale: dict(centre, factor, minimum, maximum)."""
    functions = check_functions(functions, species)
    activation = check_activation(activation, hidden)
    network = [{"hidden": widths, "activation": names} for widths, names in zip(hidden, activation, strict=True)]
    return {"bp": scaling(species, functions, **scale), "network": network}


def describe(function):
    """One function on one line: "3 H O  eta 0.25 rs 0 lambda 1 zeta 4  rc 6.35 cutoff 2"."""
    rest = [
        f"{key} {value:g}" if key != "subtype" else value
        for key, value in function.items()
        if key not in ("type", "partners")
    ]
    return f"{function['type']:<2d} {' '.join(function.get('partners', ['all'])):<6s} {', '.join(rest)}"
