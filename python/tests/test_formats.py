"""NumPy's types that are stored as others, and files of other programs."""

from __future__ import annotations

import json
import pathlib
import pickle
import struct
import warnings
import zipfile
from typing import Any

import numpy as np
import pytest

import ndshm

STRUCT = np.dtype(
    [("t", "M8[ns]"), ("name", "U5"), ("code", "S4"), ("n", "i4"), ("d", "m8[s]", (2,))]
)
STRUCTS = np.dtype([("a", [("b", "i4"), ("c", "U1")], (2,)), ("d", "f8")])
ARRAYS = {
    "text": np.array(["a", "日本", "bcd"]),
    "bytes": np.array([b"a", b"bc"]),
    "times": np.array(["2024-02-29", "NaT"], "M8[D]"),
    "durations": np.array([1, 2], "m8[25s]"),
    "longdouble": np.array([1, 2], np.longdouble) / 3,
    "clongdouble": np.array([1, 2j], np.clongdouble) / 3,
    "struct": np.array([(5, "é", b"x", 7, 9), (6, "y", b"z", 8, 1)], STRUCT),
    "structs": np.array([([(1, "a"), (2, "b")], 3)], STRUCTS),
    "byte fields": np.array([([1, 2, 3], 4)], [("a", "u1", (3,)), ("b", "u1")]),
    "scalar": np.array("text"),
    "matrix": np.array([["a", "b"], ["c", "dd"]], order="F"),
    "nothing": np.zeros((0, 3), "U7"),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_text_times_and_longdouble_keep_their_type(
    m: ndshm.Manager, kind: str, tmp_path: pathlib.Path
) -> None:
    wanted = ARRAYS[kind]
    a = m.array(wanted, name="a", attrs={"unit": "x"})
    np.save(tmp_path / "a.npy", wanted)
    arrays = [a, m["a"], ndshm.open(a.handle), pickle.loads(pickle.dumps(a)), ndshm.open(a.path)]
    for found in [*arrays, m.load(tmp_path / "a.npy")]:
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
        np.testing.assert_array_equal(np.asarray(found), wanted)
        with found.read() as x:
            assert x.dtype == wanted.dtype and x.flags.f_contiguous == wanted.flags.f_contiguous
            np.testing.assert_array_equal(x, wanted)
            del x
    assert a.attrs == {"unit": "x"}
    if wanted.ndim:
        np.testing.assert_array_equal(a[::-1].to_numpy(), wanted[::-1])
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(a[::-1])).to_numpy(), wanted[::-1])
    assert m.zeros(3, wanted.dtype).to_numpy().tobytes() == bytes(3 * wanted.dtype.itemsize)


def test_a_field_has_its_own_type_in_every_process(m: ndshm.Manager) -> None:
    dtype = np.dtype([("t", "M8[ns]"), ("d", "m8[s]", (2,)), ("s", "S8"), ("u", "U2", (2,))])
    a = m.zeros(4, dtype)
    for name in ["t", "d", "s", "u"]:
        with a.read() as x:
            expected = x[name].dtype, x[name].shape
            del x
        for found in [a[name], pickle.loads(pickle.dumps(a[name])), a[1:][name]]:
            assert found.dtype == expected[0] and found.shape[1:] == expected[1][1:]
    a["t"][1] = "2024-02-29"
    assert a["t"].to_numpy()[1] == np.datetime64("2024-02-29", "ns")
    a["u"][2, 1] = "é"
    assert a["u"][2].to_numpy().tolist() == ["", "é"]
    # 12 bytes do not lie a multiple of 12 apart here, and the parts of a text are no text.
    b = m.zeros(4, [("s", "U3"), ("n", "f8")])
    with pytest.raises(TypeError, match="take it from the ndarray"):
        b["s"]
    with b.write() as x:
        x["s"] = "abc"
        del x
    assert b[0]["s"] == "abc"


BAD = ["V40000", "O", "|O", "object", "(2,)i4", "(1,)i8", "f8", "i4", "V4", "S0", ">M8[ns]", "T", 5]
BAD += ["[('a', 'O')]", "[('a', 'i8'), ('b', 'V999')]", "i4,i4", "__import__('os')", "", None, []]


@pytest.mark.parametrize("claim", BAD, ids=repr)
def test_a_claim_that_the_elements_do_not_have_is_refused(m: ndshm.Manager, claim: Any) -> None:
    # `V40000` and `O` read outside of the array.
    with pytest.raises(ValueError, match="numpy.dtype"):
        m.zeros(4, "i8", attrs={"numpy.dtype": claim})
    assert m.zeros(4, "i8", attrs={"numpy.dtype": "<M8[s]"}).dtype == "M8[s]"
    assert m.zeros(4, "V8", attrs={"numpy.dtype": "|S8"}).dtype == "S8"


def npz(path: pathlib.Path, **more: bytes) -> None:
    np.savez(path, **{"a": np.arange(3), "b/c": np.array(["x", "yz"])})
    with zipfile.ZipFile(path, "a") as archive:
        for name, data in more.items():
            archive.writestr(name.replace("_", "."), data)


def test_files_are_taken_as_far_as_they_go(m: ndshm.Manager, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.npz"
    npz(path)
    loaded = m.load(path, prefix="")
    assert list(loaded) == ["a", "b/c"]
    assert m["b%2Fc"].to_numpy().tolist() == ["x", "yz"]
    np.savez(path, allow_pickle=True, a=np.arange(3), o=np.array([{}, None]))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("README.md", "read me")
    with pytest.raises(ndshm.Transfer, match="skip_unsupported=True") as caught:
        m.load(path)
    text = str(caught.value)
    assert '"o": its elements are Python objects' in text and '"README.md": it is not' in text
    assert "::" not in text
    with pytest.warns(UserWarning, match="left 'o': .*'README.md': it is not a .npy file"):
        assert list(m.load(path, skip_unsupported=True)) == ["a"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(m.load(path, only="a")) == ["a"]
        assert list(m.load(path, only=["[a]"], skip_unsupported=True)) == ["a"]
    with pytest.raises(ndshm.Transfer, match="no key is"):
        m.load(path, only=["z*"])
    with pytest.raises(ValueError, match="format must be"):
        m.load(tmp_path / "x.txt")


def test_safetensors_are_loaded_with_their_metadata(
    m: ndshm.Manager, tmp_path: pathlib.Path
) -> None:
    header = {
        "__metadata__": {"format": "np"},
        "a.b/c": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]},
        "q": {"dtype": "F8_E5M2", "shape": [1], "data_offsets": [2, 3]},
    }
    text = json.dumps(header).encode()
    path = tmp_path / "weights"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes([1, 2, 3]))
    with pytest.warns(UserWarning, match="F8_E5M2"):
        loaded = m.load(path, format="safetensors", skip_unsupported=True)
    assert loaded["a.b/c"].to_numpy().tolist() == [1, 2]
    assert loaded["a.b/c"].attrs == {"safetensors.metadata": {"format": "np"}}
