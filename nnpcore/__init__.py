"""Neural-network interatomic potentials (MSR, Behler-Parrinello) for large-scale molecular dynamics."""

__version__ = "0.1.0"

_LAZY = {  # public name -> module that has it
    "Model": "model",
    "load": "model",
    "InputError": "validate",
    "get_include": "library",
    "get_library": "library",
}


def __getattr__(name):
    """Import on first use, so that `import nnpcore` stays fast and needs NumPy alone."""
    from importlib import import_module, util

    if name in _LAZY:
        value = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    elif not name.startswith("_") and util.find_spec(f"{__name__}.{name}"):
        value = import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *_LAZY})
