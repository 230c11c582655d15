"""Typed TOML: configuration files, overrides and the resolved copy a run keeps.

An unknown key, a wrong type or a value out of range is a ConfigError of one line: file, key, what was expected.
"""

import json
import math
import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

from .validate import InputError

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib


class ConfigError(InputError):
    """Bad configuration: the message names file, key and expectation."""


Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
CountOrZero = Annotated[int, Meta(ge=0)]
Beta = Annotated[float, Meta(ge=0, lt=1)]
# one number, or [start, end] interpolated over the run
Weight = NotNegative | Annotated[list[NotNegative], Meta(min_length=2, max_length=2)]


class Section(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A table of the file; unknown keys are errors."""


class Data(Section):
    """[data]: structures and labels. Paths are relative to the configuration file."""

    train: str | list[str]
    valid: str | list[str] | float = 0.1  # file(s), or the fraction of the training frames to hold back
    test: str | list[str] | None = None
    e0: dict[str, float] | str = "fit"  # fit | isolated | none | table of eV by species
    units: Literal["eV/A", "Hartree/Bohr", "Hartree/A", "Ry/Bohr", "kcal/mol", "kJ/mol/nm"] | None = None  # eV/A
    missing: Literal["error", "skip"] = "error"  # what to do about labels that the loss wants and a frame lacks
    weights: dict[str, NotNegative] = {}  # loss weight by config_type, 1 where not named


class Model(Section):
    """[model]: architecture, or the file to start from."""

    method: Literal["msr", "bp"] = "msr"
    species: list[str] | Literal["auto"] = "auto"
    rc: Positive = 6.0  # A, pairs
    rc3: Positive | None = None  # A, triplets; rc if not given
    n2: Count | list[list[CountOrZero]] = 5  # fingerprints per pair channel, or [S][S]
    n3: CountOrZero | list[list[CountOrZero]] = 5  # per triplet channel, or [S][S(S+1)/2]
    # bp: symmetry functions as in nnpcore/bp.py, {symbol: [..]} or a list for one species; or a file: TOML or JSON
    # of the same, a .nnp or n2p2's input.nn whose functions are taken
    functions: str | dict[str, list[dict]] | list[dict] | None = None
    hidden: Annotated[list[Count], Meta(min_length=1)] = field(default_factory=lambda: [25, 25])
    activation: str | list[str] = "tanh"  # bp: one for all hidden layers, or one each
    rs: NotNegative = 0.0  # A, start of the short-range repulsion; 0: none
    cutoff: Literal["cosine", "smooth"] = "smooth"  # x(r): as published, or smoother at rc
    core: bool = True  # ZBL repulsion below the shortest distance of the data, so that MD cannot fall into a hole
    mass: dict[str, Positive] = {}  # amu, where not the standard atomic weight
    baseline: list[dict] = []  # as in docs/model-file.md, or {kind = "sw", name = "mW"}
    init_from: str | None = None  # continue from this .nnp; every other key is then its own


class Loss(Section):
    """[loss]: weights may be [start, end]."""

    kind: Literal["huber", "square"] = "huber"
    energy: Weight = field(default_factory=lambda: [0.5, 10.0])  # forces first: they say more about the fingerprints
    force: Weight = 1.0
    stress: Weight = 0.0
    delta_energy: Positive = 0.3  # eV/atom; Huber only
    delta_force: Positive = 1.0  # eV/A
    delta_stress: Positive = 0.1  # eV/A^3
    bound: float = 5.0  # R = bound_weight sum max(0, phi - bound)^2 over the exponents
    bound_weight: NotNegative = 1.0


class Optimizer(Section):
    """[optimizer]: see nnpcore/adam.py."""

    kind: Literal["adam", "eigen", "kalman"] = "eigen"  # eigen: Adam in the eigenbasis of the Gauss-Newton matrix
    lr: Positive | None = None  # 0.001 for eigen, 0.01 for adam
    beta1: Beta = 0.9
    beta2: Beta = 0.99
    eps: Positive = 1e-9
    clip: NotNegative = 0.0  # largest norm of the gradient; 0: any
    exponent_scale: Positive = 10.0  # steps of the exponents are larger by this
    first_steps: CountOrZero = 1000  # plain Adam at first_lr before the first basis (eigen)
    first_lr: Positive = 0.01
    basis_steps: Count = 3000  # steps between new bases (eigen)
    basis_block: Count = 2000  # most parameters that share a basis (eigen) or a covariance (kalman)
    rows: Count = 96  # force components that an update takes together (kalman)
    covariance: Positive = 1.0  # of the parameters at the start (kalman)
    noise: Positive = 0.01  # variance of a force component, (eV/A)^2 (kalman)
    process: NotNegative = 1e-4  # added to the covariance at each update; falls to 1 % of this (kalman)

    def rate(self):
        """lr, or the default of the kind."""
        return self.lr if self.lr is not None else {"adam": 0.01}.get(self.kind, 0.001)


class Schedule(Section):
    """[schedule]: factor of the learning rate over epochs; see nnpcore/schedule.py."""

    kind: Literal["constant", "exponential", "cosine", "cosine_restarts"] = "cosine_restarts"
    end: Annotated[float, Meta(ge=0, le=1)] = 0.0  # factor at the end (of a cycle)
    warmup: NotNegative = 0.0  # epochs
    first_cycle: Positive = 2.5  # epochs
    t_mul: Annotated[float, Meta(ge=1)] = 1.4
    m_mul: Annotated[float, Meta(gt=0, le=1)] = 0.9
    stretch: bool = True  # the last whole cycle ends with the run


class Train(Section):
    """[train]: how long, on what, and where to."""

    folder: str = "run"  # relative to the configuration file
    epochs: Count | None = None
    max_seconds: Positive | None = None
    batch: Count = 4
    seed: Annotated[int, Meta(ge=0, lt=2**62)] = 1
    threads: CountOrZero = 0  # 0: all
    precision: Literal["float64", "float32"] = "float64"
    device: Literal["cpu", "gpu"] = "cpu"  # gpu: needs CuPy
    validate_every: Count = 1  # epochs
    checkpoint_seconds: NotNegative = 60.0  # 0: after every step
    cache_memory: NotNegative = 1000.0  # MB for symmetry functions and derivatives that are kept (method bp)
    ema: Beta = 0.0  # decay of the averaged weights that are validated and kept; 0: the weights themselves


class TrainConfig(Section):
    """A training configuration file."""

    data: Data | None = None  # None: frames come from memory
    model: Model = field(default_factory=Model)
    loss: Loss = field(default_factory=Loss)
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    train: Train = field(default_factory=Train)

    def check(self):
        """ConfigError for values that are wrong together; returns self."""
        if self.train.epochs is None and self.train.max_seconds is None:
            raise ConfigError("train.epochs or train.max_seconds: one of them is needed, to end the run")
        if self.model.rc3 is not None and self.model.rc3 > self.model.rc:
            raise ConfigError(f"model.rc3 is {self.model.rc3}, expected at most model.rc = {self.model.rc}")
        if (self.model.method == "bp") != (self.model.functions is not None) and self.model.init_from is None:
            raise ConfigError('model.functions: needed for method = "bp", and for no other')
        if self.optimizer.kind == "kalman" and self.train.device == "gpu":
            raise ConfigError('optimizer.kind = "kalman" runs on the CPU: expected train.device = "cpu"')
        if self.schedule.kind == "exponential" and self.schedule.end == 0:
            raise ConfigError("schedule.end is 0, expected a number above 0 for an exponential schedule")
        if not any(end > 0 for w in (self.loss.energy, self.loss.force, self.loss.stress) for end in ends(w)):
            raise ConfigError("loss.energy, loss.force and loss.stress are all 0: nothing to learn")
        if self.data is not None:
            if isinstance(self.data.valid, float) and not 0 < self.data.valid < 1:
                raise ConfigError(f"data.valid is {self.data.valid}, expected a file or a fraction between 0 and 1")
            if isinstance(self.data.e0, str) and self.data.e0 not in ("fit", "isolated", "none"):
                raise ConfigError(f'data.e0 is {self.data.e0!r}, expected "fit", "isolated", "none" or a table')
        return self


def ends(weight):
    """[value], or [start, end] of a weight."""
    return weight if isinstance(weight, list) else [weight]


def load(path, kind=TrainConfig, overrides=()):
    """Read a TOML file into `kind`, after `--set`-style overrides; raises ConfigError.

    Returns a checked struct; paths in it are left as written.
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    for override in overrides:
        apply_override(table, override)
    return convert(table, kind, path)


def convert(table, kind=TrainConfig, path="configuration"):
    """Nested dict into a checked struct; ConfigError naming path, key and expectation."""
    try:
        value = msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {_readable(str(error))}") from None
    try:
        return value.check() if hasattr(value, "check") else value
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _readable(text):
    """'Expected `float`, got `str` - at `$.loss.energy`' -> 'loss.energy: expected `float`, got `str`'."""
    match = re.fullmatch(r"(.*?)(?: - at `\$\.?([^`]*)`)?", text, flags=re.DOTALL)
    what, key = match.group(1), match.group(2) or ""
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", what)
    if unknown:
        return f"{key + '.' if key else ''}{unknown.group(1)}: unknown key"
    missing = re.fullmatch(r"Object missing required field `(.*)`", what)
    if missing:
        return f"{key + '.' if key else ''}{missing.group(1)}: missing"
    return f"{key or 'file'}: {what[:1].lower()}{what[1:]}"


def apply_override(table, text):
    """Set one key of a nested dict in place from 'a.b=value'; value is TOML, or else taken as a string."""
    key, equals, value = text.partition("=")
    parts = [p.strip() for p in key.split(".")]
    if not equals or not all(parts):
        raise ConfigError(f"--set {text}: expected section.key=value")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {text}: {part} is not a table")
    table[parts[-1]] = parsed


def dumps(config):
    """TOML text of a struct or nested dict; None is left out. tomllib reads it back to the same values."""
    table = msgspec.to_builtins(config)
    lines = []
    for key, value in table.items():
        if value is not None and not isinstance(value, dict):
            lines.append(f"{_key(key)} = {_toml(value)}")
    for key, value in table.items():
        if isinstance(value, dict):
            lines += ["", f"[{_key(key)}]"] if lines else [f"[{_key(key)}]"]
            lines += [f"{_key(k)} = {_toml(v)}" for k, v in value.items() if v is not None]
    return "\n".join(lines) + "\n"


def _key(key):
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


def _toml(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(k)} = {_toml(v)}" for k, v in value.items() if v is not None) + "}"
    return "[" + ", ".join(_toml(v) for v in value) + "]"


def files(value, folder):
    """[Path] of a `str | list[str]` setting, relative to folder."""
    return [Path(folder, name) for name in ([value] if isinstance(value, str) else value)]
