"""What a user sees where there is no GPU, no CuPy, an old driver, too little memory, or a kernel that does not compile.

CuPy is a stand-in of a few lines here.
"""

import builtins
import subprocess
import sys
import types

import numpy as np
import pytest

import nnpcore
from nnpcore.gpu import backend
from nnpcore.gpu.backend import GpuError
from nnpcore.validate import InputError


class CUDARuntimeError(RuntimeError):
    pass


class OutOfMemoryError(MemoryError):
    pass


def fake(count=1, driver=12040, capability="90", error=None):
    """A module that answers as CuPy does."""
    cupy = types.ModuleType("cupy")

    def get_device_count():
        if error:
            raise CUDARuntimeError(error)
        return count

    runtime = types.SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        getDeviceCount=get_device_count,
        driverGetVersion=lambda: driver,
        runtimeGetVersion=lambda: 12090,
        memGetInfo=lambda: (1 << 30, 4 << 30),
    )
    device = types.SimpleNamespace(compute_capability=capability, id=0)
    memory = types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError)
    cupy.cuda = types.SimpleNamespace(runtime=runtime, Device=lambda: device, memory=memory)
    cupy.get_default_memory_pool = lambda: types.SimpleNamespace(free_bytes=lambda: 0)
    cupy.array = np.array
    return cupy


@pytest.fixture
def cupy(monkeypatch):
    """Make `import cupy` give fake(**options)."""
    monkeypatch.setattr(backend, "_substitute", None)
    backend._cuda.cache_clear()

    def install(**options):
        monkeypatch.setitem(sys.modules, "cupy", fake(**options))
        return sys.modules["cupy"]

    yield install
    backend._cuda.cache_clear()


def start():
    return nnpcore.md.MD(nnpcore.Model.stillinger_weber("mW"), np.zeros((1, 3)), "O", device="gpu")


def test_importing_nnpcore_does_not_import_cupy():
    code = "import sys, nnpcore, nnpcore.md, nnpcore.gpu.backend; print('cupy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_without_cupy_the_package_is_named(monkeypatch, cupy):
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "cupy":
            raise ImportError("No module named 'cupy'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(GpuError, match=r'device "gpu" needs CuPy: pip install nnpcore\[gpu\]'):
        start()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"count": 0}, 'there is no CUDA device here; use device = "cpu"'),
        ({"error": "cudaErrorInsufficientDriver: ...", "driver": 0}, "no NVIDIA driver is installed"),
        (
            {"error": "cudaErrorInsufficientDriver: ...", "driver": 11040},
            "the NVIDIA driver is of CUDA 11.4, older than CUDA 12.9 of this CuPy: update the driver",
        ),
        ({"error": "cudaErrorNoDevice: no CUDA-capable device"}, 'cudaErrorNoDevice.*use device = "cpu"'),
        ({"capability": "61"}, r"compute capability 6\.1, at least 7\.5 is needed"),
    ],
)
def test_devices_that_cannot_be_used(cupy, options, text):
    cupy(**options)
    with pytest.raises(GpuError, match=text) as caught:
        start()
    assert "\n" not in str(caught.value)


def test_a_kernel_that_does_not_compile_and_memory_that_runs_out(cupy):
    module = cupy()

    class Raw:
        def __init__(self, code, options):
            self.text = "nvrtc: error: failed\nmath/sw.h(30): error: identifier\n2 errors"

        def get_function(self, name):
            raise RuntimeError(self.text)

    module.RawModule = Raw
    device = backend.get("gpu")
    with pytest.raises(GpuError, match=r'cuda/sw.cu: cannot be compiled for the GPU: .*error.*; use device = "cpu"'):
        device.kernel("cuda/sw.cu", "nnp_sw_rows")

    def full(*args, **kwargs):
        raise OutOfMemoryError("Out of memory allocating 8 bytes")

    module.array = full
    with pytest.raises(GpuError, match=r"memory is full \(1.1 of 4.3 GB free\): Out of memory"):
        device.device([1.0])
    with pytest.raises(GpuError, match=r"MD: 10000000 atoms need about 20.00 GB .*about 536870 atoms fit"):
        backend.check_memory(device, 2000.0, 10**7, "MD")


def test_other_words_are_refused():
    with pytest.raises(InputError, match='device: "cuda" is not one of "cpu", "gpu"'.replace('"cuda"', "'cuda'")):
        backend.get("cuda")
    assert backend.get("cpu") is None
