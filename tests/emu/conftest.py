"""Kernels on the CPU emulator, which needs a C++ compiler; where CuPy is installed, the same on a GPU (marked gpu).

compute-sanitizer --tool memcheck (racecheck, initcheck, synccheck) python -m pytest -m gpu tests/emu
"""

import importlib.util
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


DEVICES = ["emulator"]
if importlib.util.find_spec("cupy"):
    DEVICES.append(pytest.param("gpu", marks=pytest.mark.gpu))


@pytest.fixture(params=DEVICES)
def device(request):
    """The backend behind device="gpu": the emulator, or a GPU."""
    from nnpcore.gpu import backend

    if request.param == "emulator":
        return request.getfixturevalue("emulated")
    try:
        return backend.get("gpu")
    except backend.GpuError as error:
        pytest.skip(str(error))


@pytest.fixture
def rng():
    return np.random.default_rng(7)
