"""Watching for atoms that leave the range a model was trained on, in a simulation's run folder (md_run.py).

Beyond the range of a symmetry function a network's error has no bound. The looks are `outside_every` steps apart; when
one finds too many atoms outside, the run goes back to the look before, exactly, and on to the first such step.
"""

from pathlib import Path

import numpy as np

from . import checkpoint, extrapolation
from .config import ConfigError
from .data import Frame
from .md import Extrapolated


class Watch:
    """Looks of one run. limit: most atoms outside that are no event; None: none is.

    md: the simulation; settings: md_config.Dynamics; path: of the frames before and at the event; document: of the
    checkpoint that is resumed, or None. `event`: step of the event, None before. Raises ConfigError.
    """

    def __init__(self, md, model, settings, path, document):
        self.md, self.model, self.path = md, model, Path(path)
        self.limit, self.stops = settings.outside_max, settings.on_outside == "stop"
        self.event = document.get("outside") if document else None
        self.most = 0  # atoms outside, most of any look that was told
        self.before = None
        ranges = model.metadata.get("bp")
        if self.limit is not None and (ranges is None or ranges["minimum"] is None):
            raise ConfigError("md.outside_max: the model keeps no range of its training")

    def look(self, say):
        """Tell more atoms than ever before; at an event, write the frames and raise Extrapolated or say so once."""
        wanted = self.limit is not None and (self.stops or self.event is None)
        now = self._snapshot() if wanted else None
        atoms, functions = self.md.outside
        if wanted and atoms > self.limit:
            self._happened(say)
        elif atoms > self.most:
            self.most = atoms
            say(f"{self._told(atoms)} ({functions} in all)")
        self.before = now

    def _told(self, atoms):
        return (
            f"step {self.md.step}: {atoms} of {len(self.md)} atoms have symmetry functions outside their training range"
        )

    def _snapshot(self):
        return self.md.state, self.md.rdf.state() if self.md.rdf else None

    def _happened(self, say):
        """Find the first step, write frames, then stop or go on to where the look was."""
        md, looked = self.md, self.md.step
        frames = []
        if self.before is not None:
            state, counts = self.before
            md.state = state
            if counts:
                md.rdf.set_state(*counts)
            for _ in range(looked - md.step):
                frames = [self._frame()]
                md.stop(False)  # a signal may have come; the run ends behind the event
                md.run(1)
                if md.outside[0] > self.limit:
                    break
        frames.append(self._frame())
        if self.event != md.step:  # a run that stopped here and is resumed keeps its frames
            checkpoint.write_atomic(self.path, "".join(frames).encode())
        self.event, self.most = md.step, max(self.most, md.outside[0])
        detail = str(extrapolation.count(self.model, [self._structure()])).split("\n")[1:]
        text = f"{self._told(md.outside[0])}, more than outside_max = {self.limit}; frames in {self.path.name}"
        for line in [text, *detail]:
            say(line)
        if self.stops:
            raise Extrapolated("\n".join([text, *detail]))
        md.run(looked - md.step)

    def _frame(self):
        from .md_run import XyzWriter

        md = self.md
        return XyzWriter(md.symbols(), md.cell, md.pbc, True, True).frame(md.state, md.thermo(False))

    def _structure(self):
        md = self.md
        return Frame(md.symbols(), np.array(md.positions), md.cell, tuple(map(bool, md.pbc)))
