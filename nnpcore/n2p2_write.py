"""A Behler-Parrinello model as a folder that n2p2, LAMMPS' pair_style hdnnp and n2p2_read take."""

import os
from pathlib import Path

import numpy as np

from . import __version__
from . import n2p2_format as fmt
from .checkpoint import write_atomic
from .data import UNITS
from .elements import NUMBERS
from .n2p2_format import N2p2Error

MARK = "# Written by nnpcore"
WRITTEN_UNITS = {
    "Hartree/Bohr": ("Hartree", "Bohr"),
    "eV/A": ("eV", "Angstrom"),
    "Hartree/A": ("Hartree", "Angstrom"),
    "Ry/Bohr": ("Ry", "Bohr"),
    "kcal/mol": ("kcal/mol", "Angstrom"),
}


def write_folder(arguments, directory, units="Hartree/Bohr"):
    """Write input.nn, scaling.data and weights.ZZZ.data for arguments of Model.bp() (as Folder.arguments, all given).

    Numbers have 17 digits and are chosen so that reading them back gives the same bits wherever there are such.
    Raises N2p2Error for what the format has no words for, before anything is written.
    """
    if units not in WRITTEN_UNITS:
        raise N2p2Error(f"units {units!r} cannot be written, expected one of {', '.join(WRITTEN_UNITS)}")
    energy, length = UNITS[units]
    files = {}
    order, lines = {}, []
    for symbol in arguments["species"]:
        order[symbol], own = _functions(symbol, arguments["functions"][symbol], length)
        lines += own
    names = WRITTEN_UNITS[units]
    head = [f"{MARK} {__version__}", f"# Length unit     : {names[1]}", f"# Energy unit     : {names[0]}"]
    files["input.nn"] = head + _settings(arguments, energy) + lines
    files["scaling.data"] = _scaling(arguments, order)
    for symbol in arguments["species"]:
        layers = [(np.array(w, dtype=float), np.array(b, dtype=float)) for w, b in arguments["weights"][symbol]]
        layers[0] = (_live(arguments, symbol, layers[0][0])[order[symbol]], layers[0][1])
        layers[-1] = tuple(_quotient(v, energy) for v in layers[-1])
        files[f"weights.{NUMBERS[symbol]:03d}.data"] = _weights(layers)
    directory = Path(directory)
    old = directory / "input.nn"
    if old.exists() and not old.read_text(errors="replace").startswith(MARK):
        raise N2p2Error(f"{old}: exists and is not from nnpcore; expected a new folder, or one that it wrote")
    os.makedirs(directory, exist_ok=True)
    for name, text in files.items():
        write_atomic(directory / name, ("\n".join(text) + "\n").encode())


def _quotient(value, factor):
    """x with x * factor == value, bit by bit, wherever one of the three numbers nearest to value / factor does it."""
    x = np.asarray(value) / factor
    for other in (np.nextafter(x, -np.inf), np.nextafter(x, np.inf)):
        x = np.where((x * factor != value) & (other * factor == value), other, x)
    return x


def _inverse(value):
    x = 1.0 / np.asarray(value)
    for other in (np.nextafter(x, -np.inf), np.nextafter(x, np.inf)):
        x = np.where((1.0 / x != value) & (1.0 / other == value), other, x)
    return x


def _text(value, factor=1.0):
    """The shortest of some texts that reads back as value / factor, so that "12.0" Bohr stays "12"."""
    for digits in (6, 9, 12, 15, 16):
        text = f"{value / factor:.{digits}g}"
        if float(text) * factor == value:
            return text
    return repr(float(_quotient(value, factor)))


def _functions(symbol, functions, length):
    """(order of the functions in n2p2, [line, ...]): that of the values as written."""
    kinds = {(f["cutoff"], f["alpha"]) for f in functions if f["type"] < 20}
    if len(kinds) > 1:
        raise N2p2Error(f"functions of {symbol}: more than one cutoff type or alpha, input.nn has one for all")
    written, lines = [], []
    for f in functions:
        names = fmt.FUNCTIONS[f["type"]][1]
        if f["type"] in (3, 9) and f["rs"] != 0:
            names = (*names, "rs")
        power = fmt.LENGTH_POWER
        texts = {k: f[k] if k == "subtype" else _text(f[k], length ** power.get(k, 0)) for k in names}
        words = [symbol, str(f["type"]), *f.get("partners", ()), *texts.values()]
        lines.append(f"symfunction_short {' '.join(words)}")
        written.append(f | {k: v if k == "subtype" else float(v) for k, v in texts.items()})
    order = sorted(range(len(written)), key=lambda k: fmt.sort_key(written[k]))
    return order, [lines[k] for k in order]


def _settings(arguments, energy):
    species = arguments["species"]
    hidden, activation = arguments["hidden"], arguments["activation"]
    kinds = {(f["cutoff"], f["alpha"]) for own in arguments["functions"].values() for f in own if f["type"] < 20}
    if len(kinds) > 1:
        raise N2p2Error("functions: more than one cutoff type or alpha, input.nn has one for all")
    cutoff, alpha = kinds.pop() if kinds else (1, 0.0)
    if any(own != activation[0] for own in activation) or any(len(own) != len(hidden[0]) for own in hidden):
        raise N2p2Error("hidden: networks differ in layers or activations, n2p2 has the same for every element")
    widths = [max(own[l] for own in hidden) for l in range(len(hidden[0]))]
    lines = ["", f"number_of_elements {len(species)}", f"elements {' '.join(species)}"]
    lines += [f"atom_energy {s} {_text(float(arguments['e0'][s]), energy)}" for s in species]
    lines += [
        f"cutoff_type {cutoff} {alpha!r}",
        "scale_symmetry_functions_sigma",
        "scale_min_short 0",
        "scale_max_short 1",
    ]
    lines += [f"global_hidden_layers_short {len(widths)}"]
    lines += [f"global_nodes_short {' '.join(map(str, widths))}"] if widths else []
    letters = [fmt.LETTERS[name] for name in [*activation[0], "linear"]]
    lines += [f"global_activation_short {' '.join(letters)}"]
    for symbol, own in zip(species, hidden, strict=True):
        lines += [f"element_nodes_short {symbol} {l + 1} {n}" for l, n in enumerate(own) if n != widths[l]]
    return [*lines, ""]


def _scaling(arguments, order):
    """Network input (G - centre) factor as n2p2's (G - mean)/sigma; extrapolation is judged by minimum and maximum."""
    lines = ["# element  function  minimum  maximum  mean  sigma (1 / factor)"]
    for e, symbol in enumerate(arguments["species"], 1):
        centre, factor = (np.asarray(arguments[k][symbol], dtype=float) for k in ("centre", "factor"))
        bounds = [arguments[k] and arguments[k][symbol] for k in ("minimum", "maximum")]
        low = np.full(len(centre), -fmt.UNKNOWN) if bounds[0] is None else np.asarray(bounds[0])
        high = np.full(len(centre), fmt.UNKNOWN) if bounds[1] is None else np.asarray(bounds[1])
        if (factor < 0).any():
            raise N2p2Error(f"factor: negative for {symbol}, n2p2 has no such scaling")
        sigma = _inverse(np.where(factor > 0, factor, 1.0))
        for k, i in enumerate(order[symbol], 1):
            values = " ".join(f"{float(v)!r:>24}" for v in (low[i], high[i], centre[i], sigma[i]))
            lines.append(f"{e:10d} {k:10d} {values}")
    return lines


def _live(arguments, symbol, weights):
    """First-layer weights with zeros for inputs that a factor of 0 switches off (their sigma is written as 1)."""
    return np.where(np.asarray(arguments["factor"][symbol])[:, None] > 0, weights, 0.0)


def _weights(layers):
    lines, index = ["# value  kind (a: weight, b: bias)  index  layer  neuron  [layer  neuron]"], 0
    for l, (w, b) in enumerate(layers):
        for i, row in enumerate(w, 1):
            for o, value in enumerate(row, 1):
                index += 1
                lines.append(f"{float(value)!r:>24} a {index:9d} {l:5d} {i:5d} {l + 1:5d} {o:5d}")
        for o, value in enumerate(b, 1):
            index += 1
            lines.append(f"{float(value)!r:>24} b {index:9d} {l + 1:5d} {o:5d}")
    return lines
