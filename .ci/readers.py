"""Reads the checkpoints of .ci/readers by zarr-python, xarray and tensorstore, and prints a table.

Each cell says in how many of the groups (plain, zstd, sharded, ...) all arrays of the kind were
equal. Fails where a cell is not full, except Zarr's struct in zarr-python before 3.4.
"""

import json
import pathlib
import sys
import warnings

import numpy as np
import tensorstore
import xarray
import zarr

directory = pathlib.Path(sys.argv[1])
described = json.loads((directory / "expected.json").read_text())
warnings.simplefilter("ignore")


def by_zarr(path):
    group = zarr.open_group(path, mode="r")
    return lambda node: group[node][...]


def by_xarray(path):
    # Datasets of nested groups are opened one by one.
    opened = {}

    def read(node):
        group, _, name = node.rpartition("/")
        if group not in opened:
            opened[group] = xarray.open_zarr(
                path, group=group or None, chunks=None, decode_cf=False, consolidated=not group
            )
        return opened[group][name].values

    return read


def by_tensorstore(path):
    def read(node):
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path}/{node}"}}
        return tensorstore.open(spec).result().read().result()

    return read


READERS = {"zarr": by_zarr, "xarray": by_xarray, "tensorstore": by_tensorstore}
counts = {}
failed = False
for group in described["groups"]:
    for reader, open_group in READERS.items():
        read = open_group(group["path"])
        wrong = set()
        kinds = set()
        for node, entry in described["arrays"].items():
            expected = np.frombuffer((directory / entry["raw"]).read_bytes(), entry["dtype"])
            expected = expected.reshape(entry["shape"])
            kinds.add(entry["kind"])
            try:
                found = np.asarray(read(node))
                # By their bytes: NaN is as good as any other value.
                equal = (
                    found.dtype == expected.dtype
                    and found.shape == expected.shape
                    and found.tobytes() == expected.tobytes()
                )
                reason = f"{found.dtype} {found.shape}"
            except Exception as error:  # noqa: BLE001
                equal, reason = False, f"{type(error).__name__}: {error}"
            if not equal:
                wrong.add(entry["kind"])
                print(f"{reader}, {group['name']}, {node} ({entry['kind']}): {reason}")
        for kind in kinds:
            good = counts.setdefault(kind, dict.fromkeys(READERS, 0))
            good[reader] += kind not in wrong
of = len(described["groups"])
python = sys.version.split()[0]
print(f"Python {python}, zarr {zarr.__version__}, xarray {xarray.__version__}, tensorstore")
for kind, good in sorted(counts.items()):
    print(f"{kind:32}", "  ".join(f"{reader} {good[reader]}/{of}" for reader in READERS))
    failed |= any(number != of for number in good.values())

# xarray decodes times by their attributes.
path = described["groups"][0]["path"]
times = xarray.open_zarr(path, chunks=None)["t19-C3"]
assert times.dtype.kind == "M", times.dtype

is_new = tuple(map(int, zarr.__version__.split(".")[:2])) >= (3, 4)
try:
    points = zarr.open_group(described["struct"], mode="r")["points"][...]
    raw = (directory / described["arrays"]["points/n.b"]["raw"]).read_bytes()
    structs = points["n"]["b"].tobytes() == raw
except Exception as error:  # noqa: BLE001
    structs = False
    print(f"zarr, struct: {type(error).__name__}")
print(f"{'structs as struct':32} zarr {'yes' if structs else 'no'}")
sys.exit(failed or structs != is_new)
