"""A potential's folder as arguments of Model.bp(): input.nn, scaling.data, weights.ZZZ.data."""

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from . import n2p2_format as fmt
from .data import BOHR, HARTREE, UNITS
from .elements import NUMBERS
from .n2p2_format import N2p2Error
from .n2p2_input import InputNN, read_text


@dataclass
class Folder:
    """What a folder holds: arguments of Model.bp() in eV and A, the units it is in, remarks for the user."""

    arguments: dict
    units: str
    notes: list = field(default_factory=list)


def read_folder(directory, units=None):
    """Folder of a directory in n2p2's or RuNNer's format. Raises N2p2Error.

    units: a key of data.UNITS; by default what comments at the top of input.nn say ("# Length unit : Bohr"), or else
    Hartree and Bohr.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise N2p2Error(f"{directory}: no such folder")
    nn = InputNN(directory / "input.nn")
    nn.check_kind()
    species = nn.species()
    energy, length, units, notes = units_of(nn, units)
    functions = nn.functions(species)
    topology = nn.topology(species)
    centre, factor, minimum, maximum = _scaling(nn, directory / "scaling.data", functions)
    conv_energy, e0 = _energies(nn, species, notes)
    arguments = {
        "species": species,
        "functions": {s: [fmt.in_units(f, length) for f in functions[s]] for s in species},
        "centre": centre,
        "factor": factor,
        "minimum": minimum,
        "maximum": maximum,
        "e0": {s: e0[s] * energy for s in species},
    }
    layers, hidden, activation = {}, [], []
    for symbol in species:
        widths, names = topology[symbol]
        path = _weights_file(directory, NUMBERS[symbol], notes)
        layers[symbol] = read_weights(path, [len(functions[symbol]), *widths, 1])
        if nn.flag("normalize_nodes"):  # every neuron's sum, bias included, is divided by the number of its inputs
            layers[symbol] = [(w / len(w), b / len(w)) for w, b in layers[symbol]]
        for l, name in enumerate(names):
            if name == "revlogistic":  # 1 - 1/(1 + exp(-x)) = 1/(1 + exp(x))
                layers[symbol][l] = tuple(-v for v in layers[symbol][l])
        names = ["logistic" if name == "revlogistic" else name for name in names]
        if names[-1] != "linear":  # E = 1 f(x) + 0: the output neuron becomes a hidden layer
            layers[symbol].append((np.ones((1, 1)), np.zeros(1)))
            widths, names = [*widths, 1], [*names, "linear"]
        w, b = layers[symbol][-1]
        layers[symbol][-1] = (w * (energy / conv_energy), b * (energy / conv_energy))
        hidden.append(widths)
        activation.append(names[:-1])
    arguments |= {"weights": layers, "hidden": hidden, "activation": activation}
    _warn_short(functions, length, units, notes)
    return Folder(arguments, units, notes + nn.notes())


def _weights_file(directory, number, notes):
    """weights.ZZZ.data; where only RuNNer's optweights.ZZZ.out from training is there, that one."""
    path, other = directory / f"weights.{number:03d}.data", directory / f"optweights.{number:03d}.out"
    if path.exists() or not other.exists():
        return path
    notes.append(f"{other.name} is read, as there is no {path.name}")
    return other


def units_of(nn, units):
    """(eV, A, text, notes)."""
    if units is not None:
        if units not in UNITS:
            raise N2p2Error(f"units {units!r} not known, expected one of {', '.join(UNITS)}")
        return *UNITS[units], units, [f"units: {units}, as asked for"]
    found = nn.units()
    if found is not None:
        names = {factors: name for name, factors in UNITS.items()}
        text = names.get(found[:2], found[2])
        return *found[:2], text, [f"units: {text}, by the comments in {nn.path.name}"]
    note = "units: Hartree/Bohr, as usual for n2p2 and RuNNer; --units eV/A for others"
    return HARTREE, BOHR, "Hartree/Bohr", [note]


def _warn_short(functions, length, units, notes):
    """A largest cutoff below 4.5 A hardly ever is: the unit of length is probably another one."""
    largest = max(f.get("rc", f.get("r_high")) for own in functions.values() for f in own)
    if length != 1.0 and largest * length < 4.5:
        notes.append(
            f"WARNING: the largest cutoff is {largest:g}, in {units} only {largest * length:.2f} A. "
            "If the folder is in A and eV, give --units eV/A"
        )


def _energies(nn, species, notes):
    """(conv_energy, {symbol: offset an atom in the file's units}).

    n2p2: E = E_normalised / conv_energy + N mean_energy + sum of atom_energy; RuNNer adds atom_energy only with
    remove_atom_energies. conv_length is not needed: no symmetry function has a dimension.
    """
    given = [k for k in ("mean_energy", "conv_energy", "conv_length") if nn.flag(k)]
    if 0 < len(given) < 3:
        missing = [k for k in ("mean_energy", "conv_energy", "conv_length") if k not in given]
        raise nn.error(nn.get(given[0]), f"needs {' and '.join(missing)} beside it")
    conv_energy = nn.float("conv_energy", 1.0)
    for keyword in ("conv_energy", "conv_length"):
        if nn.float(keyword, 1.0) == 0:
            raise nn.error(nn.get(keyword), "is 0")
    e0, lines = dict.fromkeys(species, nn.float("mean_energy", 0.0)), {}
    used = not nn.flag("runner_mode") or nn.flag("remove_atom_energies")
    for line in nn.all("atom_energy"):
        symbol, text = nn.words(line, 2, "an element and an energy")
        value = nn.number(line, text)
        if symbol in lines:
            raise nn.error(line, f"{symbol} given twice, first in line {lines[symbol]}")
        lines[symbol] = line.number
        e0[nn.element(line, symbol, species)] += value if used else 0.0
    if lines and not used:
        notes.append("atom_energy is left out: RuNNer (runner_mode) uses it only with remove_atom_energies")
    return conv_energy, e0


def _scaling(nn, path, functions):
    """{symbol: array} centre, factor (network input = (G - centre) factor), minimum, maximum; the last two may be None.

    n2p2: Smin + (Smax - Smin)(G - Gmin)/(Gmax - Gmin) with scale_symmetry_functions, G - Gmean with
    center_symmetry_functions, Smin + (Smax - Smin)(G - Gmean)/(Gmax - Gmin) with both, and where neither is given
    Smin + (Smax - Smin)(G - Gmean)/sigma with scale_symmetry_functions_sigma.
    """
    scale, centred = nn.flag("scale_symmetry_functions"), nn.flag("center_symmetry_functions")
    sigma = nn.flag("scale_symmetry_functions_sigma") and not scale and not centred
    if not (scale or centred or sigma) and not path.exists():
        return None, None, None, None
    table = read_scaling(path, functions, sigma)
    low, high = nn.float("scale_min_short", 0.0), nn.float("scale_max_short", 1.0)
    if (scale or sigma) and not low < high:
        line = nn.get("scale_max_short") or nn.get("scale_min_short")
        raise nn.error(line, f"the range of scaled functions, {low} to {high}, is empty")
    centre, factor = {}, {}
    for symbol, (lines, values) in table.items():
        n = len(values)
        shift = values[:, 2] if centred or sigma else values[:, 0] if scale else np.zeros(n)
        spread = values[:, 3] if sigma else values[:, 1] - values[:, 0] if scale else np.ones(n)
        if not (spread > 0).all():
            bad = int(np.argmin(spread > 0))
            what = "sigma" if sigma else "maximum - minimum"
            raise N2p2Error(
                f"{path}:{lines[bad]}: function {bad + 1} of {symbol}: {what} is {spread[bad]:g}, not above 0"
            )
        factor[symbol] = (high - low) / spread if scale or sigma else spread
        centre[symbol] = shift - low / factor[symbol] if scale or sigma else shift
    if all((values[:, :2] == [-fmt.UNKNOWN, fmt.UNKNOWN]).all() for _, values in table.values()):
        return centre, factor, None, None
    columns = ({s: np.array(v[:, c]) for s, (_, v) in table.items()} for c in (0, 1))
    return centre, factor, *columns


def read_scaling(path, functions, sigma=True):
    """{symbol: (line numbers, [n][4] minimum, maximum, mean, sigma)}; sigma: whether the last column is needed."""
    species = list(functions)
    found = {symbol: {} for symbol in species}
    for n, line in enumerate(read_text(path).splitlines(), 1):
        words = line.split("#", 1)[0].split()
        if not words or len(words) == 2:  # RuNNer ends with the smallest and largest energy
            continue
        where = f"{path}:{n}:"
        if len(words) < (6 if sigma else 5):
            raise N2p2Error(f"{where} {len(words)} columns, expected {6 if sigma else 5}")
        try:
            e, k, values = int(words[0]), int(words[1]), [fmt.number(w) for w in words[2:6]]
        except ValueError:
            raise N2p2Error(f"{where} expected element, function and finite numbers, got {line.strip()}") from None
        if not 1 <= e <= len(species):
            raise N2p2Error(f"{where} element index {e}, expected 1 to {len(species)}")
        symbol = species[e - 1]
        if not 1 <= k <= len(functions[symbol]):
            raise N2p2Error(f"{where} function {k} of {symbol}, but input.nn has {len(functions[symbol])}")
        if k in found[symbol]:
            raise N2p2Error(f"{where} function {k} of {symbol} given twice")
        if values[0] > values[1]:
            raise N2p2Error(f"{where} minimum {values[0]} above maximum {values[1]}")
        found[symbol][k] = (n, [*values, 0.0][:4])
    for symbol, own in found.items():
        wanted = len(functions[symbol])
        if len(own) != wanted:
            raise N2p2Error(f"{path}: {len(own)} functions of {symbol}, but input.nn has {wanted}")
    return {
        symbol: ([own[k][0] for k in sorted(own)], np.array([own[k][1] for k in sorted(own)]))
        for symbol, own in found.items()
    }


def read_weights(path, widths):
    """[(W [in][out], b [out]), ...] of a weights file; widths: inputs, hidden layers, 1.

    Numbers stand layer by layer, weights input-major, then biases; where the file has the columns that say which
    connection a line is (n2p2, RuNNer), these must agree.
    """
    text, layers = read_text(path), list(pairwise(widths))
    wanted = sum((i + 1) * o for i, o in layers)
    shape = f"{widths[0]} functions, layers {'-'.join(map(str, widths[1:]))}"
    values, rows = [], []
    for n, line in enumerate(text.splitlines(), 1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        try:
            values.append(fmt.number(words[0]))
        except ValueError:
            raise N2p2Error(f"{path}:{n}: {words[0]!r} is not a finite number") from None
        rows.append((n, words[1:]))
        if len(values) > wanted:
            raise N2p2Error(f"{path}:{n}: more than the {wanted} numbers that input.nn calls for ({shape})")
    if len(values) != wanted:
        raise N2p2Error(f"{path}: {len(values)} numbers, but input.nn calls for {wanted} ({shape})")
    result, at = [], 0
    for l, (i, o) in enumerate(layers):
        for k in range(i * o):
            _check_connection(path, rows[at + k], "a", [l, k // o + 1, l + 1, k % o + 1], shape)
        for k in range(o):
            _check_connection(path, rows[at + i * o + k], "b", [l + 1, k + 1], shape)
        part = np.array(values[at : at + (i + 1) * o])
        result.append((part[: i * o].reshape(i, o), part[i * o :]))
        at += (i + 1) * o
    return result


def _check_connection(path, row, kind, place, shape):
    n, words = row
    if len(words) < 2 + len(place):
        return  # numbers only
    try:
        said = [int(w) for w in words[2 : 2 + len(place)]]
    except ValueError:
        said = None
    if words[0] != kind or said != place:
        raise N2p2Error(
            f"{path}:{n}: is {' '.join(words)}, expected {kind} {' '.join(map(str, place))} here ({shape} by input.nn)"
        )
