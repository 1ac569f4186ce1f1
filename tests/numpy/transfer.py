"""The other side of tests/numpy.rs: real NumPy, ml_dtypes and safetensors.

    transfer.py check DIR   reads every file that DIR/written.json names, and compares elements,
                            shape and order
    transfer.py write DIR   writes files of every kind, and their contents into DIR/expected.json
"""

import io
import json
import pathlib
import sys

import ml_dtypes
import numpy
import safetensors.numpy


def check(directory):
    for case in json.loads((directory / "written.json").read_text()):
        path = directory / case["file"]
        if path.suffix == ".npy":
            found = numpy.load(path)
        elif path.suffix == ".npz":
            archive = numpy.load(path)
            assert archive.files == [case["key"]], (archive.files, case)
            found = archive[case["key"]]
        else:
            found = safetensors.numpy.load_file(path)[case["key"]]
        if case["dtype"] == "bfloat16" and path.suffix != ".safetensors":
            found = found.view(ml_dtypes.bfloat16)
        assert list(found.shape) == case["shape"], (found.shape, case)
        assert (found.flags.f_contiguous and not found.flags.c_contiguous) == case["fortran"], case
        if case["descr"] is not None:
            assert found.dtype == numpy.dtype(eval(case["descr"])), (found.dtype, case)
        assert filled(found, found.dtype, "C").tobytes().hex() == case["bytes"], case
    print("checked", len(json.loads((directory / "written.json").read_text())))


STRUCT = numpy.dtype(
    {
        "names": ["n", "x", "é"],
        "formats": ["u1", ("<f4", (2, 3)), [("a", "<i8"), ("b", "V3")]],
        "offsets": [1, 4, 32],
        "itemsize": 48,
    }
)
BIG_STRUCT = numpy.dtype(
    [("a", ">i2"), ("b", "u1"), ("c", ">c16", (2,)), ("d", [("e", ">f8"), ("f", "<u4")])]
)
TYPES = ["?", "u1", "i1", "<u2", ">u2", "<i2", "<u4", ">u4", ">i4", "<u8", ">u8", "<i8"]
TYPES += ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "<c8", ">c8", "<c16", ">c16", "V5"]
TYPES += [STRUCT, BIG_STRUCT]
SHAPES = [(), (7,), (3, 4, 5), (0,), (2, 0, 3)]
REFUSED = {
    "object": numpy.array([{}, []], dtype=object),
    "field": numpy.array([(1, None)], dtype=[("a", "i4"), ("b", object)]),
}


def write(directory):
    cases = []

    def note(file, key, array, **more):
        # The bytes in the memory of an array: native, in C order.
        native = filled(array, array.dtype.newbyteorder("<"), "C")
        case = {
            "file": file,
            "key": key,
            "shape": array.shape,
            "bytes": native.tobytes().hex(),
            "itemsize": array.dtype.itemsize,
        }
        cases.append(case | more)

    number = 0
    for dtype in map(numpy.dtype, TYPES):
        for shape in SHAPES:
            count = int(numpy.prod(shape)) * dtype.itemsize
            raw = numpy.arange(count, dtype="u8").astype("u1") * 37 + 11
            raw = raw % 2 if dtype == "?" else raw
            if count:
                array = numpy.frombuffer(raw.astype("u1").tobytes(), dtype=dtype).reshape(shape)
            else:
                array = numpy.zeros(shape, dtype)
            for order in "CF":
                arranged = filled(array, dtype, order)
                number += 1
                numpy.save(directory / f"in{number}.npy", arranged)
                fortran = order == "F" and len(shape) > 1 and count > 0
                note(f"in{number}.npy", None, array, fortran=fortran)
            array = filled(array, dtype, "C")
            numpy.savez(directory / f"in{number}.npz", array)
            note(f"in{number}.npz", "arr_0", array, fortran=False)
            numpy.savez_compressed(directory / f"inc{number}.npz", a=array)
            note(f"inc{number}.npz", "a", array, fortran=False)
    for version in [(1, 0), (2, 0), (3, 0)]:
        file = f"version{version[0]}.npy"
        with open(directory / file, "wb") as out:
            numpy.lib.format.write_array(out, numpy.arange(10.0), version=version)
        note(file, None, numpy.arange(10.0), fortran=False)
    named = numpy.zeros(3, [("日本", "<i4")])
    numpy.save(directory / "names.npy", named)
    note("names.npy", None, named, fortran=False)
    names = ["bool", "uint8", "int8", "uint16", "int16", "float16", "uint32", "int32", "float32"]
    names += ["uint64", "int64", "float64", "complex64"]
    for name in names:
        array = numpy.arange(24).reshape(2, 3, 4).astype(name)
        try:
            path = directory / f"{name}.safetensors"
            safetensors.numpy.save_file({"x": array}, path, metadata={"a": "b"})
        except Exception as error:
            print("safetensors does not write", name, error)
            continue
        note(f"{name}.safetensors", "x", array, fortran=False)
    array = numpy.arange(6).astype(ml_dtypes.bfloat16)
    safetensors.numpy.save_file({"x": array}, directory / "bf16.safetensors")
    note("bf16.safetensors", "x", array.view("V2"), fortran=False)
    for name, array in REFUSED.items():
        with open(directory / f"refused-{name}.npy", "wb") as out:
            numpy.lib.format.write_array(out, array, allow_pickle=True)
        cases.append({"file": f"refused-{name}.npy", "refused": True})
    (directory / "expected.json").write_text(json.dumps(cases))
    print("wrote", len(cases))


def filled(source, dtype, order):
    """The same elements in an array of this type and order.

    NumPy does not specify the padding of a copy: here it is zero.
    """
    target = numpy.zeros(source.shape, dtype, order=order)

    def walk(source, target):
        for name in target.dtype.names:
            if target[name].dtype.names:
                walk(source[name], target[name])
            else:
                target[name] = source[name]

    if dtype.names:
        walk(source, target)
    elif source.size:
        target[...] = source
    return target


if __name__ == "__main__":
    {"check": check, "write": write}[sys.argv[1]](pathlib.Path(sys.argv[2]))
