"""The installed C library: linked by flags, by pkg-config, by CMake, from Fortran, and as one file; the numbers are
those of Python. What is missing on a machine (pkg-config, cmake, gfortran) is skipped by name."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nnpcore
from nnpcore import amalgamate, library, sources

ROOT = Path(__file__).resolve().parents[2]
CC = os.environ.get("CC", "cc")
EXAMPLES, CAPI = ROOT / "examples", ROOT / "tests" / "capi"
ENVIRONMENT = {**os.environ, "OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "2"}
PACKAGE = Path(nnpcore.__file__).parent
CHECKOUT = PACKAGE.parent == ROOT

pytestmark = [
    pytest.mark.skipif(shutil.which(CC) is None, reason=f"no C compiler ({CC})"),
    pytest.mark.skipif(
        CHECKOUT and not (PACKAGE / "lib" / "libnnpcore.a").exists(),
        reason="checkout without nnpcore/lib: python setup.py build_ext --inplace",
    ),
]


def run(*command, **options):
    options = {"env": ENVIRONMENT, "timeout": 300, **options}
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def asked(*flags):
    return run(sys.executable, "-m", "nnpcore.library", *flags).split()


def need(program):
    """Skip where the program is not there or does not start (a pyenv shim)."""
    path = shutil.which(program)
    if path is None or subprocess.run([path, "--version"], capture_output=True).returncode:
        pytest.skip(f"no {program}")
    return path


@pytest.fixture(scope="module")
def water(tmp_path_factory):
    """(path of a model file, text that examples/host.c prints of it)."""
    model = nnpcore.Model.stillinger_weber("mW")
    path = tmp_path_factory.mktemp("model") / "mw.nnp"
    model.save(path)
    out = model.compute([[0, 0, 0], [0, 0, 2.8]], "O")
    return path, f"O-O at 2.8 A: {out.energy:.12g} eV, {out.forces[1, 2]:.12g} eV/A\n"


# ---- linking ----


@pytest.mark.parametrize("flags", ["--libs", "--static"])
def test_flags(flags, water, tmp_path):
    path, expected = water
    run(CC, "-Wall", "-Werror", *asked("--cflags"), EXAMPLES / "host.c", "-o", "host", *asked(flags), cwd=tmp_path)
    assert run(tmp_path / "host", path) == expected


@pytest.mark.parametrize(
    "dialect",
    [["-std=c89"], ["-std=c17"], ["-x", "c++", "-std=c++98"], ["-x", "c++", "-std=c++20"]],
    ids=lambda d: d[-1],
)
def test_dialects(dialect, water, tmp_path):
    """The small host compiles, links and runs in every dialect, pedantically."""
    if "c++" in dialect and shutil.which("c++") is None:
        pytest.skip("no C++ compiler")
    flags = [*dialect, "-pedantic-errors", "-Wall", "-Wextra", "-Werror", *asked("--cflags")]
    run(CC, *flags, EXAMPLES / "host.c", "-o", "host", "-x", "none", *asked("--libs"), cwd=tmp_path)
    assert run(tmp_path / "host", water[0]) == water[1]


def test_where(tmp_path):
    assert asked("--include", "--library") == [nnpcore.get_include(), nnpcore.get_library()]
    assert {p.name for p in Path(nnpcore.get_include()).iterdir()} == {"nnpcore.h", "nnpcore.f90"}
    header = Path(nnpcore.get_include(), "nnpcore.h").read_text()
    assert header == (sources.folder() / "nnpcore.h").read_text(), "stale: build again"
    wrong = subprocess.run([sys.executable, "-m", "nnpcore.library"], capture_output=True, text=True, env=ENVIRONMENT)
    assert wrong.returncode == 2 and "--cflags" in wrong.stderr


def test_missing_library(monkeypatch, tmp_path):
    monkeypatch.setattr(library, "PACKAGE", tmp_path)
    for call in (nnpcore.get_include, nnpcore.get_library, library.get_cmake_dir, library.get_pkgconfig_dir):
        with pytest.raises(FileNotFoundError, match="not in this installation: pip install"):
            call()


def test_the_shipped_library_is_what_the_header_says(tmp_path):
    """tests/capi/host.c, the long host, against the library as installed, and its exported names."""
    nnpcore.Model.msr(["O"], 4.5, n2=2, n3=2, hidden=[5], seed=2).save(tmp_path / "m.nnp")
    run(CC, *asked("--cflags"), CAPI / "host.c", "-o", "host", *asked("--libs"), "-lm", "-lpthread", cwd=tmp_path)
    assert "energy" in run(tmp_path / "host", tmp_path / "m.nnp")
    nm = need("nm")
    listed = run(nm, "-D", "--defined-only", nnpcore.get_library())
    names = {line.split()[-1] for line in listed.splitlines() if line.split()[1] == "T"}
    declared = set(re.findall(r"^NNP_API [^;(]*?(nnp_\w+)\(", (sources.folder() / "nnpcore.h").read_text(), re.M))
    assert {n for n in names if not n.startswith("_")} == declared


@pytest.mark.parametrize("static", [False, True])
def test_pkg_config(static, water, tmp_path):
    """The folder works where it was moved to."""
    program = need("pkg-config")
    for name in ("include", "lib"):
        shutil.copytree(PACKAGE / name, tmp_path / "moved" / name)
    environment = {**ENVIRONMENT, "PKG_CONFIG_PATH": str(tmp_path / "moved" / "lib" / "pkgconfig")}
    if static:
        (tmp_path / "moved" / "lib" / "libnnpcore.so").unlink(missing_ok=True)
    flags = run(program, "--cflags", "--libs", *["--static"] * static, "nnpcore", env=environment).split()
    assert not any(f.startswith(str(PACKAGE)) for f in flags)
    run(CC, EXAMPLES / "host.c", "-o", "host", *flags, cwd=tmp_path)
    environment["LD_LIBRARY_PATH"] = str(tmp_path / "moved" / "lib")
    assert run(tmp_path / "host", water[0], env=environment) == water[1]
    assert run(program, "--modversion", "nnpcore", env=environment).strip() == nnpcore.__version__


def test_cmake(water, tmp_path):
    cmake = need("cmake")
    where = f"-Dnnpcore_DIR={asked('--cmake')[0]}"
    run(cmake, "-S", EXAMPLES / "c", "-B", tmp_path, where, "-DCMAKE_C_COMPILER=" + shutil.which(CC))
    run(cmake, "--build", tmp_path)
    assert run(tmp_path / "host", water[0]) == run(tmp_path / "host_static", water[0]) == water[1]


@pytest.mark.parametrize("wanted, fits", [("0.1", 1), ("0.1.0", 1), ("0.0", 0), ("0.2", 0), ("1.0", 0), ("0.1.7", 0)])
def test_cmake_version(wanted, fits, tmp_path):
    """Before 1.0 another minor version is another interface."""
    cmake = need("cmake")
    numbers = [*wanted.split("."), "0"]
    template = sources.folder() / "hosts" / "nnpcoreConfigVersion.cmake.in"
    text = template.read_text().replace("@VERSION@", "0.1.3").replace("@MAJOR@", "0").replace("@MINOR@", "1")
    text = text.replace("0.1.3", "0.1.0") if wanted == "0.1.7" else text
    (tmp_path / "v.cmake").write_text(
        f"set(PACKAGE_FIND_VERSION {wanted})\nset(PACKAGE_FIND_VERSION_COUNT {len(wanted.split('.'))})\n"
        f"set(PACKAGE_FIND_VERSION_MAJOR {numbers[0]})\nset(PACKAGE_FIND_VERSION_MINOR {numbers[1]})\n"
        f'{text}\nmessage(STATUS "fits ${{PACKAGE_VERSION_COMPATIBLE}}")\n'
    )
    assert ("fits TRUE" in run(cmake, "-P", tmp_path / "v.cmake")) == bool(fits)


def test_makefile(water, tmp_path):
    make = need("make")
    shutil.copytree(EXAMPLES / "c", tmp_path / "c")
    shutil.copy(EXAMPLES / "host.c", tmp_path)
    run(make, f"PYTHON={sys.executable}", f"CC={CC}", cwd=tmp_path / "c")
    assert run("./host", "mw.nnp", cwd=tmp_path / "c") == run("./host_static", "mw.nnp", cwd=tmp_path / "c") == water[1]


# ---- Fortran ----


@pytest.fixture(scope="module")
def fortran(tmp_path_factory):
    gfortran = need("gfortran")
    folder = tmp_path_factory.mktemp("fortran")
    module = Path(nnpcore.get_include(), "nnpcore.f90")
    flags = ["-std=f2008", "-Wall", "-Werror", "-ffree-line-length-none"]
    run(gfortran, *flags, module, EXAMPLES / "fortran" / "host.f90", "-o", "host", *asked("--libs"), cwd=folder)
    return folder / "host"


def test_fortran(fortran, tmp_path):
    """examples/fortran: transposed arrays mean the same cell and the same atoms."""
    model = nnpcore.Model.stillinger_weber("mW")
    model.save(tmp_path / "mw.nnp")
    lines = run(fortran, tmp_path / "mw.nnp").splitlines()
    assert lines[0].split() == ["species", "O,", "cutoff", f"{model.cutoff:.4f}", "A"]
    rows = np.array([line.split()[2:] for line in lines if line.startswith("x f")], dtype=float)
    cell = np.array([[6.2, 0, 0], [0.3, 6.1, 0], [-0.2, 0.1, 6.4]])
    expected = model.compute(rows[:, :3], "O", cell=cell)
    assert float(lines[1].split()[1]) == pytest.approx(expected.energy, rel=1e-13)
    np.testing.assert_allclose(rows[:, 3:], expected.forces, rtol=0, atol=1e-12)
    w = expected.virial
    virial = [w[0, 0], w[1, 1], w[2, 2], w[0, 1], w[0, 2], w[1, 2]]
    np.testing.assert_allclose(np.array(lines[2].split()[1:], dtype=float), virial, rtol=0, atol=1e-12)


def test_fortran_error(fortran):
    done = subprocess.run([fortran, "/no/such.nnp"], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode != 0 and "error 3: /no/such.nnp" in done.stdout


# ---- one file ----


@pytest.fixture(scope="module")
def one_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    run(sys.executable, "-m", "nnpcore.amalgamate", folder)
    return folder


def test_amalgamation_builds_and_agrees(one_file, tmp_path):
    """nnpcore.c alone, with every warning an error: the long host prints the very bits of the installed library."""
    openmp = [f for f in library.get_static_flags() if "openmp" in f]
    flags = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-DNNP_BASELINE_ONLY", *openmp, f"-I{one_file}"]
    host = CAPI / "host.c"
    run(CC, *flags, one_file / "nnpcore.c", host, "-o", "one", "-lm", "-lpthread", cwd=tmp_path, timeout=600)
    run(CC, f"-I{one_file}", host, "-o", "many", *asked("--libs"), "-lm", "-lpthread", cwd=tmp_path)
    for k, model in enumerate(
        [
            nnpcore.Model.stillinger_weber("mW"),
            nnpcore.Model.msr(["O"], 4.5, rc3=4.0, n2=3, n3=2, hidden=[6, 5], rs=1.5, seed=3),
        ]
    ):
        model.save(tmp_path / f"{k}.nnp")
        environment = {**ENVIRONMENT, "NNPCORE_ISA": "baseline"}
        one, many = (run(tmp_path / p, tmp_path / f"{k}.nnp", env=environment) for p in ("one", "many"))
        assert one == many and "force" in one


def test_amalgamation_has_all_kernels(one_file):
    """Without NNP_BASELINE_ONLY it holds a table for each precision and instruction set, and every file."""
    text = (one_file / "nnpcore.c").read_text()
    tables = {f"{p}_{isa}" for p in ("f32", "f64") for isa in ("baseline", "avx2", "avx512")}
    assert set(re.findall(r"==== kernels_(\w+)\.c", text)) == tables
    assert set(re.findall(r"==== ([\w/]+\.c) ====", text)) == {p.name for p in sources.folder().glob("*.c")}
    assert not re.search(r'^\s*#\s*include\s+"', text, re.M)
    assert amalgamate.LICENCE.split() == (ROOT / "LICENSE").read_text().split()


def test_amalgamation_keeps_names_apart(tmp_path):
    """What the renaming must get right, in small: statics, types, enumerators, macros, and members that stay."""
    (tmp_path / "nnp_config.h").write_text("#ifndef C\n#define C\ntypedef NUMBER nnp_real;\n#endif\n")
    (tmp_path / "nnpcore.h").write_text("#define NNP_VERSION_MAJOR 1\n#define NNP_VERSION_MINOR 2\n")
    (tmp_path / "shared.h").write_text("#ifndef S\n#define S\nstruct shared { int sum; };\n#endif\n")
    for name, number, factor in (("a", "float", 2), ("b", "double", 3)):
        (tmp_path / f"{name}.c").write_text(
            f'#define NUMBER {number}\n#include "nnp_config.h"\n#include "shared.h"\n#include "nnpcore.h"\n'
            "enum { KIND = sizeof(nnp_real) };\n"
            "/* sum of sum */\n"
            "typedef struct box { nnp_real value; int sum, box[KIND]; } box;\n"
            f"static int sum(int x) {{ return {factor} * x; }}\n"
            f"int public_{name}(void);\n"
            f"int public_{name}(void)\n{{\n    struct shared s = {{.sum = 1}};\n    box b = {{0, 5, {{0}}}};\n"
            "    s.sum += sum(b.sum);\n    return s.sum * 100 + (int)(sizeof b.box / sizeof(int)); /* sum */\n}\n"
        )
    (tmp_path / "main.c").write_text(
        "int public_a(void), public_b(void);\nint main(void) { return !(public_a() == 1104 && public_b() == 1608); }\n"
    )
    (tmp_path / "all.c").write_text(amalgamate.amalgamate(tmp_path))
    run(CC, "-Wall", "-Wextra", "-Werror", "all.c", "-o", "all", cwd=tmp_path)
    run(tmp_path / "all")
