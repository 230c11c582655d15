"""The same bits for any number of threads; Python threads, fork and instruction sets."""

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from reference.systems import TRICLINIC, agree, case, random_system

import nnpcore
from nnpcore import structures
from nnpcore.md import MD

PATHS = Path(nnpcore.__file__).resolve().parents[1], Path(__file__).resolve().parents[1]


def bits(out):
    parts = [np.float64(out.energy), out.energies, out.forces, out.virial]
    parts += [out.virials] if out.virials is not None else []
    return b"".join(np.ascontiguousarray(p).tobytes() for p in parts)


THREADS = (1, 2, 3, 4, 8, 16)
FULL = bool(float(os.environ.get("NNPCORE_SOAK", "0")))  # 1000 steps of MD with every number of threads: minutes


def large_system(n_species, n=3301, seed=1):
    """A rough crystal with vacancies: by default as many atoms as 16 threads want, 200 each; no multiple of a block."""
    rng = np.random.default_rng(seed)
    cells = next(c for c in range(3, 20) if 8 * c**3 > 1.05 * n)
    x, cell = structures.diamond(6.3, cells)
    keep = np.sort(rng.permutation(len(x))[:n])
    x = (x + rng.uniform(-0.3, 0.3, x.shape))[keep]
    return x, rng.integers(0, n_species, len(x)).astype(np.int32), cell


@pytest.mark.parametrize("name", ["mW", "msr1-sw", "msr3-rs-zbl"])
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_threads_do_not_change_a_bit(name, precision):
    """Energies, forces, virials: one result for 1, 2, 3, 4, 8 and 16 threads, 20 runs each."""
    c = case(name)
    x, s, cell = large_system(c.n_species)
    seen = set()
    for n_threads in THREADS:
        for k in range(20):
            out = c.model.compute(
                x, s, cell=cell, pbc=(True, True, False), virials=k == 0, precision=precision, n_threads=n_threads
            )
            seen.add((k == 0, bits(out)))
        assert len(seen) == 2, f"{n_threads} threads"


def trajectory(name, precision, n_threads, steps):
    """Bytes of the state, the energy and the stress after that many steps at 300 K."""
    c = case(name)
    x, s, cell = large_system(c.n_species)
    options = {"temperature": 300, "ensemble": "langevin", "friction": 0.02, "dt": 2.0, "skin": 0.6, "seed": 1}
    md = MD(c.model, x, s, cell, precision=precision, threads=n_threads, momentum_every=9, **options)
    md.run(steps)
    assert md.n_builds > steps / 20
    t = md.thermo()
    state = {**md.state, "potential": t["potential"], "stress": t["stress"]}
    return b"".join(np.asarray(state[key]).tobytes() for key in sorted(state))


MD_CASES = [(name, p) for name in ("mW", "msr1-sw", "msr3-rs-zbl") for p in ("float64", "float32")]


@pytest.mark.parametrize("k", range(len(MD_CASES)))
def test_threads_do_not_change_a_bit_of_a_trajectory(k):
    """The list is rebuilt every few steps. Two numbers of threads a case; NNPCORE_SOAK=1: all, and 1000 steps."""
    few = (THREADS[k % len(THREADS)], THREADS[(k + 1) % len(THREADS)])
    seen = {trajectory(*MD_CASES[k], n, 1000 if FULL else 100) for n in (THREADS if FULL else few)}
    assert len(seen) == 1


def test_few_atoms_many_threads(rng):
    c = case("msr2")
    x, s = random_system(rng, 2, 5)
    expected = bits(c.model.compute(x, s, cell=TRICLINIC, pbc=True, n_threads=1))
    assert bits(c.model.compute(x, s, cell=TRICLINIC, pbc=True, n_threads=8)) == expected


def test_python_threads():
    """Eight threads, one model, shuffled systems of many sizes: what one thread gets."""
    c = case("msr3")
    rng = np.random.default_rng(0)
    systems = [random_system(rng, 3, n) for n in (3, 5, 9, 14, 17, 20, 2, 11)]

    def run(k):
        x, s = systems[k]
        return bits(c.model.compute(x, s, cell=TRICLINIC, pbc=True, virials=True, n_threads=1))

    expected = [run(k) for k in range(len(systems))]
    jobs = [k for cycle in range(20) for k in rng.permutation(len(systems))]
    with ThreadPoolExecutor(8) as pool:
        assert all(result == expected[k] for k, result in zip(jobs, pool.map(run, jobs), strict=True))


def test_the_interpreter_runs_while_the_core_works():
    """The GIL is released: the main thread goes on during a call. A held one stops it for the whole call."""
    x, s, cell = large_system(1, 20_000)
    model, span = case("msr1").model, []

    def work():
        began = time.perf_counter()
        model.compute(x, s, cell=cell, n_threads=1)
        span.append((began, time.perf_counter()))

    def longest_pause():
        """Of the main thread within the call, as a share of it."""
        thread, ticks = threading.Thread(target=work), [time.perf_counter()]
        thread.start()
        while thread.is_alive():
            ticks.append(time.perf_counter())
        thread.join()
        began, ended = span.pop()
        inside = [began, *(t for t in ticks if began < t < ended), ended]
        return max(np.diff(inside)) / (ended - began)

    assert any(longest_pause() < 0.5 for _ in range(20))


def test_an_error_in_one_thread_stays_there():
    c = case("mW")
    rng = np.random.default_rng(0)
    x, s = random_system(rng, 1, 12)
    bad = x.copy()
    bad[3] = bad[4]
    expected = bits(c.model.compute(x, s, cell=TRICLINIC, pbc=True))

    def run(k):
        if k % 2:
            with pytest.raises((ValueError, RuntimeError), match=r"\b(3|4)\b"):
                c.model.compute(bad, s, cell=TRICLINIC, pbc=True)
            return expected
        return bits(c.model.compute(x, s, cell=TRICLINIC, pbc=True))

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(run, range(200))) == {expected}


def run_script(text, timeout=60, **environment):
    """Standard output of a Python script that sees this repository and the tests' references."""
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, PATHS)), OMP_WAIT_POLICY="passive", **environment)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=timeout, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


SETUP = """
import json, os
import numpy as np
import nnpcore
from nnpcore import _core, structures
from reference.systems import case
rng = np.random.default_rng(1)
x, cell = structures.diamond(6.3, (3, 3, 3))
x = x + rng.uniform(-0.3, 0.3, x.shape)
def evaluate(name, precision="float64", n_threads=1):
    c = case(name)
    s = np.arange(len(x)) % c.n_species
    return c.model.compute(x, s, cell=cell, pbc=True, precision=precision, n_threads=n_threads)
"""


def test_instruction_sets_agree():
    """Every variant that this processor has, against the baseline."""
    text = SETUP + (
        "out = {}\n"
        "try:\n"
        "    isa = _core.isa()\n"
        "except _core.NnpError:\n"
        "    isa = 'none'\n"
        "for name in ('mW', 'msr1', 'msr3-rs-zbl') if isa != 'none' else ():\n"
        "    for precision in ('float64', 'float32'):\n"
        "        r = evaluate(name, precision)\n"
        "        out[name + ' ' + precision] = [r.energy, r.forces.tolist(), r.stress.tolist()]\n"
        "print(json.dumps([isa, out]))\n"
    )
    results = {}
    for isa in ("baseline", "avx2", "avx512"):
        used, numbers = json.loads(run_script(text, NNPCORE_ISA=isa))
        if used != "none":  # this build or processor does not have it
            results[used] = numbers
    assert "baseline" in results
    if len(results) == 1:
        pytest.skip("this build or processor has one instruction set only")
    for isa, numbers in results.items():
        for key, (energy, forces, stress) in numbers.items():
            expected = results["baseline"][key]
            tolerance = 1e-12 if key.endswith("float64") else 2e-5
            agree(energy, expected[0], tolerance, f"{isa} {key} energy")
            agree(forces, expected[1], tolerance, f"{isa} {key} forces")
            agree(stress, expected[2], tolerance, f"{isa} {key} stress")


def test_fork_after_use():
    """fork after parallel use works or says "use spawn" within seconds: it must not hang."""
    text = SETUP + (
        "before = evaluate('msr1', n_threads=2)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    try:\n"
        "        same = (evaluate('msr1', n_threads=2).forces == before.forces).all()\n"
        "        os._exit(0 if same else 3)\n"
        "    except Exception as error:\n"
        "        os._exit(0 if 'spawn' in str(error) else 4)\n"
        "import time\n"
        "for _ in range(100):\n"
        "    done, status = os.waitpid(pid, os.WNOHANG)\n"
        "    if done:\n"
        "        break\n"
        "    time.sleep(0.1)\n"
        "else:\n"
        "    os.kill(pid, 9); os.waitpid(pid, 0); status = 'hung'\n"
        "print(status)\n"
    )
    assert run_script(text).strip() == "0"


def test_fork_with_one_thread_always_works():
    text = SETUP + (
        "before = evaluate('msr1', n_threads=1)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    os._exit(0 if (evaluate('msr1', n_threads=1).forces == before.forces).all() else 3)\n"
        "print(os.waitpid(pid, 0)[1])\n"
    )
    assert run_script(text).strip() == "0"
