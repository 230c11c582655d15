"""The examples that run other codes, as they stand; what is not installed is skipped by name. C and Fortran:
test_library.py."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
ENVIRONMENT = {**os.environ, "OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "1"}


def run(script, folder, *needed):
    for name in needed:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"no {name}: pip install {name}")
    command = [sys.executable, "-W", "ignore", EXAMPLES / script]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def number(pattern, text):
    return float(re.search(pattern, text)[1])


def test_ase(tmp_path):
    """Stillinger and Weber's silicon: 5.431 Å and -4.3366 eV by construction, 101.4 GPa in the literature."""
    out = run("ase/relax_phonons.py", tmp_path, "ase")
    assert number(r"constant +(\S+)", out) == 5.4309 and number(r"energy +(\S+)", out) == -4.3366
    assert number(r"modulus +(\S+)", out) == pytest.approx(101.4, abs=0.5)
    assert number(r"Γ +(\S+)", out) == pytest.approx(17.83, abs=0.05)
    assert (tmp_path / "relaxed.xyz").exists() and len((tmp_path / "phonons.csv").read_text().splitlines()) > 100


def test_phonopy(tmp_path):
    out = run("phonopy/thermal.py", tmp_path, "ase", "phonopy")
    assert number(r"highest frequency (\S+)", out) == pytest.approx(17.83, abs=0.05)
    assert number(r" 900 +(\S+)", out) == pytest.approx(48.1, abs=0.2)


def test_openmm(tmp_path):
    out = run("openmm/water.py", tmp_path, "ase", "openmm", "openmmml")
    theirs, ours = re.search(r"(\S+) eV in OpenMM, (\S+) in", out).groups()
    assert theirs == ours
    assert number(r"± (\S+) eV", out) < 5e-5


def test_ipi(tmp_path):
    """examples/ipi with two beads and five steps."""
    program = shutil.which("i-pi") or shutil.which("i-pi", path=Path(sys.executable).parent)
    if program is None:
        pytest.skip("no i-PI: pip install ipi")
    run("ipi/start.py", tmp_path)
    text = (EXAMPLES / "ipi" / "input.xml").read_text()
    for old, new in (("500 </total", "5 </total"), ("nbeads='16'", "nbeads='2'"), ("> si <", f"> si-{os.getpid()} <")):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "input.xml").write_text(text)
    with open(tmp_path / "log", "w") as log:
        plain = {**ENVIRONMENT, "PYTHONPATH": ""}
        server = subprocess.Popen([program, "input.xml"], cwd=tmp_path, env=plain, stdout=log, stderr=log)
        arguments = ["si.nnp", "--unix", f"si-{os.getpid()}", "--structure", "start.xyz"]
        command = [sys.executable, "-m", "nnpcore.cli", "ipi", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
        assert server.wait(60) == 0, (tmp_path / "log").read_text()
    assert (done.returncode, done.stdout) == (0, "i-PI has ended: 12 evaluations\n"), done.stderr
    first = (tmp_path / "si.out").read_text().splitlines()[-1].split()
    assert float(first[5]) == pytest.approx(-64 * 4.3366, abs=0.01)  # of the perfect crystal
