"""Reads the golden files of structs without this library, as NumPy structured arrays.

Compares their fields with the written values.
"""

import pathlib
import struct

import cbor2
import numpy as np


def load(path):
    data = path.read_bytes()
    (header_end,) = struct.unpack_from("<I", data, 18)
    (offset,) = struct.unpack_from("<Q", data, 26)
    header = cbor2.loads(data[2183:header_end])
    dtype = np.dtype(header["dtype"])
    shape, strides = header["shape"], header["strides"]
    buffer = np.memmap(path, mode="r", offset=offset, dtype=np.uint8)
    return np.ndarray(shape, dtype, buffer, strides=strides)


def expected(dtype, shape):
    array = np.zeros(shape, dtype)
    for k, index in enumerate(np.ndindex(*shape)):
        inner = (-k, [[0.5, 1.5], [2.5, k]])
        array[index] = ([k, k + 0.25, k + 0.5], -k, 1000 + k, k % 2 == 0, b"tag-\0", inner)
    return array


def main():
    files = sorted(pathlib.Path(__file__).parent.glob("struct-*.ndshm"))
    assert len(files) == 2, files
    for path in files:
        array = load(path)
        wanted = expected(array.dtype, array.shape)
        names = ("position", "charge", "kind", "visible", "tag", "inner")
        assert array.dtype.itemsize == 48 and array.dtype.names == names
        for name in array.dtype.names:
            assert (array[name] == wanted[name]).all(), (path.name, name)
        assert (array["inner"]["m"][..., 1, 1] == wanted["inner"]["m"][..., 1, 1]).all()
        order = "F" if "-f-" in path.name else "C"
        assert array.flags[f"{order}_CONTIGUOUS"], path.name
        print(f"{path.name}: {array.size} elements, all {len(array.dtype.names)} fields are equal")


main()
