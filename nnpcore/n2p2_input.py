"""input.nn: keywords with their lines, symmetry functions, network topology (nnpcore/n2p2_read.py has the rest)."""

import difflib
import re
from collections import namedtuple

from . import n2p2_format as fmt
from .elements import NUMBERS
from .n2p2_format import N2p2Error

Line = namedtuple("Line", "number keyword arguments")


class InputNN:
    """The lines of an input.nn file that are not comments; N2p2Error for one that cannot be read."""

    def __init__(self, path):
        self.path = path
        text = read_text(path)
        self.header = [line for line in text.splitlines() if line.lstrip().startswith(("#", "!"))]
        self.lines = []
        for n, line in enumerate(text.splitlines(), 1):
            words = re.split("[#!]", line, maxsplit=1)[0].split()
            if words:
                self.lines.append(Line(n, fmt.ALIASES.get(words[0], words[0]), words[1:]))
        if not self.lines:
            raise N2p2Error(f"{path}: no keywords in it")
        seen = {}
        for line in self.lines:
            if line.keyword in fmt.REFUSED:
                raise self.error(line, f"{fmt.REFUSED[line.keyword]} cannot be represented")
            if line.keyword in fmt.HONOURED - fmt.REPEATED and line.keyword in seen:
                raise self.error(line, f"given twice, first in line {seen[line.keyword]}")
            seen.setdefault(line.keyword, line.number)

    def error(self, line, text):
        return N2p2Error(f"{self.path}:{line.number}: {line.keyword}: {text}")

    def all(self, keyword):
        return [line for line in self.lines if line.keyword == keyword]

    def get(self, keyword):
        """The Line, or None."""
        return next(iter(self.all(keyword)), None)

    def need(self, keyword):
        line = self.get(keyword)
        if line is None:
            raise N2p2Error(f"{self.path}: keyword {keyword} is missing")
        return line

    def words(self, line, n, what):
        """The n arguments of a line."""
        if len(line.arguments) != n:
            raise self.error(line, f"expected {what}, got {' '.join(line.arguments) or 'nothing'}")
        return line.arguments

    def number(self, line, text, what="a number"):
        try:
            return fmt.number(text)
        except ValueError:
            raise self.error(line, f"{text!r} is not {what}") from None

    def count(self, line, text, least=0):
        if not re.fullmatch(r"\d{1,6}", text) or int(text) < least:
            raise self.error(line, f"{text!r} is not a whole number of at least {least}")
        return int(text)

    def float(self, keyword, default=None):
        line = self.get(keyword)
        return default if line is None else self.number(line, self.words(line, 1, "one number")[0])

    def flag(self, keyword):
        return self.get(keyword) is not None

    def element(self, line, symbol, species):
        if symbol not in species:
            raise self.error(line, f"element {symbol!r} is not one of this potential ({' '.join(species)})")
        return symbol

    # ---- what the file says ----

    def check_kind(self):
        """Refuse what is not a short-range network of atomic energies."""
        kinds = {
            "nnp_type": "2g|2g-hdnnp|hdnnp_2g|2|0",
            "nn_type": "2g|2g-hdnnp|2|0",
            "nnp_gen": "2",
            "nn_type_short": "1",
        }
        for keyword, accepted in kinds.items():
            line = self.get(keyword)
            if line is not None and not re.fullmatch(accepted, " ".join(line.arguments).lower()):
                raise self.error(
                    line,
                    f"{' '.join(line.arguments) or 'nothing'}: only short-range atomic networks (2G) can be "
                    "represented, not charges, electrostatics or pair networks",
                )

    def species(self):
        """Symbols in order of atomic number, as n2p2 and RuNNer order them."""
        line = self.need("elements")
        for symbol in line.arguments:
            if symbol not in NUMBERS:
                raise self.error(line, f"{symbol!r} is not an element symbol")
        if not line.arguments or len(set(line.arguments)) != len(line.arguments):
            raise self.error(line, f"expected different element symbols, got {' '.join(line.arguments) or 'nothing'}")
        counted = self.get("number_of_elements")
        if counted is not None:
            n = self.count(counted, self.words(counted, 1, "one whole number")[0], 1)
            if n != len(line.arguments):
                raise self.error(counted, f"is {n}, but elements names {len(line.arguments)} (line {line.number})")
        return sorted(line.arguments, key=NUMBERS.get)

    def cutoff(self):
        """(cutoff_type, alpha); in RuNNer's dialect alpha has a keyword of its own, and the type is 1 by default."""
        line = self.get("cutoff_type") if self.flag("runner_mode") else self.need("cutoff_type")
        line = line or Line(0, "cutoff_type", ["1"])
        if len(line.arguments) not in (1, 2):
            raise self.error(
                line, f"expected a type 0-8 and perhaps alpha, got {' '.join(line.arguments) or 'nothing'}"
            )
        kind = self.count(line, line.arguments[0])
        if kind > 8:
            raise self.error(line, f"{kind} is not a cutoff function, expected 0 to 8")
        alpha = self.number(line, line.arguments[1]) if len(line.arguments) == 2 else 0.0
        own = self.get("cutoff_alpha")
        if own is not None:
            line, alpha = own, self.number(own, self.words(own, 1, "one number")[0])
        if not 0 <= alpha < 1:
            raise self.error(line, f"alpha is {alpha}, expected at least 0 and below 1")
        return kind, alpha

    def functions(self, species):
        """{symbol: [function dict, ...]} in the order of scaling.data and of the weights, in the file's length unit."""
        found = {symbol: [] for symbol in species}
        cutoff = self.cutoff()
        for line in self.lines:
            if line.keyword == "symfunction_short":
                self._function(line, line.arguments, species, cutoff, found)
            elif line.keyword == "element_symfunction_short":
                self._all_partners(line, line.arguments, species, cutoff, found)
            elif line.keyword == "global_symfunction_short":
                for symbol in species:
                    self._all_partners(line, [symbol, *line.arguments], species, cutoff, found)
        for symbol, functions in found.items():
            if not functions:
                raise N2p2Error(f"{self.path}: keyword symfunction_short is missing for element {symbol}")
            functions.sort(key=fmt.sort_key)
            for f in functions:
                f["type"] = max(f["type"], 2)  # RuNNer's type 1 is type 2 with eta = 0
        return found

    def _kind(self, line, arguments, species):
        if len(arguments) < 2:
            raise self.error(line, "expected an element, a type and its parameters")
        self.element(line, arguments[0], species)
        kind = self.count(line, arguments[1])
        if kind in fmt.RUNNER_TYPES:
            raise self.error(line, f"RuNNer's type {kind} ({fmt.RUNNER_TYPES[kind]}) cannot be represented")
        if kind not in fmt.FUNCTIONS and kind != 1:
            raise self.error(line, f"type {kind} is not known, expected 1, {', '.join(map(str, fmt.FUNCTIONS))}")
        return kind

    def _all_partners(self, line, arguments, species, cutoff, found):
        """RuNNer's short form: one function for every combination of neighbour elements."""
        kind = self._kind(line, arguments, species)
        n_partners = 1 if kind == 1 else fmt.FUNCTIONS[kind][0]
        pairs = [(s, t) for i, s in enumerate(species) for t in species[i:]]
        for partners in ([()], [(s,) for s in species], pairs)[n_partners]:
            self._function(line, [*arguments[:2], *partners, *arguments[2:]], species, cutoff, found)

    def _function(self, line, arguments, species, cutoff, found):
        kind = self._kind(line, arguments, species)
        n_partners, names = fmt.FUNCTIONS.get(kind, (1, ("rc",)))
        partners = [self.element(line, s, species) for s in arguments[2 : 2 + n_partners]]
        values = arguments[2 + n_partners :]
        if kind in (3, 9) and len(values) == len(names) + 1:
            names = (*names, "rs")
        if len(partners) != n_partners or len(values) != len(names):
            wanted = " ".join(["element", "type", *["neighbour"] * n_partners, *names])
            raise self.error(line, f"type {kind}: expected {wanted}, got {' '.join(arguments)}")
        f = {"type": kind, "partners": sorted(partners, key=NUMBERS.get)} if n_partners else {"type": kind}
        for name, text in zip(names, values, strict=True):
            f[name] = text if name == "subtype" else self.number(line, text, f"a number ({name})")
        if kind < 20:
            f |= {"cutoff": cutoff[0], "alpha": cutoff[1]}
            f.setdefault("rs", 0.0)
            f.setdefault("eta", 0.0)
        self._check(line, f)
        found[arguments[0]].append(f)

    def _check(self, line, f):
        radius = f.get("rc", f.get("r_high"))
        if not radius > 0:
            raise self.error(line, f"cutoff radius is {radius:g}, expected a number above 0")
        if f["type"] >= 20:
            if not fmt.SUBTYPE.fullmatch(f["subtype"]):
                raise self.error(line, f"subtype {f['subtype']!r} is not known, expected p1 to p4, p1a to p4a, or e")
            if not f["r_low"] < f["r_high"]:
                raise self.error(line, f"window from {f['r_low']} to {f['r_high']} is empty")
            self._check_angles(line, f)
        elif f["eta"] < 0:
            raise self.error(line, f"eta is {f['eta']:g}, expected 0 or more")
        elif f.get("zeta", 1.0) < 1 or abs(f.get("lambda", 1.0)) > 1:
            raise self.error(
                line, f"zeta {f['zeta']:g}, lambda {f['lambda']:g}: expected zeta >= 1 and -1 <= lambda <= 1"
            )

    def _check_angles(self, line, f):
        """n2p2's rules: inside of 0 to 180 degrees, or centred at one of these and at most 360 wide."""
        if "theta_left" not in f:
            return
        left, right = f["theta_left"], f["theta_right"]
        centre = 0.5 * (left + right)
        if not left < right or right - left > 360 or (left < 0 and centre != 0) or (right > 180 and centre != 180):
            raise self.error(
                line, f"angles {left:g} to {right:g} are not a window inside of, or around, 0 or 180 degrees"
            )

    def topology(self, species):
        """{symbol: (hidden widths, activation names of hidden layers and output)}."""
        line = self.need("global_hidden_layers_short")
        n = self.count(line, self.words(line, 1, "one whole number")[0])
        if n > 15:
            raise self.error(line, f"{n} hidden layers, expected at most 15")
        widths = []
        if n or self.flag("global_nodes_short"):
            line = self.need("global_nodes_short")
            widths = [self.count(line, w, 1) for w in self.words(line, n, f"{n} numbers of nodes")]
        line = self.need("global_activation_short")
        letters = self.words(line, n + 1, f"{n + 1} letters, one a hidden layer and one for the output")
        names = [self._activation(line, letter) for letter in letters]
        found = {symbol: (list(widths), list(names)) for symbol in species}
        for line in self.all("element_hidden_layers_short"):
            symbol, text = self.words(line, 2, "an element and a number of layers")
            own, activation = found[self.element(line, symbol, species)]
            m = self.count(line, text)
            if m > n:
                raise self.error(line, f"{m} is more than global_hidden_layers_short, which is {n}")
            del own[m:], activation[m + 1 :]
        for line in self.all("element_nodes_short"):
            symbol, layer, text = self.words(line, 3, "an element, a layer and a number of nodes")
            own = found[self.element(line, symbol, species)][0]
            l = self.count(line, layer, 1)
            if l > len(own):
                raise self.error(line, f"there is no hidden layer {l}")
            own[l - 1] = self.count(line, text, 1)
        self._node_activations(species, found)
        return found

    def _activation(self, line, letter):
        if letter not in fmt.ACTIVATIONS:
            raise self.error(line, f"activation {letter!r} is not one of {' '.join(fmt.ACTIVATIONS)}")
        return fmt.ACTIVATIONS[letter]

    def _node_activations(self, species, found):
        """RuNNer sets activations node by node; a layer must end up with one for all."""
        nodes = {}
        for line in self.all("element_activation_short"):
            symbol, layer, node, letter = self.words(line, 4, "an element, a layer, a node and a letter")
            own, names = found[self.element(line, symbol, species)]
            l, k = self.count(line, layer, 1), self.count(line, node, 1)
            if l > len(names) or k > [*own, 1][l - 1]:
                raise self.error(line, f"there is no node {k} in layer {l}")
            nodes.setdefault((symbol, l), {})[k] = (self._activation(line, letter), line)
        for (symbol, l), own in nodes.items():
            widths, names = found[symbol]
            width = [*widths, 1][l - 1]
            kinds = {name for name, _ in own.values()} | ({names[l - 1]} if len(own) < width else set())
            if len(kinds) > 1:
                line = next(iter(own.values()))[1]
                raise self.error(line, f"layer {l} of {symbol} would have different activations, one is expected")
            names[l - 1] = kinds.pop()

    def units(self):
        """(eV per energy unit, A per length unit, text) if comments name them ("# Length unit : Bohr"), else None."""
        found = {}
        for what, table in (("energy", fmt.ENERGY_UNITS), ("length", fmt.LENGTH_UNITS)):
            for line in self.header:
                match = re.search(rf"\b{what} units?\s*[:=]\s*(\S+)", line, flags=re.IGNORECASE)
                if match and match.group(1).strip(".,;()").lower() in table:
                    found[what] = match.group(1).strip(".,;()")
        if len(found) < 2:
            return None
        energy, length = found["energy"], found["length"]
        return fmt.ENERGY_UNITS[energy.lower()], fmt.LENGTH_UNITS[length.lower()], f"{energy}/{length}"

    def notes(self):
        """Texts on keywords without effect: those of training and output, and those that are not known."""
        known, unknown = {}, []
        for line in self.lines:
            if line.keyword in fmt.HONOURED:
                continue
            near = difflib.get_close_matches(line.keyword, fmt.HONOURED, 1, 0.9)
            other = re.search("_(elec|electrostatic|charge|pair|ham)$", line.keyword)
            if other or (line.keyword.split("_")[0] in fmt.HARMLESS and not near):
                known.setdefault(line.keyword, line.number)
            else:
                meant = f", did you mean {near[0]}?" if near else ""
                unknown.append(f"{self.path.name}:{line.number}: {line.keyword}: not known, ignored{meant}")
        ignored = [f"ignored, as a finished potential does not depend on them: {', '.join(known)}"] if known else []
        return ignored + unknown


def read_text(path):
    """The text of a file; N2p2Error if it is not there or not text."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise N2p2Error(f"{path}: {error.strerror or error}") from None
    if b"\0" in data:
        raise N2p2Error(f"{path}: not text")
    return data.decode("utf-8", errors="replace")
