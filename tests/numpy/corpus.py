"""A corpus of .npy files of all kinds, which NumPy itself writes: see tests/api/numpy.rs.

    corpus.py write DIR   writes the files, and into DIR/corpus.json their elements as this machine
                          has them in C order, if NumPy reads the file without pickle
    corpus.py check DIR   compares each DIR/back-FILE with DIR/FILE: type, shape and elements
"""

import io
import json
import pathlib
import sys
import warnings

import numpy as np

SHAPES = [(), (1,), (5,), (3, 4), (2, 3, 2), (0,), (2, 0, 3)]
# Only the first and the third get all versions of the format.
VERSIONS = [(1, 0), (2, 0), (3, 0)]
UNITS = ["", "[Y]", "[M]", "[W]", "[D]", "[h]", "[m]", "[s]", "[ms]", "[us]", "[ns]", "[ps]"]
UNITS += ["[fs]", "[as]", "[25s]", "[10ms]"]

NUMBERS = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16"]
LONG = ["g", "G"]
TEXTS = ["S1", "S10", "U1", "U10"]
RAW = ["V1", "V8", "V33"]
TIMES = [kind + unit for kind in ("M8", "m8") for unit in UNITS]


def deep(levels):
    dtype = np.dtype("<i2")
    for level in range(levels):
        dtype = np.dtype([(f"level{level}", dtype), ("n", ">u4")])
    return dtype


STRUCTS = {
    "plain": [("a", ">i2"), ("b", "u1"), ("c", ">c16", (2,)), ("d", [("e", ">f8"), ("f", "<u4")])],
    "aligned": np.dtype([("a", "i1"), ("b", "f8"), ("c", "i2"), ("d", "?")], align=True),
    "holes": np.dtype(
        {"names": ["a", "b"], "formats": ["<i4", ">f4"], "offsets": [4, 16], "itemsize": 32}
    ),
    "nested-holes": np.dtype([("a", "i1"), ("b", [("c", "f8"), ("d", "i1")])], align=True),
    "titles": [(("A title", "a"), "<i4"), (("Another", "b"), "S4")],
    "unicode": [("日本", "<i4"), ("é", ">f8"), ("it's", "u1"), ('a "b"', "i1"), ("\\n\n", "i1")],
    "subarrays": [("a", "<f4", (3,)), ("b", ">i2", (2, 3)), ("c", "u1", (4,)), ("d", "V3", (2,))],
    "struct-subarray": [("a", [("b", ">i4"), ("c", "S3")], (2,)), ("d", "<f8")],
    "struct-subarray-2d": [("a", [("b", [("c", "<i2"), ("d", "U2", (2,))], (3,))], (2, 2))],
    "texts": [("name", "U10"), ("code", "S4"), ("n", "<i4")],
    "big-texts": [("name", ">U10"), ("n", ">i4"), ("names", ">U3", (2, 2))],
    "times": [("t", "<M8[ns]"), ("d", ">m8[s]"), ("day", "M8[D]", (3,)), ("g", "m8")],
    "long": [("x", "g"), ("z", "G"), ("y", "f4")],
    "zero-size-fields": [("a", "S0"), ("b", "<i4"), ("c", "V0"), ("d", "U0"), ("e", "<f4", (0,))],
    "raw": [("a", "V5"), ("b", "V1", (3,)), ("c", "i1")],
    "one": [("a", "<f8")],
    "subarray-of-one": [("a", "<f8", (1,)), ("b", "U3", (1, 1))],
    "many": [(f"field{i}", "<i2") for i in range(100)],
    "more": [(f"field{i}", "<i2") for i in range(4000)],
    "deep": deep(7),
    "deeper": deep(12),
    "bools": [("a", "?"), ("b", "?", (3,))],
    "dots": [("a.b", "<i4"), ("a", [("b", "<f8")])],
    "nothing": [],
    "holes-only": np.dtype({"names": [], "formats": [], "offsets": [], "itemsize": 8}),
}
ZERO = ["S0", "U0", "V0"]
OBJECTS = {"object": "O", "field": [("a", "<i4"), ("b", "O")], "subarray": [("a", "O", (2,))]}


def headers():
    """Headers that NumPy does not write itself, over six doubles or what they say."""
    usual = "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }"
    yield "usual", usual
    yield "long-of-python-2", "{'descr': '<f8', 'fortran_order': False, 'shape': (2L, 3L), }"
    yield "one-long", "{'descr': '<f8', 'fortran_order': False, 'shape': (6L,), }"
    yield "prefixed", "{u'descr': u'<f8', u'fortran_order': False, u'shape': (2, 3), }"
    yield "spaces", "{ 'descr' :'<f8','fortran_order':False ,  'shape':( 2,3 ) }"
    yield "order", "{'shape': (2, 3), 'fortran_order': False, 'descr': '<f8'}"
    yield "quotes", '{"descr": "<f8", "fortran_order": False, "shape": (2, 3)}'
    yield "lines", "{'descr': '<f8',\n 'fortran_order': False,\n\t'shape': (2,\n 3), }\n\n"
    yield "fortran", "{'descr': '<f8', 'fortran_order': True, 'shape': (2, 3), }"
    yield "np-int64", usual.replace("(2, 3)", "(np.int64(2), np.int64(3))")
    yield "np-bool", "{'descr': '<f8', 'fortran_order': np.False_, 'shape': (numpy.int32(6),)}"
    doubles = ["f8", "=f8", "|f8", "d", "float64", "float", "double", "<d", ">d", "=d"]
    counted = [(descr, 6) for descr in doubles]
    counted += [("i", 12), ("l", 6), ("L", 6), ("q", 6), ("h", 24), ("B", 48), ("b", 48)]
    counted += [("H", 24), ("I", 12), ("Q", 6), ("e", 24), ("f", 12), ("F", 6), ("D", 3)]
    counted += [("int32", 12), ("uint8", 48), ("int", 6), ("complex128", 3), ("bool", 48)]
    counted += [("i4", 12), ("|i1", 48), ("<i1", 48), (">u1", 48), ("<b1", 48), ("b1", 48)]
    counted += [("U2", 6), ("=U2", 6), ("S8", 6), ("<S8", 6), ("V8", 6), ("<V8", 6)]
    counted += [("M8[s]", 6), ("=m8[us]", 6), ("datetime64[D]", 6), ("<M8[7D]", 6)]
    for descr, count in counted:
        text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({count},)}}"
        yield f"descr-{descr}", text
    lists = ["[('a', 'f4'), ('b', 'i4')]", "[('a', '<f4'), ('', '|V4')]", "[('', '<f8')]"]
    lists += ["[('a', '<f4', 2)]", "[('a', '<f4', (2,))]", "[(('t', 'a'), 'i8')]"]
    lists += ["[('a', '<f4', (2L,))]", "[(u'a', u'<i4', (2,))]", "[('\\u65e5', '<i8')]"]
    for descr in lists:
        yield f"list-{descr}", f"{{'descr': {descr}, 'fortran_order': False, 'shape': (6,)}}"


def native(dtype, raw):
    """The same elements with the numbers of each in this machine's byte order."""
    rows = np.frombuffer(raw, "u1").reshape(-1, dtype.itemsize).copy()

    def swap(dtype, rows):
        if dtype.subdtype:
            base, shape = dtype.subdtype
            for i in range(int(np.prod(shape))):
                swap(base, rows[:, i * base.itemsize : (i + 1) * base.itemsize])
        elif dtype.names is not None:
            for name in dtype.names:
                part, offset = dtype.fields[name][:2]
                swap(part, rows[:, offset : offset + part.itemsize])
        elif dtype.byteorder == ">":
            width = {"U": 4, "c": dtype.itemsize // 2}.get(dtype.kind, dtype.itemsize)
            for start in range(0, dtype.itemsize, width):
                part = rows[:, start : start + width]
                part[:] = part[:, ::-1].copy()

    if dtype.names == ():
        # Padding alone, which is zero in the file. NumPy does not copy it.
        rows[:] = 0
    elif dtype.itemsize:
        swap(dtype, rows)
    return rows.tobytes()


def sample(dtype, shape, order):
    """An array of elements that differ from each other; its padding is zero."""
    size = max(int(np.prod(shape)) * dtype.itemsize, 1)
    buffer = None if dtype.hasobject else bytearray(size)
    array = np.ndarray(shape, dtype, buffer, order=order)

    def fill(array, seed):
        if array.dtype.names is not None:
            for number, name in enumerate(array.dtype.names):
                fill(array[name], seed + 17 * number)
        elif array.dtype.kind == "O":
            array[...] = None
        elif array.dtype.itemsize and array.size:
            numbers = np.arange(array.size).reshape(array.shape) * 7 + seed
            if array.dtype.kind in "SU":
                end = "é" if array.dtype.kind == "U" else "x"
                array[...] = np.char.add(numbers.astype("U6"), end)
            elif array.dtype.kind == "V":
                array[...] = (numbers.astype("U8")).astype("S8").astype(array.dtype)
            elif array.dtype.kind in "mM":
                array[...] = numbers.astype(array.dtype.newbyteorder("="))
            else:
                array[...] = (numbers % 120).astype(array.dtype)

    fill(array, 1)
    return array


def dtypes():
    for text in NUMBERS + LONG + TEXTS + RAW + TIMES:
        dtype = np.dtype(text)
        yield text, dtype
        if dtype.newbyteorder(">") != dtype:
            yield text, dtype.newbyteorder(">")
    for name, described in STRUCTS.items():
        yield name, np.dtype(described)
        yield name, np.dtype(described).newbyteorder(">")
    for text in ZERO:
        yield text, np.dtype(text)
    yield "2 MB", np.dtype("V2000000")
    for name, described in OBJECTS.items():
        yield name, np.dtype(described)


def write(directory):
    warnings.simplefilter("ignore")
    cases = []

    def note(file, kind):
        path = directory / file
        try:
            array = np.load(path, allow_pickle=False, max_header_size=1 << 20)
        except Exception as error:
            cases.append({"file": file, "kind": kind, "numpy": str(error)[:100]})
            return
        elements = native(array.dtype, array.tobytes("C")) if array.dtype.itemsize else b""
        case = {"file": file, "kind": kind, "shape": array.shape, "bytes": elements.hex()}
        if len(elements) > 1 << 20:
            case["bytes"] = "skipped"
        cases.append(case)

    number = 0
    for kind, dtype in dtypes():
        for shape in SHAPES:
            if dtype.itemsize > 1 << 20 and shape not in ((), (1,)):
                continue
            for order in "CF":
                if order == "F" and len(shape) < 2:
                    continue
                array = sample(dtype, shape, order)
                for version in VERSIONS if shape in ((), (5,)) else [None]:
                    number += 1
                    file = f"c{number}.npy"
                    try:
                        with open(directory / file, "wb") as out:
                            np.lib.format.write_array(out, array, version, allow_pickle=True)
                    except ValueError:
                        # This version cannot have the header: it is too long, or not Latin-1.
                        continue
                    note(file, f"{kind}")
    body = np.arange(6, dtype="<f8") * 0.5
    for kind, header in headers():
        for version in VERSIONS:
            for align in (1, 16, 64):
                text = header.encode("utf-8" if version == (3, 0) else "latin-1")
                width = 2 if version == (1, 0) else 4
                text += b" " * (-(8 + width + len(text)) % align) if align > 1 else b""
                number += 1
                file = f"h{number}.npy"
                start = b"\x93NUMPY" + bytes(version) + len(text).to_bytes(width, "little")
                elements = body.tobytes()
                if "'bool'" in header or "b1'" in header:
                    # Exports write booleans as 0 and 1.
                    elements = bytes(byte & 1 for byte in elements)
                (directory / file).write_bytes(start + text + elements)
                note(file, f"header {kind}")
    (directory / "corpus.json").write_text(json.dumps(cases))
    read = sum("bytes" in case for case in cases)
    print(f"wrote {len(cases)} files, of which NumPy reads {read} without pickle")


def check(directory):
    warnings.simplefilter("ignore")
    compared = 0
    for case in json.loads((directory / "corpus.json").read_text()):
        back = directory / f"back-{case['file']}"
        if "bytes" not in case or not back.exists():
            continue
        first = np.load(directory / case["file"], allow_pickle=False, max_header_size=1 << 20)
        second = np.load(back, allow_pickle=False, max_header_size=1 << 20)
        wanted = without_titles(first.dtype.newbyteorder("<"))
        assert second.dtype == wanted, (case["kind"], wanted, second.dtype)
        assert second.shape == first.shape, (case["kind"], first.shape, second.shape)
        if first.dtype.itemsize:
            elements = native(first.dtype, first.tobytes("C"))
            assert second.tobytes("C") == elements, case["kind"]
            if first.size and first.ndim > 1:
                assert second.flags.fnc == first.flags.fnc, case["kind"]
        compared += 1
    print(f"compared {compared} files that were written back")


def without_titles(dtype):
    if dtype.subdtype:
        return np.dtype((without_titles(dtype.base), dtype.shape))
    if dtype.names is None:
        return dtype
    parts = [dtype.fields[name] for name in dtype.names]
    formats = [without_titles(part[0]) for part in parts]
    offsets = [part[1] for part in parts]
    return np.dtype(
        {"names": dtype.names, "formats": formats, "offsets": offsets, "itemsize": dtype.itemsize}
    )


if __name__ == "__main__":
    {"check": check, "write": write}[sys.argv[1]](pathlib.Path(sys.argv[2]))
