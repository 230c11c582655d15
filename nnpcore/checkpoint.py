"""Files that end whole or not at all, checkpoints, and the lock of a run folder.

A checkpoint is safetensors: arrays, and in `__metadata__` one JSON document under the key `nnpcore`: the state, and a
CRC-32 of array headers, state and data, which safetensors itself lacks.
"""

import contextlib
import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

DTYPES = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "U8": "u1"}


class CheckpointError(RuntimeError):
    """A checkpoint that is damaged or of another run."""


class FolderInUse(RuntimeError):
    """Another process works in the run folder."""


def write_atomic(path, data, keep_previous=False):
    """Write bytes, or a list of buffers, to path: temporary file in its folder, fsync, rename, fsync of the folder.

    keep_previous: the old file stays as path + ".prev". OSError names the path; the old file is then untouched.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.writelines(data if isinstance(data, list) else [data])
            file.flush()
            os.fsync(file.fileno())
        if keep_previous and path.exists():
            _link_previous(path)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise type(error)(error.errno, f"cannot write: {error.strerror}", str(path)) from error


def _link_previous(path):
    """Make path.prev a second name of path, in one step, so that at any moment both or either name a whole file."""
    link = path.with_name(f".{path.name}.prev.{os.getpid()}.tmp")
    with contextlib.suppress(FileNotFoundError):
        link.unlink()
    try:
        os.link(path, link)
    except OSError:  # file systems without hard links
        link.write_bytes(path.read_bytes())
    os.replace(link, previous(path))
    with contextlib.suppress(FileNotFoundError):  # rename() of one name of a file to another of its names does nothing
        link.unlink()


def previous(path):
    """Where write_atomic(keep_previous=True) leaves the file before the last."""
    path = Path(path)
    return path.with_name(path.name + ".prev")


def sync_folder(folder):
    """fsync a folder, where the system can."""
    with contextlib.suppress(OSError, AttributeError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def pack(arrays, state):
    """Bytes of a checkpoint: arrays {name: float64, float32, int64 or uint8 array}, state a JSON document (no NaN)."""
    return b"".join(_pieces(arrays, state))


def _pieces(arrays, state):
    """The same as a list of buffers, without a copy of the arrays."""
    header, body, offset = {}, [], 0
    for name, array in arrays.items():
        kind = {"f8": "F64", "f4": "F32", "i8": "I64", "u1": "U8"}[np.asarray(array).dtype.str[1:]]
        raw = np.ascontiguousarray(array, dtype=DTYPES[kind])
        header[name] = {"dtype": kind, "shape": list(np.shape(array)), "data_offsets": [offset, offset + raw.nbytes]}
        body.append(memoryview(raw.reshape(-1).view(np.uint8)))
        offset += raw.nbytes
    text = json.dumps(state, allow_nan=False, sort_keys=True)
    document = json.dumps({"checksum": _checksum(header, text, body), "state": text})
    head = json.dumps({"__metadata__": {"nnpcore": document}, **header}).encode()
    head += b" " * (-len(head) % 8)
    return [struct.pack("<Q", len(head)) + head, *body]


def unpack(data):
    """(arrays, state) of pack(); CheckpointError where anything at all is wrong."""
    try:
        (size,) = struct.unpack_from("<Q", data)
        if size > len(data) - 8:
            raise ValueError("truncated header")
        header = json.loads(data[8 : 8 + size].decode("utf-8"))
        body = memoryview(data)[8 + size :]
        document = json.loads(header.pop("__metadata__")["nnpcore"])
        if _checksum(header, document["state"], [body]) != document["checksum"]:
            raise ValueError("the checksum does not match")
        arrays = {name: _array(body, entry) for name, entry in header.items()}
        return arrays, json.loads(document["state"])
    except (ValueError, KeyError, TypeError, AttributeError, struct.error, RecursionError, OverflowError) as error:
        raise CheckpointError(f"damaged checkpoint: {error}") from error


def _checksum(header, text, body):
    """CRC-32 of header, state and buffers, one after the other."""
    crc = zlib.crc32((json.dumps(header, sort_keys=True) + text).encode())
    for data in body:
        crc = zlib.crc32(data, crc)
    return f"{crc:08x}"


def _array(body, entry):
    begin, end = entry["data_offsets"]
    dtype, shape = np.dtype(DTYPES[entry["dtype"]]), [int(n) for n in entry["shape"]]
    if (
        not 0 <= begin <= end <= len(body)
        or min(shape, default=0) < 0
        or end - begin != dtype.itemsize * _product(shape)
    ):
        raise ValueError("array outside of the file")
    return np.frombuffer(body[begin:end], dtype=dtype).reshape(shape).copy()


def _product(shape):
    total = 1
    for n in shape:
        total *= n
    return total


def save(path, arrays, state):
    """Write a checkpoint; the one before stays as .prev."""
    write_atomic(path, _pieces(arrays, state), keep_previous=True)


def load(path):
    """(arrays, state, Path read): the checkpoint, or its .prev where it is damaged or missing.

    FileNotFoundError where neither is there, CheckpointError where none is whole.
    """
    path, problems = Path(path), []
    for candidate in (path, previous(path)):
        try:
            arrays, state = unpack(candidate.read_bytes())
            return arrays, state, candidate
        except FileNotFoundError:
            continue
        except CheckpointError as error:
            problems.append(f"{candidate}: {error}")
    if problems:
        raise CheckpointError("; ".join(problems))
    raise FileNotFoundError(2, "no checkpoint", str(path))


class FolderLock:
    """Exclusive use of a run folder by one process, until release() or the end of the process, however it ends.

    The folder is made if missing; temporaries that a killed run left behind are removed. Raises FolderInUse.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.handle = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise type(error)(error.errno, f"cannot use run folder: {error.strerror}", str(folder)) from error
        if fcntl is not None:
            try:
                fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(self.handle)
                raise FolderInUse(f"{folder}: already running: another process uses this run folder") from None
        for orphan in self.folder.glob(".*.tmp"):
            with contextlib.suppress(OSError):
                orphan.unlink()

    def release(self):
        """Give the folder back; may be called twice."""
        if self.handle is not None:
            os.close(self.handle)
            self.handle = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release()
