"""The .nnp reader of the C core: the JSON of its metadata, malformed, too deep, too big, with odd characters."""

import json

import pytest
from modelfile_parts import accepted, edited, pack, parts, refused, small

import nnpcore as nnp


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "[]",
        "1",
        '"',
        "{",
        '{"a"',
        '{"a":',
        '{"a":1',
        '{"a":1,}',
        '{"a" 1}',
        "{1:1}",
        '{"a":01}',
        '{"a":1.}',
        '{"a":.5}',
        '{"a":+1}',
        '{"a":1e}',
        '{"a":-}',
        '{"a":tru}',
        '{"a":"\\x"}',
        '{"a":"\\u12g4"}',
        '{"a":"\\u12',
        '{"a":"\n"}',
        '{"a":[1 2]}',
        '{"a":[1,]}',
        '{"a":[}',
        '{"a":1}}',
        '{"a":1} x',
        '{"a":' + "1" * 65 + "}",
        "[" * 33 + "]" * 33,
        "[" * 1000000,
        '{"a":' * 200000,
    ],
)
def test_documents_that_are_not_json_objects(text):
    assert refused(pack(text, {}), "metadata: (not JSON at byte|not a JSON object)")


def test_nesting_up_to_the_limit_is_fine_and_deeper_is_not():
    metadata, tensors = parts(small())
    deep = json.dumps(metadata)[:-1] + ', "note": '
    assert accepted(pack(deep + "[" * 31 + "]" * 31 + "}", tensors))
    assert refused(pack(deep + "[" * 32 + "]" * 32 + "}", tensors), "not JSON at byte")
    data = small().to_bytes()
    assert refused(
        edited(data, b'{"__metadata__":', b'{"x":' + b"[" * 100000 + b',"__metadata__":'), "not JSON at byte"
    )


def test_strings_with_odd_escapes():
    metadata, tensors = parts(small())
    for odd in (r"\ud800", r"\udc00", r"\ud800\u0041", r"\ud800\ud800", r"\u0000"):
        text = json.dumps(metadata).replace('"Si"', f'"{odd}"')
        assert refused(pack(text, tensors), "'species' entry 0")
        raw = pack(metadata, tensors)
        assert refused(edited(raw, b'"nnpcore":"{', b'"nnpcore":"' + odd.encode() + b"{"), "'nnpcore' is not a string")


def test_bytes_that_are_not_utf8_in_an_annotation():
    data = small(info={"author": "Zoe"}).to_bytes()
    assert refused(edited(data, b"Zoe", b"Zo\xff"))
    assert refused(edited(data, b"Zoe", b"\xc3"))


def test_big_annotations_are_kept_and_bigger_ones_refused():
    assert small(info={"note": "x" * 10**6}).info["note"] == "x" * 10**6
    with pytest.raises(nnp.InputError, match="longer than"):
        small(info={"note": "x" * (1 << 24)})


def test_claims_of_size_allocate_nothing():
    """A few hundred bytes that describe 2^60 numbers: refused, with the peak of memory unmoved."""
    resource = pytest.importorskip("resource")
    metadata, tensors = parts(small())
    symbols = ["H", "He", "Li", "Be", "B", "C", "N", "O", "F", "Ne"]
    wide = {"hidden": [65536] * 15, "activation": ["tanh"] * 15}
    claim = {
        **metadata,
        "species": symbols,
        "mass": [1] * 10,
        "e0": [0] * 10,
        "network": [wide] * 10,
        "msr": {"rc": 5, "rc3": 5, "rs": 0, "n2": [[65536] * 10] * 10, "n3": [[65536] * 55] * 10},
    }
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refused(pack(claim, tensors))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB
