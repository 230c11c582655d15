"""Bytes of a .nnp file (docs/model-file.md). Reading is the C core's: csrc/modelfile.c has all the checks."""

import json
import zlib

import numpy as np

from .validate import InputError

MAX_FILE = 1 << 32  # bytes, as in csrc/modelfile.c


class ModelFileError(InputError):
    """A file that is not a model, is damaged, or is newer than this version; .code is the core's NNP_ERR_ number."""

    def __init__(self, text, code):
        super().__init__(text)
        self.code = code


def encode(metadata, shapes, theta):
    """safetensors: u64 length, JSON header padded to 8 bytes, theta; crc32 is that of all bytes with itself as 0s."""
    try:
        document = json.dumps(metadata, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"model: metadata cannot be written as JSON: {error}") from None
    header, place = {"__metadata__": {"crc32": "00000000", "nnpcore": document}}, 0
    for name, shape in shapes.items():
        end = place + 8 * int(np.prod(shape))
        header[name] = {"dtype": "F64", "shape": list(shape), "data_offsets": [place, end]}
        place = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    data = len(text).to_bytes(8, "little") + text + theta.astype("<f8").tobytes()
    digits = b"%08x" % zlib.crc32(data)
    return data.replace(b'"crc32":"00000000"', b'"crc32":"' + digits + b'"', 1)


def parse(data, where, kind):
    """The core's object for bytes of a file, its refusal as an exception of the kind."""
    from . import _core

    try:
        return _core.Model(data)
    except _core.NnpError as error:
        text = f"{where}: {error}"
        raise (kind(text, error.code) if kind is ModelFileError else kind(text)) from None


def read_metadata(data):
    """The metadata document, a dict, of bytes that parse() took. Raises ValueError for text that is not UTF-8."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(bytes(data[8 : 8 + length]))
    return json.loads(header["__metadata__"]["nnpcore"])
