"""What pair_style nnpcore refuses, on two ranks: one line that says what to do, and no hang. And nnpcore lammps."""

import os
import re
import subprocess
import sys

import pytest
from lammps_host import Runner

from nnpcore import lammps as host
from nnpcore.model import Model

BOX = """
units {units}
newton {newton}
boundary p p p
region box block 0 20 0 20 0 20
create_box 2 box
create_atoms 1 single 5 5 5
create_atoms 1 single 5 5 {z}
create_atoms 2 single 12 5 5
mass 1 {mass}
mass 2 127.6
{more}
pair_style nnpcore {options}
pair_coeff {coeff}
run 0
"""
GOOD = {
    "units": "metal",
    "newton": "on",
    "z": "7.6",
    "mass": "72.63",
    "more": "",
    "options": "",
    "coeff": "* * ge.nnp Ge Te",
}
CASES = {
    "element": ({"coeff": "* * ge.nnp Ge Sb"}, r"element Sb of atom type 2 is not in ge\.nnp, which has Ge Te"),
    "names": ({"coeff": "* * ge.nnp Ge"}, r"needs one element, or NULL, for each of the 2 atom types, got 1"),
    "no names": ({"coeff": "* * ge.nnp"}, r"for each of the 2 atom types, got 0"),
    "all NULL": ({"coeff": "* * ge.nnp NULL NULL"}, r"names no element"),
    "file": ({"coeff": "* * gone.nnp Ge Te"}, r"model file gone\.nnp cannot be opened"),
    "folder": ({"coeff": "* * . Ge Te"}, r"model file \. cannot be"),
    "damaged": ({"coeff": "* * bad.nnp Ge Te"}, r"bad\.nnp: checksum: the file is damaged"),
    "no model": ({"coeff": "* * in.lammps Ge Te"}, r"in\.lammps: not a model file"),
    "units lj": ({"units": "lj"}, r"units lj are not possible.*use units metal, real or electron"),
    "units si": ({"units": "si"}, r"units si are not possible"),
    "newton": ({"newton": "off"}, r"newton off is not possible, use newton on"),
    "mass": ({"mass": "127.6"}, r"mass of atom type 1 is 127\.6, but Ge has 72\.63 in the model: check the order"),
    "option": (
        {"options": "presision float32"},
        r"unknown option presision, expected precision, thr.* or list",
    ),
    "value": ({"options": "precision single"}, r"precision is float64 or float32, not single"),
    "list": ({"options": "list mine"}, r"list is auto or lammps, not mine"),
    "no value": ({"options": "threads"}, r"option threads needs a value"),
    "threads": ({"options": "threads 1.5"}, r"threads is a number from 1 to 4096, not 1\.5"),
    "close": ({"z": "5.00001"}, r"atoms with IDs [12] and [12] are 1e-05 Angstrom apart, on step 0"),
}


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    made = Runner(tmp_path_factory.mktemp("lammps"))
    model = Model.msr(species=["Ge", "Te"], rc=5.0, n2=2, n3=2, hidden=[4], mass={"Ge": 72.63, "Te": 127.6}, seed=1)
    model.save(made.folder / "ge.nnp")
    data = bytearray((made.folder / "ge.nnp").read_bytes())
    data[-3] ^= 64
    (made.folder / "bad.nnp").write_bytes(bytes(data))
    return made


def refused(done, pattern):
    """One ERROR line on each output, which fits the pattern."""
    assert done.returncode != 0
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line]
    assert len({re.sub(r"^.*?pair_style", "", line) for line in lines}) == 1, done.stdout + done.stderr
    assert re.search("pair_style nnpcore: .*" + pattern, lines[0]), lines[0]


@pytest.mark.parametrize("case", list(CASES))
def test_bad_input_ends_in_one_line(runner, case):
    change, pattern = CASES[case]
    refused(runner.run(BOX.format(**{**GOOD, **change}), ranks=2), pattern)


def test_the_good_case_runs_and_mass_can_be_ignored(runner):
    runner.good(BOX.format(**GOOD), ranks=2)
    runner.good(BOX.format(**{**GOOD, "mass": "50", "options": "mass ignore threads 2 precision float32"}), ranks=2)


def test_types_without_element_are_announced(runner):
    out = runner.good(BOX.format(**{**GOOD, "coeff": "* * ge.nnp Ge NULL"}))
    assert "WARNING: pair_style nnpcore: atoms of the types given as NULL feel no force" in out


def test_bonded_neighbours_must_be_in_the_list(runner):
    text = BOX.format(**{**GOOD, "more": ""}).replace("boundary p p p", "boundary p p p\natom_style bond")
    refused(runner.run(text, ranks=2), r"special_bonds leaves bonded neighbours out of the list")
    runner.good(text.replace("pair_style", "special_bonds lj/coul 1 1 1\npair_style"), ranks=2)


def test_plugin_of_another_lammps(runner):
    """Compiled as if for another version: it says so when it is used, and leaves other inputs alone."""
    other = host.Target(runner.target.include, "29 Aug 2024", False, runner.target.mpi, runner.target.program)
    plugin = host.build(other, runner.folder / "other", quiet=True)
    assert other.number == 20240829
    done = runner.run(BOX.format(**GOOD), ranks=2, plugin=plugin)
    refused(done, r"was built for LAMMPS 20240829 and this is LAMMPS \d+: run nnpcore lammps build")
    runner.good("units metal", ranks=2, plugin=plugin)
    assert "was built for LAMMPS 20240829" in host.try_plugin(other.program, plugin)


@pytest.mark.parametrize(
    "said, told",
    [
        ("undefined symbol: ompi_mpi_char", "compiled with Open MPI's mpi.h, but this LAMMPS has another MPI"),
        ("ERROR: Unknown command: plugin load x", "was built without its PLUGIN package"),
        ("nnpcore: loaded\nnnpcore: loaded", "the ranks do not know each other"),
        ("ERROR: Unrecognized pair style 'nnpcore'", "ERROR: Unrecognized pair style 'nnpcore'"),
    ],
)
def test_why_a_plugin_does_not_load(tmp_path, said, told):
    program = tmp_path / "lmp"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{said}\nEND\nexit {int('loaded' not in said)}\n")
    program.chmod(0o755)
    assert told in host.try_plugin(program, tmp_path / "nnpcoreplugin.so")


def test_no_ghosts_where_they_are_needed(runner):
    """Ghosts by type, or fewer than the cutoff asks for: an error, or what the usual ghosts give, never others."""
    text = BOX.format(**GOOD).replace("run 0", "run 0\nprint 'energy $(pe:%.14g)'")
    want = re.search(r"^energy (\S+)$", runner.good(text, ranks=2), re.M)[1]
    for modify in (
        "neighbor 2.0 multi\ncomm_modify mode multi cutoff/multi * 0.5",
        "comm_modify cutoff 0.5",
        "comm_modify vel yes",
    ):
        done = runner.run(text.replace("pair_style", f"{modify}\npair_style"), ranks=2)
        if done.returncode:
            refused(done, "communication cutoff")
        else:
            assert re.search(r"^energy (\S+)$", done.stdout, re.M)[1] == want


def test_a_fix_that_excludes_pairs(runner):
    """Grand-canonical Monte Carlo excludes pairs after the style has chosen the core's list: told, with the way out."""
    if "gcmc" not in host.help_text(runner.target.program):
        pytest.skip("a LAMMPS without its MC package")
    text = BOX.format(**GOOD).replace("run 0", "fix mc all gcmc 1 2 2 1 29494 300 -5.0 0.1 full_energy\nrun 2")
    refused(
        runner.run(text, ranks=2), r"a fix leaves pairs out of the neighbour list: use pair_style nnpcore list lammps"
    )
    runner.good(text.replace("pair_style nnpcore", "pair_style nnpcore list lammps"), ranks=2)


# ---- nnpcore lammps ----


def cli(*words, **env):
    line = [sys.executable, "-m", "nnpcore.cli", "lammps", *words]
    return subprocess.run(line, capture_output=True, text=True, env={**os.environ, **env}, timeout=600)


def test_doctor_finds_nothing_wrong(runner):
    done = cli("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(line.startswith("ok ") for line in done.stdout.splitlines()[:6])
    assert done.stdout.endswith("nnpcoreplugin.so\npair_style nnpcore\n")


def test_where_builds_and_names_the_file(runner, tmp_path):
    first = cli("where", NNPCORE_CACHE=str(tmp_path))
    assert first.returncode == 0 and first.stderr.count("compiling") == 1
    again = cli("where", NNPCORE_CACHE=str(tmp_path))
    assert again.stdout == first.stdout and again.stderr == ""
    assert first.stdout.strip().endswith("nnpcoreplugin.so")


def test_build_into_a_folder(runner, tmp_path):
    done = cli("build", "-o", str(tmp_path / "plugins"))
    assert done.returncode == 0, done.stderr
    assert [p.name for p in (tmp_path / "plugins").iterdir()] == ["nnpcoreplugin.so"]


@pytest.mark.parametrize(
    "words, env, pattern",
    [
        (["build", "--cxx", "no-such-compiler"], {}, r"no C\+\+ compiler \(no-such-compiler\): install one"),
        (["build", "--lammps", "."], {}, r"no LAMMPS headers"),
        (["where"], {"NNPCORE_CACHE": "/proc/none"}, r"/proc/none: cannot be written"),
        (["build", "--cxx", "false", "-o", "{tmp}"], {}, r"false failed: exit code 1"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_line(runner, words, env, pattern, tmp_path):
    done = cli(*(word.format(tmp=tmp_path) for word in words), **env)
    assert done.returncode == 2
    assert re.search(
        "^nnpcore lammps: .*" + pattern + ".*\n$", done.stderr.split("\n", done.stderr.count("\n") - 1)[-1]
    )


def test_without_a_compiler_lammps_starts_all_the_same(runner, tmp_path, monkeypatch, capsys):
    """The function that `import lammps` calls: a line on stderr, and a folder that has no plugin."""
    monkeypatch.setenv("NNPCORE_CACHE", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    folder = host.plugin_folder()
    assert "pair_style nnpcore is not available: no C++ compiler" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*plugin.so")) and not folder.startswith(str(tmp_path))
    monkeypatch.undo()
    assert host.plugin_folder() == str(runner.plugin.parent)


def test_versions_are_numbered_as_lammps_does():
    number = host.Target(None, "2 Aug 2023").number
    assert number == 20230802
    assert host.Target(None, "22 July 2025").number == 20250722
