"""Saves and loads arrays by NumPy and safetensors, for the binary `transfers`.

Each line of the standard input names a variant and a path. The answer is a line with the seconds
that the call took.
"""

import os
import sys
import time
import zipfile

import numpy as np
from safetensors.numpy import load_file, save_file


def arrays(base):
    plain = np.load(base)
    return {
        "plain": plain,
        "fortran": np.asfortranarray(plain.reshape(-1, 4096)),
        "strided": plain.reshape(-1, 2)[:, 0],
    }


def replace(path, elements):
    new = path + ".new.npy"
    np.save(new, elements)
    os.replace(new, path)


def load_npz(path):
    with np.load(path) as file:
        return file["x"]


def main():
    base, compressed_len = sys.argv[1], int(sys.argv[2])
    known = arrays(base)
    small = known["plain"][:compressed_len]
    calls = {
        "numpy.save": lambda path: np.save(path, known["plain"]),
        "numpy.save and os.replace": lambda path: replace(path, known["plain"]),
        "numpy.save strided": lambda path: np.save(path, known["strided"]),
        "numpy.savez": lambda path: np.savez(path, x=known["plain"]),
        "numpy.savez_compressed": lambda path: np.savez_compressed(path, x=small),
        "safetensors.save_file": lambda path: save_file({"x": known["plain"]}, path),
        "numpy.save of a C-ordered copy": lambda path: np.save(
            path, np.ascontiguousarray(known["fortran"])
        ),
        "numpy.load": np.load,
        "numpy.load npz": load_npz,
        "safetensors.load_file": load_file,
        "zipfile.testzip": lambda path: zipfile.ZipFile(path).testzip(),
    }
    print("ready", flush=True)
    for line in sys.stdin:
        name, path = line.rstrip("\n").split("\t")
        # An open file, so that numpy.save adds no suffix to the path.
        start = time.perf_counter()
        if "save" in name and "safetensors" not in name and "replace" not in name:
            with open(path, "wb") as file:
                result = calls[name](file)
        else:
            result = calls[name](path)
        seconds = time.perf_counter() - start
        del result
        print(seconds, flush=True)
    os._exit(0)


main()
