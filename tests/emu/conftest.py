"""Kernels on the CPU emulator; needs a C++ compiler."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import emulator


@pytest.fixture(scope="session")
def _compiler():
    if shutil.which(emulator.COMPILER) is None:
        pytest.skip(f"no C++ compiler ({emulator.COMPILER}) to build the emulator with")


@pytest.fixture
def emu(_compiler):
    """The emulator as backend."""
    return emulator.EmulatedBackend()


@pytest.fixture
def emulated(monkeypatch, emu):
    """device="gpu" runs on the emulator."""
    from nnpcore.gpu import backend

    monkeypatch.setattr(backend, "_substitute", emu)
    return emu


@pytest.fixture
def rng():
    return np.random.default_rng(7)
