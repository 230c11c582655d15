"""Chunks, blocks, halos and their sums, and the counting sort below them (tests/capi/plan.c), with sanitizers."""

import shutil
import subprocess

import pytest
from test_capi import CC, ENVIRONMENT, HERE, SANITIZE, works

from nnpcore import sources

NEEDED = ("plan.c", "sort.c", "memory.c", "error.c", "threads.c")

pytestmark = pytest.mark.skipif(shutil.which(CC) is None, reason=f"no C compiler ({CC})")


def test_plan(tmp_path):
    flags = ["-g", "-O1", "-std=gnu11", "-Wall", "-Wextra", "-Werror", f"-I{sources.folder()}"]
    flags += [f for f in ("-fopenmp",) if works(tmp_path, [f])]
    flags += SANITIZE if works(tmp_path, SANITIZE) else []
    files = [sources.folder() / name for name in NEEDED]
    subprocess.run([CC, *flags, *map(str, files), str(HERE / "plan.c"), "-lm", "-o", "plan"], cwd=tmp_path, check=True)
    done = subprocess.run(["./plan"], cwd=tmp_path, capture_output=True, text=True, env=ENVIRONMENT, timeout=300)
    assert (done.returncode, done.stdout) == (0, "good\n"), done.stderr
