"""Model files made and altered byte by byte, and what the reader must say of them."""

import json
import zlib

import numpy as np
import pytest

import nnpcore as nnp
from nnpcore.model import ModelFileError

FORMAT, VERSION = 4, 5  # error codes


def seal(data):
    """data with the right checksum, where it has one at all."""
    place = data.find(b'"crc32":"')
    if place < 0 or len(data) < place + 17:
        return data
    place += 9
    blank = data[:place] + b"00000000" + data[place + 8 :]
    return blank[:place] + b"%08x" % zlib.crc32(blank) + blank[place + 8 :]


def pack(document, tensors, extra=b"", meta=None):
    """A file from a document (dict or text) and {name: array or (header entry, bytes)}."""
    if not isinstance(document, str):
        document = json.dumps(document)
    header, body = {"__metadata__": {"crc32": "00000000", "nnpcore": document, **(meta or {})}}, b""
    for name, value in tensors.items():
        if isinstance(value, np.ndarray):
            dtype = {"f8": "F64", "f4": "F32", "i8": "I64"}[value.dtype.str[1:]]
            offsets = [len(body), len(body) + value.nbytes]
            value = {"dtype": dtype, "shape": list(value.shape), "data_offsets": offsets}, value.tobytes()
        header[name] = value[0]
        body += value[1]
    text = json.dumps(header, separators=(",", ":")).encode()
    return seal(len(text).to_bytes(8, "little") + text + body + extra)


def small(seed=0, **options):
    arguments = {"rc": 5.0, "rc3": 4.0, "n2": 2, "n3": 1, "hidden": (2,), "seed": seed}
    return nnp.Model.msr(["Si"], **{**arguments, **options})


def parts(model):
    return model.metadata, {name: np.array(value) for name, value in model.tensors.items()}


def refused(data, text=None, code=FORMAT):
    with pytest.raises(ModelFileError, match=text) as caught:
        nnp.Model.from_bytes(data)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)
    return True


def accepted(data):
    """Parse; False if refused in the one allowed way. What is accepted must be sound."""
    try:
        model = nnp.Model.from_bytes(data)
    except ModelFileError:
        return False
    assert np.isfinite(model.theta).all() and (np.abs(model.theta[model.exponents]) <= 300).all()
    assert 0 < model.cutoff < np.inf and model.core.n_parameters == model.n_parameters
    return True


def edited(data, old, new):
    """data with a text of its header replaced, lengths and checksum put right."""
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length]
    assert header.count(old) == 1
    header = header.replace(old, new)
    return seal(len(header).to_bytes(8, "little") + header + data[8 + length :])
