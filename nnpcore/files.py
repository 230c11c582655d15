"""Files that end whole or not at all."""

import os
from contextlib import suppress
from pathlib import Path


def write_atomic(path, data):
    """Write bytes: a temporary name in the same folder, fsync, rename, fsync of the folder. Raises OSError.

    On any failure the old file stays as it was and no temporary one is left.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    with suppress(OSError):  # some file systems cannot fsync a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
