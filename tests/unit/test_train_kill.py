"""kill -9 at random moments of a training with the compiled core: every resume works, the end has the same bits."""

import os
import random
import signal
import time
import traceback

import numpy as np
import pytest

from nnpcore import config
from nnpcore.data import Frame
from nnpcore.model import Model
from nnpcore.training import Training

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

OPTIMIZERS = {
    "adam": {"kind": "adam"},
    "eigen": {"kind": "eigen", "first_steps": 3, "basis_steps": 5},
    "kalman": {"kind": "kalman"},
}
SETTINGS = {
    "train": {"epochs": 6, "batch": 3, "threads": 1, "checkpoint_seconds": 0.0, "ema": 0.9},
    "loss": {"energy": [1.0, 2.0], "stress": 0.5},
}
FILES = ("last.ckpt", "metrics.csv", "best.nnp")


@pytest.fixture(scope="module")
def frames():
    """Distorted silicon crystals, 8 atoms each, labelled by Stillinger and Weber."""
    rng, truth = np.random.default_rng(4), Model.stillinger_weber("Si")
    sites = np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0], [1, 1, 1], [1, 3, 3], [3, 1, 3], [3, 3, 1]]) / 4
    made = []
    for _ in range(12):
        cell = 5.43 * (np.eye(3) + rng.normal(0, 0.02, (3, 3)))
        positions = sites @ cell + rng.normal(0, 0.1, (8, 3))
        out = truth.compute(positions, ["Si"] * 8, cell=cell, pbc=True)
        made.append(Frame(["Si"] * 8, positions, cell, True, out.energy, out.forces, out.stress))
    return made


def work(frames, folder, optimizer, resume):
    model = Model.msr(["Si"], rc=4.5, n2=3, n3=3, hidden=[8], seed=1, e0=-4.3)
    settings = config.convert({**SETTINGS, "optimizer": OPTIMIZERS[optimizer]})
    with Training(model, frames[:9], frames[9:], settings, folder, quiet=True) as training:
        if not (resume and training.resume()):
            training.initialise()
        training.run()


def killed(frames, folder, optimizer, seconds):
    """Run in a child that is killed after some seconds; true if it came to its end before. Fails on any error."""
    pid = os.fork()
    if pid == 0:
        try:
            work(frames, folder, optimizer, resume=True)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0, "a resume failed"
            return True
        time.sleep(0.0005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_kill_at_random_moments_and_resume(frames, tmp_path, optimizer):
    rounds, random_ = int(os.environ.get("NNPCORE_KILLS", "12")), random.Random(7)
    began = time.monotonic()
    work(frames, tmp_path / "whole", optimizer, resume=False)
    took = time.monotonic() - began
    wanted = {name: (tmp_path / "whole" / name).read_bytes() for name in FILES}
    kills, turn = 0, 0
    while kills < rounds:
        folder, turn = tmp_path / f"killed{turn}", turn + 1
        while not killed(frames, folder, optimizer, random_.uniform(0.0, 0.6 * took)):
            kills += 1
        assert {name: (folder / name).read_bytes() for name in FILES} == wanted
        assert not list(folder.glob(".*.tmp"))
