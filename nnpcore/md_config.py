"""The TOML file of `nnpcore md`, typed: docs/md.md."""

from typing import Annotated, Literal

from msgspec import Meta, field

from .config import ConfigError, Count, CountOrZero, NotNegative, Positive, Section

Triple = Annotated[list[Count], Meta(min_length=3, max_length=3)]


class Model(Section):
    """[model]: the potential; file or builtin."""

    file: str | None = None  # a .nnp, relative to the configuration file
    builtin: Literal["mW", "Si"] | None = None


class Structure(Section):
    """[structure]: where the atoms start; file or lattice."""

    file: str | None = None  # anything ASE reads
    index: int = -1  # frame of the file
    repeat: Triple = field(default_factory=lambda: [1, 1, 1])  # of the file's cell
    lattice: Literal["diamond", "fcc", "bcc", "sc", "random"] | None = None
    species: str | None = None  # symbol for a lattice; the model's first
    n: Count | None = None  # atoms: random
    cells: Count | Triple | None = None  # cubic cells along each axis: the other lattices
    density: Positive | None = None  # g/cm3
    a: Positive | None = None  # A, lattice constant, instead of density
    displace: NotNegative = 0.0  # A, standard deviation of random displacements from the lattice


class Dynamics(Section):
    """[md]: fs, K, A, eV."""

    ensemble: Literal["nve", "langevin", "bussi"] = "nve"
    dt: Positive = 1.0  # fs
    steps: CountOrZero = 1000
    temperature: NotNegative = 300.0  # K
    initial_temperature: NotNegative | None = None  # K of drawn velocities; the file's velocities or `temperature`
    friction: NotNegative = 0.01  # 1/fs, Langevin
    tau: Positive = 100.0  # fs, Bussi
    seed: Annotated[int, Meta(ge=0, lt=2**62)] = 1
    skin: Positive = 1.0  # A
    precision: Literal["float64", "float32"] = "float64"
    threads: CountOrZero = 0  # 0: all
    device: Literal["cpu", "gpu"] = "cpu"
    f_max: Positive = 1000.0  # eV/A
    momentum_every: CountOrZero = 0  # steps between removals of the total momentum
    outside_max: CountOrZero | None = None  # more atoms outside the model's training range than this are an event
    on_outside: Literal["stop", "warn"] = "stop"  # end the run there (exit code 3), or only say so and keep the frames
    outside_every: Count = 10  # steps between two looks; the event is then found to the step


class Output(Section):
    """[output]: intervals in steps; 0: never."""

    folder: str = "md"  # relative to the configuration file
    thermo: CountOrZero = 100
    trajectory: CountOrZero = 1000
    velocities: bool = False  # in the trajectory, A/fs
    forces: bool = False  # in the trajectory, eV/A
    checkpoint_seconds: NotNegative = 60.0


class Rdf(Section):
    """[rdf]: pair distribution, where the table is there."""

    r_max: Positive = 10.0  # A
    bins: Count = 200
    every: Count = 100  # steps
    start: CountOrZero = 0  # first step


class MDConfig(Section):
    """A configuration file of a simulation."""

    model: Model
    structure: Structure
    md: Dynamics = field(default_factory=Dynamics)
    output: Output = field(default_factory=Output)
    rdf: Rdf | None = None

    def check(self):
        """ConfigError for values that are wrong together; returns self."""
        if (self.model.file is None) == (self.model.builtin is None):
            raise ConfigError("model: expected one of file and builtin")
        s = self.structure
        if (s.file is None) == (s.lattice is None):
            raise ConfigError("structure: expected one of file and lattice")
        if s.lattice is not None:
            size = "n" if s.lattice == "random" else "cells"
            if getattr(s, size) is None:
                raise ConfigError(f"structure.{size}: missing, a {s.lattice} lattice needs it")
            if (s.density is None) == (s.a is None) or (s.lattice == "random" and s.density is None):
                raise ConfigError("structure: expected one of density and a (random: density)")
        return self


# keys that a resumed run may change: they do not touch the path of the atoms, nor what the files hold
FREE = {
    # a device changes rounding, as compilers do
    "md": ("steps", "threads", "device", "outside_max", "on_outside", "outside_every"),
    "output": ("folder", "checkpoint_seconds"),
    "model": ("file",),
    "structure": ("file",),
}
