"""Opens ndshm's array files without ndshm, with numpy and cbor2 only.

Usage: python numpy_reader.py FILE_OR_HANDLE ...

It takes no locks: read arrays that are frozen, or that no process writes at the moment.
"""

import re
import struct
import sys
from urllib.parse import unquote

import cbor2
import numpy as np


def numpy_dtype(dtype):
    """NumPy's type for a type of a header, or for a part of one.

    Integers of 128 bits are raw bytes; bfloat16 needs ml_dtypes.
    """
    if isinstance(dtype, dict):
        return np.dtype({**dtype, "formats": [numpy_dtype(part) for part in dtype["formats"]]})
    if dtype == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype({"int128": "V16", "uint128": "V16"}.get(dtype, dtype))


def fingerprint(dtype):
    """FNV-1a, 64 bits, over the deterministic CBOR of the type."""
    value = 0xCBF29CE484222325
    for byte in cbor2.dumps(dtype, canonical=True):
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def parts(dtype):
    """A type, and the types of its fields and parts: a view may have any of them."""
    yield dtype
    if isinstance(dtype, dict):
        for part in dtype["formats"]:
            yield from parts(part)
    elif match := re.fullmatch(r"\((\d+),(.*)\)(.+)|\|V(\d+)", dtype):
        rest, scalar = match[2], match[3] or "|u1"
        yield from parts(f"({rest}{'' if ',' in rest else ','}){scalar}" if rest else scalar)


def open_array(name):
    """A read-only ndarray of the elements, and the header.

    The header has dtype, shape, strides (bytes), id, created, and perhaps dims and attrs.
    """
    fields = {"p": name}
    if name.startswith("ndshm1:"):
        fields = dict(field.split("=", 1) for field in name.split(":")[1:])
    data = np.memmap(unquote(fields["p"]), np.uint8, "r")
    assert bytes(data[:10]) == b"\xd9\xd9\xf7\xa6dndsh\x01", "not an array file of version 1"
    header_end, offset = struct.unpack_from("<I4xQ", data, 18)
    header = cbor2.loads(bytes(data[2183:header_end]))
    dtype, shape, strides = header["dtype"], header["shape"], header["strides"]
    if "o" in fields:
        dtype = next(part for part in parts(dtype) if f"{fingerprint(part):016x}" == fields["f"])
        shape, strides = ([int(n) for n in fields[key].split(",") if n] for key in "nt")
        offset += int(fields["o"])
    array = np.ndarray(shape, numpy_dtype(dtype), data, offset if 0 not in shape else 0, strides)
    return array, header


if __name__ == "__main__":
    for array, header in map(open_array, sys.argv[1:]):
        print(array.shape, array.dtype, header.get("attrs", {}), array, sep="\n")
