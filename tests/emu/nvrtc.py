"""NVRTC from its pip wheels (nvidia-cuda-nvrtc-cu12, nvidia-cuda-nvrtc), through ctypes: compiles without a GPU."""

import ctypes
import importlib.util
import re
from pathlib import Path

# what CuPy 14 adds to a RawModule's options
CUPY_ADDS = ("-ftz=true", "--device-as-default-execution-space")


def libraries():
    """{major version: path} of what is installed."""
    spec = importlib.util.find_spec("nvidia")
    found = {}
    for root in spec.submodule_search_locations if spec else ():
        for path in sorted(Path(root).glob("*/lib/libnvrtc.so.[0-9]*")):
            found[path.suffix[1:]] = path
    return found


class Nvrtc:
    """One version of the compiler."""

    def __init__(self, path):
        self.library = ctypes.CDLL(str(path))

    def compile(self, text, name, architecture, options, kind="sm"):
        """(cubin, or PTX for kind "compute"; log). RuntimeError with the log where it does not compile."""
        call, program = self.library, ctypes.c_void_p()
        none = ctypes.POINTER(ctypes.c_char_p)()
        assert call.nvrtcCreateProgram(ctypes.byref(program), text.encode(), name.encode(), 0, none, none) == 0
        words = [option.encode() for option in (*options, f"-arch={kind}_{architecture}")]
        code = call.nvrtcCompileProgram(program, len(words), (ctypes.c_char_p * len(words))(*words))
        log = self._text(program, "ProgramLog")
        if code:
            raise RuntimeError(f"{name} sm_{architecture}: {log.decode()[:2000]}")
        code = self._text(program, "CUBIN" if kind == "sm" else "PTX")
        call.nvrtcDestroyProgram(ctypes.byref(program))
        return code, log.rstrip(b"\0").decode()

    def _text(self, program, what):
        size = ctypes.c_size_t()
        getattr(self.library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        getattr(self.library, f"nvrtcGet{what}")(program, buffer)
        return buffer.raw


def resources(log):
    """{kernel: (registers, bytes of stack, bytes of spills)} of a log written with --ptxas-options=-v."""
    found, name = {}, None
    for line in log.splitlines():
        if match := re.search(r"Compiling entry function '(\w+)'", line):
            name, stack, spills = match[1], 0, 0
        elif match := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            stack, spills = int(match[1]), int(match[2]) + int(match[3])
        elif (match := re.search(r"Used (\d+) registers", line)) and name:
            found[name] = (int(match[1]), stack, spills)
    return found
