"""Open ndshm's array files without ndshm: python numpy_reader.py FILE_OR_HANDLE ...

It needs numpy and cbor2 only. It takes no locks: read frozen arrays, or arrays that no process
writes at that moment. The rows of an array that grows never change. Of a ring it gives all frames,
one behind the other, in the order of their places and not of their numbers.
"""

import re
import struct
import sys
from urllib.parse import unquote

import cbor2
import numpy as np


def numpy_dtype(dtype):
    """Return NumPy's type for a type in a header.

    Integers of 128 bits become raw bytes. bfloat16 needs ml_dtypes.
    """
    if isinstance(dtype, dict):
        return np.dtype({**dtype, "formats": [numpy_dtype(part) for part in dtype["formats"]]})
    if dtype == "bfloat16":
        return np.dtype(__import__("ml_dtypes").bfloat16)
    return np.dtype({"int128": "V16", "uint128": "V16"}.get(dtype, dtype))


def fingerprint(dtype):
    """Return the FNV-1a hash of 64 bits over the deterministic CBOR of a type."""
    value = 0xCBF29CE484222325
    for byte in cbor2.dumps(dtype, canonical=True):
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def parts(dtype):
    """Yield a type and the types of its fields and parts: a view may have any of them."""
    yield dtype
    if isinstance(dtype, dict):
        for part in dtype["formats"]:
            yield from parts(part)
    elif match := re.fullmatch(r"\((\d+),(.*)\)(.+)|\|V(\d+)", dtype):
        rest, scalar = match[2], match[3] or "|u1"
        yield from parts(f"({rest}{'' if ',' in rest else ','}){scalar}" if rest else scalar)


def open_array(what):
    """Return a read-only ndarray of the elements, and the header.

    The header has dtype, shape, strides (bytes), id and created, and perhaps dims and attrs.
    """
    fields = {"p": what}
    if what.startswith("ndshm1:"):
        fields = dict(field.split("=", 1) for field in what.split(":")[1:])
    data = np.memmap(unquote(fields["p"]), np.uint8, "r")
    assert bytes(data[:10]) == b"\xd9\xd9\xf7\xa6dndsh\x01", "not an array file of version 1"
    header_end, offset = struct.unpack_from("<I4xQ", data, 18)
    header = cbor2.loads(bytes(data[2183:header_end]))
    dtype, shape, strides = header["dtype"], header["shape"], header["strides"]
    if "growing" in header.get("kind", {}):
        # The number of rows is the second word of the work area, before the payload's head.
        words = (offset - len(b"gpayload@") - 64) // 64 * 64
        shape = [*struct.unpack_from("=Q", data, words + 8), *shape[1:]]
    if "o" in fields:
        dtype = next(part for part in parts(dtype) if f"{fingerprint(part):016x}" == fields["f"])
        shape, strides = ([int(n) for n in fields[key].split(",") if n] for key in "nt")
        offset += int(fields["o"])
    array = np.ndarray(shape, numpy_dtype(dtype), data, offset if 0 not in shape else 0, strides)
    return array, header


if __name__ == "__main__":
    for array, header in map(open_array, sys.argv[1:]):
        print(array.shape, array.dtype, header.get("attrs", {}), array, sep="\n")
