import os

import numpy as np
import pytest

from nnpcore import checkpoint
from nnpcore.checkpoint import CheckpointError, FolderInUse, FolderLock

ARRAYS = {
    "theta": np.linspace(-1, 1, 5),
    "basis": np.eye(2, dtype=np.float32),
    "order": np.arange(3),
    "model": np.frombuffer(b"abc", np.uint8),
}
STATE = {"epoch": 3, "name": "é", "list": [1, 2.5]}


def test_round_trip_and_safetensors_reads_it(tmp_path):
    checkpoint.save(tmp_path / "a.ckpt", ARRAYS, STATE)
    arrays, state, path = checkpoint.load(tmp_path / "a.ckpt")
    assert state == STATE and path == tmp_path / "a.ckpt"
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype and arrays[name].tobytes() == np.ascontiguousarray(array).tobytes()
    safetensors = pytest.importorskip("safetensors.numpy")
    np.testing.assert_array_equal(safetensors.load_file(tmp_path / "a.ckpt")["theta"], ARRAYS["theta"])


def test_every_truncation_and_every_flipped_byte_is_one_exception():
    data = checkpoint.pack(ARRAYS, STATE)
    for n in range(len(data)):
        with pytest.raises(CheckpointError):
            checkpoint.unpack(data[:n])
    for n in range(len(data)):
        for bit in (0x01, 0x20, 0x80):
            bad = bytearray(data)
            bad[n] ^= bit
            try:
                arrays, state = checkpoint.unpack(bytes(bad))
            except CheckpointError:
                continue
            # only what means nothing may change: blanks of the header's padding
            assert state == STATE and all(arrays[k].tobytes() == v.tobytes() for k, v in ARRAYS.items()), n


@pytest.mark.parametrize("header", [b"[]", b"{}", b'{"__metadata__": 3}', b"[" * 100000, b'{"a": 1e999}'])
def test_hostile_headers(header):
    with pytest.raises(CheckpointError):
        checkpoint.unpack(len(header).to_bytes(8, "little") + header)
    with pytest.raises(CheckpointError):
        checkpoint.unpack((2**63).to_bytes(8, "little") + header)


def test_the_previous_one_stands_in(tmp_path):
    path = tmp_path / "last.ckpt"
    with pytest.raises(FileNotFoundError):
        checkpoint.load(path)
    for epoch in (1, 2, 3):
        checkpoint.save(path, ARRAYS, {"epoch": epoch})
    assert checkpoint.load(path)[1] == {"epoch": 3}
    path.write_bytes(path.read_bytes()[:-5])
    assert checkpoint.load(path)[1:] == ({"epoch": 2}, checkpoint.previous(path))
    path.unlink()
    assert checkpoint.load(path)[1] == {"epoch": 2}
    checkpoint.previous(path).write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"last\.ckpt\.prev"):
        checkpoint.load(path)


def test_write_errors_name_the_path_and_leave_the_old_file(tmp_path):
    path = tmp_path / "missing" / "last.ckpt"
    with pytest.raises(OSError, match=r"cannot write.*missing/last\.ckpt"):
        checkpoint.write_atomic(path, b"x")
    path = tmp_path / "last.ckpt"
    checkpoint.save(path, ARRAYS, {"epoch": 1})
    replace = os.replace

    def full(source, target):
        if str(target).endswith("last.ckpt"):
            raise OSError(28, "No space left on device")
        replace(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(OSError, match=r"No space left on device.*last\.ckpt"):
            checkpoint.save(path, ARRAYS, {"epoch": 2})
    assert checkpoint.load(path)[1] == {"epoch": 1}
    assert not list(tmp_path.glob(".*.tmp"))


def test_lock_is_exclusive_and_cleans_up(tmp_path):
    orphan = tmp_path / ".last.ckpt.999999.tmp"
    orphan.write_bytes(b"half")
    with FolderLock(tmp_path):
        assert not orphan.exists()
        with pytest.raises(FolderInUse, match="already running"):
            FolderLock(tmp_path)
    FolderLock(tmp_path).release()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match=r"cannot use run folder.*file"):
        FolderLock(tmp_path / "file" / "run")
