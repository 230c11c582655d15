"""The .nnp reader of the C core against files that are damaged, malicious or merely wrong."""

import json
import os
import random
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from modelfile_parts import FORMAT, VERSION, accepted, edited, pack, parts, refused, seal, small

import nnpcore as nnp
from nnpcore import _core
from nnpcore.model import ModelFileError

# ---- sound files ----


def test_reader_takes_what_the_writer_of_the_test_makes():
    metadata, tensors = parts(small())
    model = nnp.Model.from_bytes(pack(metadata, tensors))
    assert model == small()


def test_float32_and_any_order_of_tensors():
    metadata, tensors = parts(small())
    single = {name: tensors[name].astype(np.float32) for name in reversed(tensors)}
    model = nnp.Model.from_bytes(pack(metadata, single))
    assert (model.theta == small().theta.astype(np.float32)).all()
    mixed = {name: tensors[name].astype("f4" if k % 2 else "f8") for k, name in enumerate(tensors)}
    assert np.abs(nnp.Model.from_bytes(pack(metadata, mixed)).theta - small().theta).max() < 1e-6


def test_blanks_escapes_and_numbers_of_json():
    metadata, tensors = parts(small())
    text = json.dumps(metadata, indent=3)
    text = (
        text.replace('"Si"', '"\\u0053i"').replace('"rc": 5.0', '"\\u0072c": 0.5e+1').replace('"rs": 0.0', '"rs": -0')
    )
    note = {
        "note": "Zo\u00eb \U0001f600 \x7f \t",
        "empty": {},
        "list": [],
        "flags": [True, False, None],
        "deep": [[[[]]]],
    }
    text = text.rstrip("}\n") + "," + json.dumps(note)[1:]
    model = nnp.Model.from_bytes(pack(text, tensors))
    assert model.species == ["Si"] and model.cutoff == 5.0
    assert {key: model.info[key] for key in note} == note


def test_metadata_numbers_are_read_to_the_last_bit():
    rng = np.random.default_rng(1)
    for value in [
        *rng.uniform(0, 1, 50),
        *10 ** rng.uniform(-300, 300, 50),
        5e-324,
        1.7976931348623157e308,
        0.1,
        1 / 3,
    ]:
        assert nnp.Model.from_bytes(small(e0=-value, mass=value).to_bytes()).core.mass == [value]


def test_optional_keys():
    zbl = nnp.Model.zbl(["Ar"], 0.5, 1.0)
    lj = {"kind": "lj", "species": ["Ar", "Ar"], "epsilon": 0.01, "sigma": 3.4, "cutoff": 8.5}
    assert nnp.Model.from_bytes(pack({**zbl.metadata, "baseline": [lj]}, {})).cutoff == 8.5
    metadata, tensors = parts(small())
    assert nnp.Model.from_bytes(pack({**metadata, "baseline": []}, tensors)).baseline == []


# ---- damaged files ----


def test_every_truncation_and_every_flipped_bit_is_noticed():
    data = small().to_bytes()
    for size in range(len(data)):
        assert refused(data[:size])
    for place in range(len(data)):
        for bit in range(8):
            bad = bytearray(data)
            bad[place] ^= 1 << bit
            with pytest.raises(_core.NnpError):
                _core.Model(bad)
    assert refused(data + b"\0")


def test_flipped_bytes_behind_a_good_checksum():
    data = small().to_bytes()
    rng = random.Random(0)
    count = sum(accepted(seal(bytes(bytearray(data[:k]) + bytes([rng.randrange(256)]) + data[k + 1 :])))
                for k in range(len(data)))  # fmt: skip
    assert 100 < count < len(data)  # bytes of parameters and annotations may change, most of the header may not


TOKENS = b"""null -1 1e999 NaN [[[[[[ { } [ ] " \\u \\ , : 99999999999999999999 0.5 "F32" [0,0] {} 65536
2147483648 1e-400""".split()
TOKENS += [b"\xff\xff\xff\xff\xff\xff\xff\x7f", b"\0"]


def mutate(data, rng):
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        place = rng.randrange(len(data) + 1)
        length = rng.choice((1, 1, 2, 8, 40))
        kind = rng.randrange(6)
        if kind == 0 and place < len(data):
            data[place] = rng.randrange(256)
        elif kind == 1:
            del data[place : place + length]
        elif kind == 2:
            data[place:place] = rng.choice(TOKENS)
        elif kind == 3:
            token = rng.choice(TOKENS)
            data[place : place + rng.choice((len(token), 1))] = token
        elif kind == 4:
            other = rng.randrange(len(data) + 1)
            data[place:place] = data[other : other + length]
        else:
            digits = [k for k in range(len(data)) if 48 <= data[k] <= 57]
            data[rng.choice(digits)] = rng.randrange(48, 58)
    if rng.random() < 0.7:  # keep the header's length in step, so that mutants get past the first line
        length = data.rfind(b"}") + 1
        data[:8] = max(length - 8, 0).to_bytes(8, "little")
    return seal(bytes(data))


def test_mutants_end_in_one_exception_or_a_sound_model():
    seeds = [small().to_bytes(), nnp.Model.stillinger_weber("mW").to_bytes(),
             nnp.Model.msr(["Ge", "Te"], 5.0, n2=[[1, 0], [2, 1]], n3=[[0, 1, 0], [1, 0, 2]], hidden=(),
                           baseline=[nnp.Model.zbl(["Ge", "Te"], 0.5, 1.0)]).to_bytes()]  # fmt: skip
    rng = random.Random(7)
    count = sum(accepted(mutate(seeds[k % len(seeds)], rng)) for k in range(20000))
    assert 200 < count < 15000


# ---- wrong files ----


CHANGES = [  # keys of the document, value (... for none), what the error names
    ("schema", 2, "schema 2", VERSION),
    ("schema", 1e300, "schema", VERSION),
    ("schema", 0, "'schema'", FORMAT),
    ("schema", "1", "'schema'", FORMAT),
    ("schema", ..., "'schema' is missing", FORMAT),
    ("method", "gap", "'method'", FORMAT),
    ("method", None, "'method'", FORMAT),
    ("units", "Ry Bohr", "'units'", FORMAT),
    ("units", ..., "'units' is missing", FORMAT),
    ("species", [], "'species'", FORMAT),
    ("species", "Si", "'species'", FORMAT),
    ("species", ["Q"], "'species' entry 0", FORMAT),
    ("species", [""], "'species' entry 0", FORMAT),
    ("species", ["Siliconium"], "'species' entry 0", FORMAT),
    ("species", ["Si\0"], "'species' entry 0", FORMAT),
    ("species", ["Si"] * 2, "names Si twice", FORMAT),
    ("species", ["Si"] * 119, "'species'", FORMAT),
    ("species", [14], "'species' entry 0", FORMAT),
    ("species", ["Ge"], "tensor 'msr.Si.alpha'", FORMAT),
    ("mass", [0], "'mass' of Si", FORMAT),
    ("mass", [], "'mass' has 0", FORMAT),
    ("mass", [[]], "'mass'", FORMAT),
    ("e0", [1, 2], "'e0' has 2", FORMAT),
    ("e0", [float("nan")], "metadata: not JSON", FORMAT),
    ("e0", ["0"], "'e0'", FORMAT),
    ("msr", ..., "'msr' is missing", FORMAT),
    ("msr", [], "'rc' is missing", FORMAT),
    ("msr.rc", 0, "'rc'", FORMAT),
    ("msr.rc", float("inf"), "not JSON", FORMAT),
    ("msr.rc3", 5.1, "'rc3'", FORMAT),
    ("msr.rc3", 0, "'rc3'", FORMAT),
    ("msr.rs", 5.0, "'rs'", FORMAT),
    ("msr.rs", -1, "'rs'", FORMAT),
    ("msr.rs", ..., "'rs' is missing", FORMAT),
    ("msr.n2", 2, "'n2'", FORMAT),
    ("msr.n2", [[2], [2]], "'n2' has 2", FORMAT),
    ("msr.n2", [[2, 2]], "'n2'", FORMAT),
    ("msr.n2", [2], "'n2'", FORMAT),
    ("msr.n2", [[3]], "tensor 'msr.Si.alpha': shape", FORMAT),
    ("msr.n2", [[-1]], "'n2'", FORMAT),
    ("msr.n2", [[1.5]], "'n2'", FORMAT),
    ("msr.n2", [[65537]], "'n2'", FORMAT),
    ("msr.n3", [[65536]], "tensor 'msr.Si.triplet': shape", FORMAT),
    ("msr.n3", [["1"]], "'n3'", FORMAT),
    ("msr.n3", {}, "'n3'", FORMAT),
    ("network", [], "'network' has 0", FORMAT),
    ("network", [[]], "'hidden' is missing", FORMAT),
    ("network", [{"hidden": [0], "activation": ["tanh"]}], "'hidden'", FORMAT),
    ("network", [{"hidden": [1] * 16, "activation": ["tanh"] * 16}], "'hidden'", FORMAT),
    ("network", [{"hidden": [65536] * 15, "activation": ["tanh"] * 15}], "shape", FORMAT),
    ("network", [{"hidden": [2], "activation": []}], "'activation' has 0", FORMAT),
    ("network", [{"hidden": [2], "activation": ["swish"]}], "'activation'", FORMAT),
    ("network", [{"hidden": [3], "activation": ["tanh"]}], "tensor 'net.Si.0.weight': shape", FORMAT),
    ("network", [{"hidden": [2, 2], "activation": ["tanh"] * 2}], "shape", FORMAT),
    ("baseline", {}, "'baseline'", FORMAT),
    ("baseline", [{}], "'kind' is missing", FORMAT),
    ("baseline", [{"kind": "sw", "species": ["Ge"]}], "'species'", FORMAT),
    ("baseline", [{"kind": "lj", "species": ["Si"]}], "'species' has 1", FORMAT),
    ("baseline", [{"kind": "zbl", "inner": 1}], "'outer' is missing", FORMAT),
]  # fmt: skip


def changed(metadata, key, value):
    metadata = json.loads(json.dumps(metadata))
    place = metadata
    *path, last = key.split(".")
    for name in path:
        place = place[name]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return metadata


@pytest.mark.parametrize(("key", "value", "text", "code"), CHANGES)
def test_wrong_metadata_names_the_key(key, value, text, code):
    metadata, tensors = parts(small())
    assert refused(pack(changed(metadata, key, value), tensors), text, code)


@pytest.mark.parametrize("key", ["epsilon", "sigma", "a", "lambda", "gamma", "cos_theta0", "A", "B", "p", "q"])
def test_wrong_stillinger_weber(key):
    metadata = nnp.Model.stillinger_weber("Si").metadata
    for value in [None, "1", ...] + [-1] * (key != "cos_theta0"):
        term = {name: old for name, old in metadata["baseline"][0].items() if name != key}
        if value is not ...:
            term[key] = value
        assert refused(pack({**metadata, "baseline": [term]}, {}), f"'{key}'")


def test_stillinger_weber_cutoff_must_be_a_radius():
    metadata = nnp.Model.stillinger_weber("Si").metadata
    for change in ({"a": 0}, {"sigma": 0}, {"a": 1e200, "sigma": 1e200}):
        assert refused(pack({**metadata, "baseline": [{**metadata["baseline"][0], **change}]}, {}), "radius")


def test_baseline_method_needs_one_and_takes_no_tensors():
    metadata = nnp.Model.stillinger_weber("Si").metadata
    assert refused(pack({**metadata, "baseline": []}, {}), "without a baseline")
    assert refused(pack({key: metadata[key] for key in metadata if key != "baseline"}, {}), "without a baseline")
    assert refused(pack(metadata, {"msr.Si.alpha": np.zeros(1)}), r"tensor 'msr\.Si\.alpha' does not belong")
    assert refused(pack(metadata, {}, extra=b"12345678"), "8 bytes belong to no tensor")


def test_no_fingerprints():
    metadata, tensors = parts(small())
    metadata["msr"] |= {"n2": [[0]], "n3": [[0]]}
    assert refused(pack(metadata, tensors), "Si has no fingerprints")


def entry(begin, end, shape=(2,), dtype="F64"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def test_wrong_tensors_are_named():
    metadata, tensors = parts(small())
    name = "msr.Si.alpha"
    raw = tensors[name].tobytes()
    for value, text in [
        (np.zeros(3), "shape"),
        (np.zeros((2, 1)), "shape"),
        (np.zeros(2, dtype="i8"), "dtype"),
        (np.array([0, np.nan]), "number 1 is not finite"),
        (np.array([-np.inf, 0]), "number 0 is not finite"),
        (np.array([0, np.inf], dtype="f4"), "number 1 is not finite"),
        (np.array([0, 300.5]), "exponent 1 is beyond"),
        ((entry(0, 8), raw), "data_offsets"),
        ((entry(16, 0), raw), "data_offsets"),
        ((entry(-16, 0), raw), "data_offsets"),
        ((entry(0, 16.5), raw), "data_offsets"),
        ((entry(0, 10**30), raw), "data_offsets"),
        ((entry(2**53, 2**53 + 16), raw), "data_offsets"),
        ((entry(0, 16, dtype="F32"), raw), "data_offsets"),
        ((entry(0, 16, shape=[10**30]), raw), "shape"),
        ((entry(0, 16, shape=[2, 2]), raw), "shape"),
        ((entry(0, 16, shape=[]), raw), "shape"),
        (({}, raw), "dtype"),
        (([], raw), "dtype"),
        (({**entry(0, 16), "shape": 2}, raw), "shape"),
    ]:  # fmt: skip
        assert refused(pack(metadata, {**tensors, name: value}), rf"tensor '{name}': .*{text}")
    without = {key: value for key, value in tensors.items() if key != name}
    assert refused(pack(metadata, without), f"tensor '{name}' is missing")
    assert refused(
        pack(metadata, {**tensors, "net.Si.2.bias": np.zeros(1)}), r"tensor 'net\.Si\.2\.bias' does not belong"
    )
    assert refused(pack(metadata, {**tensors, "x" * 100000: np.zeros(1)}), "does not belong")
    assert refused(pack(metadata, tensors, extra=b"\0" * 8), "8 bytes belong to no tensor")


def test_tensors_that_overlap_or_leave_a_gap():
    metadata, tensors = parts(small())
    data = pack(metadata, tensors)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    place = header["net.Si.0.bias"]["data_offsets"]
    for shift in (-8, 8, -16, -1):
        value = {**header["net.Si.0.bias"], "data_offsets": [place[0] + shift, place[1] + shift]}
        bad = pack(metadata, {**tensors, "net.Si.0.bias": (value, tensors["net.Si.0.bias"].tobytes())})
        assert refused(bad, "overlap another's or leave a gap")


def test_gap_between_tensors():
    metadata, tensors = parts(small())
    raw = {name: ({"dtype": "F64", "shape": list(t.shape)}, t.tobytes()) for name, t in tensors.items()}
    raw["msr.Si.mu"] = raw["msr.Si.mu"][0], raw["msr.Si.mu"][1] + b"\0" * 8  # 8 bytes behind it belong to nobody
    place = 0
    for name, (header, body) in raw.items():
        header["data_offsets"] = [place, place + tensors[name].nbytes]
        place += len(body)
    assert refused(pack(metadata, raw), r"tensor 'net\.Si\.0\.weight': data overlap another's or leave a gap")


def test_duplicates():
    metadata, tensors = parts(small())
    data = pack(metadata, tensors)
    assert refused(edited(data, b'"msr.Si.mu":', b'"msr.Si.alpha":'), r"tensor 'msr\.Si\.alpha' appears twice")
    text = json.dumps(metadata)
    for key in ("schema", "rc", "species", "hidden", "network", "n3"):
        twice = text.replace(f'"{key}":', f'"{key}": 1, "{key}":')
        assert refused(pack(twice, tensors), f"'{key}' appears twice")
    assert refused(pack(text[:-1] + ', "baseline": [], "baseline": []}', tensors), "'baseline' appears twice")
    assert refused(edited(data, b'{"__metadata__":', b'{"__metadata__":{},"__metadata__":'), "__metadata__")
    assert refused(edited(data, b'"nnpcore":', b'"nnpcore":"","nnpcore":'), "'nnpcore'")


def test_headers():
    data = small().to_bytes()
    length = int.from_bytes(data[:8], "little")
    for wrong in (0, 1, length - 1, length + 1, len(data) - 8, len(data) - 7, 1 << 24, (1 << 24) + 1, 1 << 31, 1 << 32,
                  1 << 63, (1 << 64) - 1):  # fmt: skip
        assert refused(wrong.to_bytes(8, "little") + data[8:])
    assert refused(b"\x80\x02}q\x00." * 4, "not a model file")
    assert refused(b"", "not a model file")
    assert refused(edited(data, b'"crc32":', b'"crc33":'), "'crc32'")
    assert refused(edited(data, b'"nnpcore":', b'"nnpcare":'), "'nnpcore'")
    assert refused(edited(data, b'"__metadata__":', b'"__netadata__":'), "__metadata__")
    upper = re.sub(rb'"crc32":"(\w+)"', lambda m: m.group(0).replace(m.group(1), m.group(1).upper()), data)
    assert upper == data or refused(upper, "checksum")
    for value in (b'"12345"', b"12345678", b"null", b"[]", b'"\\u0030\\u0030"'):
        old = re.search(rb'"crc32":("\w+")', data).group(1)
        header = data[8 : 8 + length].replace(old, value, 1)
        assert refused(len(header).to_bytes(8, "little") + header + data[8 + length :], "'crc32'")


def test_checksum_error_gives_the_sum_to_write():
    data = bytearray(small().to_bytes())
    data[-1] ^= 1
    with pytest.raises(ModelFileError, match=r"CRC-32 is [0-9a-f]{8}") as caught:
        nnp.Model.from_bytes(bytes(data))
    assert re.search("[0-9a-f]{8}", str(caught.value)).group().encode() in seal(bytes(data))


# ---- loading by path, as C hosts do ----


def test_load_by_path(tmp_path):
    path = tmp_path / "a b.nnp"
    small().save(path)
    assert _core.check_file(os.fsencode(path)) == 5.0
    for name, text, code in [("none.nnp", "cannot be opened", 3), (".", None, None)]:
        with pytest.raises(_core.NnpError, match=text) as caught:
            _core.check_file(os.fsencode(tmp_path / name))
        assert str(tmp_path) in str(caught.value)
        assert caught.value.code in ((code,) if code else (3, FORMAT))
    path.write_bytes(b"")
    with pytest.raises(_core.NnpError, match=r"a b\.nnp: not a model file"):
        _core.check_file(os.fsencode(path))
    with open(path, "wb") as stream:
        stream.truncate(1 << 33)
    with pytest.raises(_core.NnpError, match=r"a b\.nnp: not a model file"):
        _core.check_file(os.fsencode(path))
    path.write_bytes(small().to_bytes()[:-1])
    with pytest.raises(_core.NnpError, match=r"a b\.nnp: checksum"):
        _core.check_file(os.fsencode(path))


@pytest.mark.skipif(not shutil.which("localedef"), reason="no localedef to make a locale with a decimal comma")
def test_locale_with_a_decimal_comma(tmp_path):
    made = subprocess.run(["localedef", "-i", "de_DE", "-f", "UTF-8", str(tmp_path / "de_DE.UTF-8")], check=False,
                          capture_output=True)  # fmt: skip
    if not (tmp_path / "de_DE.UTF-8" / "LC_NUMERIC").exists():
        pytest.skip(f"localedef made no locale: {made.stderr[:100]!r}")
    model = small(rc=4.75, mass=1.25)
    model.save(tmp_path / "model.nnp")
    code = ("import locale, sys, nnpcore; locale.setlocale(locale.LC_ALL, 'de_DE.UTF-8');"
            "assert locale.localeconv()['decimal_point'] == ',';"
            "m = nnpcore.load(sys.argv[1]); print(repr(m.core.cutoff), m.core.mass)")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "model.nnp")], check=True, capture_output=True,
                          text=True, env={**os.environ, "LOCPATH": str(tmp_path), "LC_ALL": "de_DE.UTF-8"})  # fmt: skip
    assert done.stdout.split() == ["4.75", "[1.25]"]
