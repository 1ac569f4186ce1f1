"""The reader in examples/, which does not use this package.

It opens golden files of every type, order and rank, and views by the text of their handles.
"""

from __future__ import annotations

import importlib.util
import os
import pathlib
from types import ModuleType

import ml_dtypes
import numpy as np
import pytest

import ndshm

ROOT = pathlib.Path(os.environ.get("NDSHM_SOURCE", pathlib.Path(__file__).parents[2]))
GOLDEN = sorted((ROOT / "tests/golden").glob("*.ndshm"))


@pytest.fixture(scope="module")
def reader() -> ModuleType:
    spec = importlib.util.spec_from_file_location("numpy_reader", ROOT / "examples/numpy_reader.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sample(k: int, name: str) -> object:
    """Return the element with this number, as `tests/golden/cases.rs` makes it."""
    kind = name.split("-")[0]
    if kind == "bool":
        return k % 3 == 0
    if kind in ("u8", "u16", "u32", "u64", "u128"):
        size = int(kind[1:]) // 8
        return {1: 256**size - 1, 2: int.from_bytes(bytes(range(1, size + 1)), "big")}.get(
            k, k % 256**size
        )
    if kind in ("i8", "i16", "i32", "i64", "i128"):
        size = int(kind[1:]) // 8
        half = 256**size // 2
        return {1: -half, 2: half - 1, 3: int.from_bytes(bytes(range(1, size + 1)), "big")}.get(
            k, -k
        )
    if kind == "u8x5":
        return bytes((16 * k + at) % 256 for at in range(5))
    if kind == "f32x3":
        return [k + at / 4 for at in range(3)]
    if kind == "f32x2x3":
        return [[k + i / 4 + j / 16 for j in range(2)] for i in range(3)]
    dtype = {
        "f16": np.float16,
        "bf16": ml_dtypes.bfloat16,
        "f32": np.float32,
        "f64": np.float64,
        "c32": np.float32,
        "c64": np.float64,
    }[kind]
    info = ml_dtypes.finfo(dtype)
    special = [
        0.0,
        -0.0,
        1.5,
        dtype(-0.1),
        info.max,
        info.smallest_normal,
        dtype("inf"),
        dtype("nan"),
    ]

    def real(k: int) -> object:
        return dtype(special[k]) if k < len(special) else dtype(k + 0.5)

    return complex(float(real(k)), float(real(k + 1))) if kind.startswith("c") else real(k)


@pytest.mark.parametrize(
    "path",
    [path for path in GOLDEN if not path.stem.startswith("struct")],
    ids=lambda path: path.stem,
)
def test_every_golden_file_has_the_elements_that_were_written(
    reader: ModuleType, path: pathlib.Path
) -> None:
    array, header = reader.open_array(str(path))
    assert (
        not array.flags.writeable and list(array.shape[: len(header["shape"])]) == header["shape"]
    )
    assert array.flags[f"{path.stem.split('-')[1].upper()}_CONTIGUOUS"] or array.ndim > len(
        header["shape"]
    )
    for k, index in enumerate(np.ndindex(*header["shape"])):
        wanted, found = sample(k, path.stem), array[index]
        if header["dtype"] in ("int128", "uint128"):
            assert (
                int.from_bytes(bytes(found), "little", signed=header["dtype"] == "int128") == wanted
            )
        elif isinstance(wanted, bytes):
            assert bytes(found) == wanted
        else:
            found, wanted = np.asarray(found), np.asarray(wanted, array.dtype)
            if array.dtype == ml_dtypes.bfloat16:
                found, wanted = found.astype("f4"), wanted.astype("f4")
            assert np.array_equal(found, wanted, equal_nan=found.dtype.kind in "fc")
    if "labels" in path.stem:
        assert header["attrs"]["Einheit"] == "µm" and len(header["dims"]) == array.ndim


def test_there_is_a_golden_file_of_every_type_that_numpy_knows() -> None:
    kinds = {path.stem.split("-")[0] for path in GOLDEN}
    assert kinds >= {
        "bool",
        "struct",
        "bf16",
        "u8x5",
        "f32x3",
        "f32x2x3",
        "f16",
        "f32",
        "f64",
        "c32",
        "c64",
        "u8",
        "u64",
        "i8",
        "i64",
        "i128",
    }


def test_structs_have_their_fields(reader: ModuleType) -> None:
    for path in (path for path in GOLDEN if path.stem.startswith("struct")):
        array, _ = reader.open_array(str(path))
        for k, index in enumerate(np.ndindex(*array.shape)):
            assert (
                array["kind"][index] == 1000 + k
                and array["inner"]["n"][index] == -k
                and array["inner"]["m"][index][1, 1] == k
            )


def test_views_are_opened_by_the_text_of_their_handles(
    reader: ModuleType, m: ndshm.Manager
) -> None:
    source = np.arange(60.0).reshape(3, 4, 5)
    a = m.array(source)
    record = m.zeros((2, 3), [("p", "f4", (3,)), ("q", "(2,3)f4"), ("n", "i4"), ("raw", "V8")])
    with record.write() as x:
        x["p"], x["n"] = np.arange(18).reshape(2, 3, 3), 7
        x["q"][..., 1, 2] = 5
    views = [
        (a, source),
        (a[1], source[1]),
        (a[::-1, 1:, ::2], source[::-1, 1:, ::2]),
        (a.T[2], source.T[2]),
        (a[1, 2, 3, ...], source[1, 2, 3]),
    ]
    views += [
        (record["p"][1], np.arange(9, 18).reshape(3, 3)),
        (record["n"][:, 1:], np.full((2, 2), 7)),
        (a[:, 4:], source[:, 4:]),
    ]
    views += [(record["q"][0, :, 1, 2], np.full(3, 5))]
    for view, wanted in views:
        array, header = reader.open_array(view.handle)
        assert (
            array.shape == wanted.shape
            and (array == wanted).all()
            and header["id"].hex == view.id.replace("-", "")
        )
        del array
    a[0] = -1
    array, _ = reader.open_array(a[0, 0].handle)
    assert array.tolist() == [-1] * 5
    del array


def test_the_rows_of_an_array_that_grows_and_the_frames_of_a_ring_are_read(
    m: ndshm.Manager, reader: ModuleType
) -> None:
    log = m.growing(3, "f4", 1000, attrs={"unit": "m"})
    for rows in [np.zeros((0, 3), "f4"), np.arange(6, dtype="f4").reshape(2, 3)]:
        log.append(rows)
        array, header = reader.open_array(log.handle)
        assert array.tolist() == log[:].tolist() and array.dtype == "f4"
    assert header["kind"] == {"growing": {}} and header["attrs"] == {"unit": "m"}
    ring = m.ring(2, 3, "u1")
    with ring.produce() as producer:
        producer.publish(np.array([5, 6], "u1"))
    frames, header = reader.open_array(ring.handle)
    assert frames.shape == (3, 2) and [5, 6] in frames.tolist()
    assert "ring" in header["kind"]
