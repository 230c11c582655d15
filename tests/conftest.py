"""Fixtures shared by every test; the tests folder itself is importable (`from reference import msr`)."""

import os
from pathlib import Path

import numpy as np
import pytest

import nnpcore

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when the core, and libgomp with it, is first imported

ROOT = Path(__file__).resolve().parent.parent
if Path(nnpcore.__file__).resolve().parents[1] != ROOT:
    os.chdir(ROOT / "tests")  # an installed package is tested: child processes shall not find the checkout's instead


def shared_folder():
    """The data and golden folder, or None: NNPCORE_SHARED, then ../shared beside the repository."""
    named = os.environ.get("NNPCORE_SHARED")
    candidates = [Path(named)] if named else [ROOT.parent / "shared", ROOT.parent.parent / "shared"]
    return next((p for p in candidates if p.is_dir()), None)


@pytest.fixture(scope="session")
def shared():
    """Path of the shared folder; skips where there is none."""
    folder = shared_folder()
    if folder is None:
        pytest.skip("no shared folder beside the repository (set NNPCORE_SHARED)")
    return folder


@pytest.fixture
def rng(request):
    """A generator seeded by the test's name: the same numbers on every run, others in every test."""
    return np.random.default_rng(list(request.node.name.encode()))
