"""Tensors of shared memory, and batches through rings, with torch's own DataLoader."""

from __future__ import annotations

import gc
import os
import pickle
import resource
import signal
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from nodes import eventually

import ndshm

torch = pytest.importorskip("torch")
from torch.utils.data import DataLoader, Dataset

import ndshm.torch as shared

ROWS = np.arange(100 * 6, dtype="f4").reshape(100, 2, 3)
LABELS = np.arange(100)


@pytest.fixture(autouse=True)
def warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # torch warns about its own parts and about processes that fork with threads.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        yield


@pytest.fixture
def m() -> Iterator[ndshm.Manager]:
    with ndshm.Manager() as manager:
        yield manager


@pytest.fixture
def dataset(m: ndshm.Manager) -> shared.FrozenDataset:
    arrays = [m.array(ROWS, name="x"), m.array(LABELS, name="y")]
    for array in arrays:
        array.freeze()
    return shared.FrozenDataset(*arrays)


def test_a_tensor_of_a_write_guard_writes_the_array(m: ndshm.Manager) -> None:
    a = m.array(ROWS)
    with a.write() as x:
        t = shared.tensor(x)
        t += 1
        del t
    assert (a.to_numpy() == ROWS + 1).all()
    with pytest.raises(BufferError):
        with a[0].write() as x:
            kept = shared.tensor(x)
    del kept


@pytest.mark.parametrize("end", ["frozen", "mapped", "view", "reversed"])
def test_a_tensor_of_a_frozen_array_reads_it_and_never_crashes(m: ndshm.Manager, end: str) -> None:
    a = m.array(ROWS)
    with pytest.raises(ndshm.NotFrozen, match=r"a\.write"):
        shared.tensor(a)
    mapped = a.freeze()
    views = {"view": mapped[3:, :, ::2], "reversed": mapped[:, ::-1]}
    source = {"frozen": a, "mapped": mapped, **views}
    wanted = np.array(source[end])
    if end == "reversed":
        # torch has no negative strides.
        with pytest.raises(ValueError, match="stride"):
            shared.tensor(source[end])
        return
    t = shared.tensor(source[end])
    np.testing.assert_array_equal(t.numpy(), wanted)
    t.mul_(2)
    np.testing.assert_array_equal(t.numpy(), 2 * wanted)
    np.testing.assert_array_equal(mapped, ROWS)
    a.release()
    assert (shared.tensor(mapped[1:]) == torch.from_numpy(ROWS[1:])).all()
    del mapped, a, source, views
    gc.collect()
    np.testing.assert_array_equal(t.numpy(), 2 * wanted)


@pytest.mark.parametrize("kept", ["tensor", "slice", "row", "numpy", "dlpack", "dataset", "item"])
@pytest.mark.parametrize("end", ["drop", "release"])
def test_what_is_kept_of_a_frozen_array_keeps_its_values(
    m: ndshm.Manager, kept: str, end: str
) -> None:
    """The store uses the files of arrays that are gone for new arrays of the same size."""
    take: Any = {
        "tensor": shared.tensor,
        "slice": lambda a: shared.tensor(a.freeze()[1:3]),
        "row": lambda a: shared.tensor(a)[-1],
        "numpy": lambda a: shared.tensor(a).numpy()[::2],
        "dlpack": lambda a: np.from_dlpack(shared.tensor(a)[1:]),
        "dataset": shared.FrozenDataset,
        "item": lambda a: shared.FrozenDataset(a)[2],
    }[kept]
    for length in (4, 100, 4_000, 60_000):
        a = m.full((length, 2), 1.0)
        a.freeze()
        found = take(a)
        if end == "release":
            a.release()
        del a
        gc.collect()
        others = [m.full((length, 2), 7.0) for _ in range(5)]
        if kept == "dataset":
            found = found[-1]
        # Its pages were not touched before.
        assert (np.asarray(found) == 1).all(), length
        del others, found


def test_tensors_of_what_is_only_read_are_copies(m: ndshm.Manager) -> None:
    a = m.array(ROWS)
    with a.read() as x:
        t = shared.tensor(x)
    t += 1
    assert (a.to_numpy() == ROWS).all()
    assert shared.tensor(np.zeros(3)).sum() == 0
    assert shared.tensor(m.zeros((0, 3)).freeze()).shape == (0, 3)
    with pytest.raises(TypeError):
        shared.tensor(m.array(np.zeros(3, "f4,i2")).freeze())


@pytest.mark.parametrize("why", ["deleted", "no memory"])
def test_rows_are_copied_where_an_array_is_not_mapped_again(m: ndshm.Manager, why: str) -> None:
    a = m.zeros((64, 1 << 18), "u1")
    with a.write() as x:
        x[5] = 5
    mapped = a.freeze()
    dataset = shared.FrozenDataset(mapped, mapped)
    limits = resource.getrlimit(resource.RLIMIT_DATA)

    def private_bytes() -> int:
        with open("/proc/self/status") as lines:
            return sum(int(line.split()[1]) for line in lines if line.startswith("VmData")) << 10

    if why == "deleted":
        a.release()
    else:
        # As where vm.overcommit_memory is 2.
        resource.setrlimit(resource.RLIMIT_DATA, (private_bytes() + mapped.nbytes // 2, limits[1]))
    try:
        before = private_bytes()
        one, other = dataset[5]
        used = private_bytes() - before
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, limits)
    assert used < mapped.nbytes // 2
    one += 1
    assert (one == 6).all() and (other == 5).all() and (mapped[5] == 5).all()
    assert (dataset[-59][0] == 5).all() and (shared.tensor(mapped)[5] == 5).all()


def test_the_items_of_a_dataset_are_rows(m: ndshm.Manager, dataset: shared.FrozenDataset) -> None:
    assert len(dataset) == 100
    x, y = dataset[7]
    assert (x.numpy() == ROWS[7]).all() and y == 7
    again = pickle.loads(pickle.dumps(dataset))
    assert len(pickle.dumps(dataset)) < 2000 and (again[-1][0].numpy() == ROWS[-1]).all()
    named = shared.FrozenDataset(m)
    assert set(named[3]) == {"x", "y"} and named[3]["y"] == 3
    assert shared.FrozenDataset(m, names=["y"])[4] == {"y": 4}
    assert shared.FrozenDataset({"a": m["y"]})[5]["a"] == 5
    assert shared.FrozenDataset(m["y"])[6] == 6
    with pytest.raises(ndshm.NotFrozen, match="freeze"):
        shared.FrozenDataset(m.zeros(3))
    with pytest.raises(ndshm.Layout, match="length"):
        shared.FrozenDataset(m["y"], m["y"][1:])
    with pytest.raises(ndshm.Layout):
        shared.FrozenDataset(m["y"][0, ...])
    with pytest.raises(TypeError, match="frozen arrays"):
        shared.FrozenDataset(np.zeros(3))
    with ndshm.Manager() as empty, pytest.raises(ndshm.Layout, match="none with a name"):
        shared.FrozenDataset(empty)


@pytest.mark.parametrize(
    ("context", "workers"), [(None, 0), ("fork", 2), ("spawn", 2), ("forkserver", 2)]
)
@pytest.mark.parametrize("rings", [True, False])
def test_batches_have_the_rows(
    m: ndshm.Manager, dataset: shared.FrozenDataset, context: str | None, rings: bool, workers: int
) -> None:
    loader = DataLoader(
        dataset,
        batch_size=16,
        shuffle=True,
        num_workers=workers,
        multiprocessing_context=context,
        collate_fn=shared.RingCollate(m) if rings else None,
    )
    # A process that does not fork imports torch, which takes seconds.
    for _ in range(2 if context == "fork" else 1):
        seen = []
        for x, y in loader:
            assert (x.numpy() == ROWS[y.numpy()]).all()
            seen += y.tolist()
            # A batch is the training process's own.
            x.mul_(2)
        assert sorted(seen) == list(range(100))
        del x, y
    gc.collect()
    assert sorted(info.name or "" for info in m.list()) == ["x", "y"]


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_that_stay_write_the_same_rings_in_each_epoch(
    m: ndshm.Manager, dataset: shared.FrozenDataset, context: str
) -> None:
    loader = DataLoader(
        dataset,
        batch_size=5,
        shuffle=True,
        num_workers=2,
        persistent_workers=True,
        multiprocessing_context=context,
        collate_fn=shared.RingCollate(m, frames=5),
    )
    counts = []
    for _ in range(4):
        seen = []
        for x, y in loader:
            assert (x.numpy() == ROWS[y.numpy()]).all()
            seen += y.tolist()
        assert sorted(seen) == list(range(100))
        counts.append(len(m.list()))
    # Both arrays, and a ring for each field of each worker.
    assert counts == [6] * 4
    del loader, x, y
    gc.collect()
    assert sorted(info.name or "" for info in m.list()) == ["x", "y"]


def mapped_rings(m: ndshm.Manager) -> set[str]:
    """Return the paths of the store's rings that this process has mapped, deleted ones too."""
    with open("/proc/self/maps") as lines:
        mapped = {words[5] for line in lines if len(words := line.split()) > 5}
    others = {f"{m.path}/{name}" for name in (".lock", "x.ndshm", "y.ndshm")}
    return {path for path in mapped if path.startswith(m.path)} - others


@pytest.mark.parametrize(
    ("context", "stays", "is_whole"),
    [
        ("fork", False, False),
        ("fork", False, True),
        ("fork", True, False),
        ("fork", True, True),
        ("spawn", True, True),
    ],
)
def test_the_rings_of_a_loader_that_is_gone_are_not_mapped(
    m: ndshm.Manager, dataset: shared.FrozenDataset, context: str, stays: bool, is_whole: bool
) -> None:
    loader = DataLoader(
        dataset,
        batch_size=10,
        num_workers=2,
        persistent_workers=stays,
        multiprocessing_context=context,
        collate_fn=shared.RingCollate(m),
    )
    batches = iter(loader)
    kept = next(batches)
    assert mapped_rings(m)
    if is_whole:
        for batch in batches:
            del batch
    del batches, loader
    gc.collect()
    # The other worker's ring, of which no batch is kept, and then this one's.
    assert len(mapped_rings(m)) <= 2
    assert (kept[0].numpy() == ROWS[:10]).all()
    del kept
    gc.collect()
    assert not mapped_rings(m)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_dataset_of_one_array_goes_through_any_collate_function(
    m: ndshm.Manager, dataset: shared.FrozenDataset, workers: int
) -> None:
    one = shared.FrozenDataset(m["x"])
    for collate in (None, shared.RingCollate(m)):
        batches = list(DataLoader(one, 50, num_workers=workers, collate_fn=collate))
        assert (torch.cat(batches).numpy() == ROWS).all()
        del batches


class Plain(Dataset):  # type: ignore[misc, unused-ignore]
    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __len__(self) -> int:
        return 20

    def __getitem__(self, at: int) -> Any:
        if self.kind == "tensor":
            return torch.full((3,), float(at))
        if self.kind == "dict":
            return {"x": np.full(3, at), "y": at}
        if self.kind in ("bfloat16", "float8_e5m2"):
            return torch.full((3,), at, dtype=getattr(torch, self.kind))
        if self.kind == "gradient":
            return torch.full((3,), float(at), requires_grad=True)
        if self.kind == "conjugate":
            return torch.full((3,), at + 1j).conj()
        if self.kind == "mixed":
            return float(at) if at % 2 else at
        return (torch.full((3,), at), float(at)) if at >= 0 else None


@pytest.mark.parametrize("kind", ["tensor", "dict", "tuple"])
@pytest.mark.parametrize("workers", [0, 2])
def test_any_dataset_goes_through_rings(m: ndshm.Manager, kind: str, workers: int) -> None:
    collate = shared.RingCollate(m)
    for at, batch in enumerate(
        DataLoader(Plain(kind), batch_size=6, num_workers=workers, collate_fn=collate)
    ):
        first = batch if kind == "tensor" else batch["x"] if kind == "dict" else batch[0]
        assert isinstance(batch, {"tensor": torch.Tensor, "dict": dict, "tuple": tuple}[kind])
        wanted = np.arange(at * 6, min(20, at * 6 + 6))
        assert (first[:, 0].numpy() == wanted).all()


@pytest.mark.parametrize("kind", ["bfloat16", "float8_e5m2", "gradient", "conjugate", "mixed"])
@pytest.mark.parametrize("workers", [0, 1])
def test_tensors_that_numpy_does_not_take_go_through_rings(
    m: ndshm.Manager, kind: str, workers: int
) -> None:
    items = Plain(kind)
    loader = DataLoader(items, batch_size=8, num_workers=workers, collate_fn=shared.RingCollate(m))
    batches = [batch.clone() for batch in loader]
    wanted = torch.stack([torch.as_tensor(items[at]).detach().resolve_conj() for at in range(20)])
    found = torch.cat([batch.to(torch.complex64) for batch in batches])
    assert torch.equal(found, wanted.to(torch.complex64))
    assert {batch.dtype for batch in batches} == {
        torch.float64 if kind == "mixed" else wanted.dtype
    }
    assert not any(batch.requires_grad for batch in batches)


@pytest.mark.parametrize("workers", [0, 1])
def test_arrays_of_ml_dtypes_are_tensors(m: ndshm.Manager, workers: int) -> None:
    types = pytest.importorskip("ml_dtypes")
    a = m.array(np.arange(12).reshape(6, 2).astype(types.bfloat16))
    with a.write() as x:
        shared.tensor(x)[0, 0] = 100
    a.freeze()
    wanted = torch.arange(12, dtype=torch.bfloat16).reshape(6, 2)
    wanted[0, 0] = 100
    assert torch.equal(shared.tensor(a), wanted)
    assert torch.equal(shared.FrozenDataset(a)[4], wanted[4])
    loader = DataLoader(
        shared.FrozenDataset(a), 6, num_workers=workers, collate_fn=shared.RingCollate(m)
    )
    assert torch.equal(next(iter(loader)), wanted)


@pytest.mark.parametrize("workers", [0, 1])
def test_items_that_are_no_batches_are_refused(m: ndshm.Manager, workers: int) -> None:
    for kind in ("tensor", "dict", "tuple"):
        loader = DataLoader(
            Plain(kind), None, num_workers=workers, collate_fn=shared.RingCollate(m)
        )
        with pytest.raises(TypeError, match="batch_size"):
            next(iter(loader))
    with pytest.raises(TypeError, match="not of dict"):
        shared.RingCollate(m)([{"x": {"y": 1}}])


def test_batches_after_a_short_one_have_more_rows(
    m: ndshm.Manager, dataset: shared.FrozenDataset
) -> None:
    rows = [[0], [1, 2, 3], [4, 5], [6, 7, 8, 9, 10]]
    loader = DataLoader(
        dataset, batch_sampler=rows, num_workers=1, collate_fn=shared.RingCollate(m)
    )
    for wanted, (x, y) in zip(rows, loader, strict=True):
        assert y.tolist() == wanted and (x.numpy() == ROWS[wanted]).all()


def test_batches_that_the_training_process_takes_late_are_not_overwritten(
    m: ndshm.Manager,
) -> None:
    loader = DataLoader(
        Plain("tensor"),
        batch_size=1,
        num_workers=1,
        prefetch_factor=10,
        collate_fn=shared.RingCollate(m, frames=3),
    )
    batches = iter(loader)

    def are_full() -> bool:
        rings = [ndshm.open_ring(info.path) for info in m.list() if info.kind == "ring"]
        return any(ring.newest >= ring.frames for ring in rings)

    eventually(are_full, 60)
    for wanted in range(20):
        batch = next(batches)
        assert batch[0, 0] == wanted
        del batch


def test_a_batch_that_is_kept_is_not_overwritten(
    m: ndshm.Manager, dataset: shared.FrozenDataset
) -> None:
    loader = DataLoader(
        dataset, batch_size=5, num_workers=1, collate_fn=shared.RingCollate(m, frames=8)
    )
    batches = iter(loader)
    kept = [next(batches) for _ in range(4)]
    for _ in range(10):
        next(batches)
    for at, (x, y) in enumerate(kept):
        assert (y.numpy() == np.arange(at * 5, at * 5 + 5)).all()
        assert (x.numpy() == ROWS[y.numpy()]).all()


def test_a_process_that_keeps_all_batches_is_told(
    m: ndshm.Manager, dataset: shared.FrozenDataset
) -> None:
    collate = shared.RingCollate(m, frames=4, timeout=0.5)
    loader = DataLoader(dataset, batch_size=5, num_workers=1, collate_fn=collate)
    with pytest.raises(ndshm.Timeout, match="clone"):
        list(loader)


def test_batches_of_different_shapes_are_refused(m: ndshm.Manager) -> None:
    class Ragged(Plain):
        def __getitem__(self, at: int) -> Any:
            return torch.zeros(3 + at // 10)

    loader = DataLoader(
        Ragged("tensor"), batch_size=10, num_workers=1, collate_fn=shared.RingCollate(m)
    )
    with pytest.raises(ndshm.Layout, match="one shape"):
        list(loader)


class Dying(shared.RingCollate):
    def __call__(self, batch: Any) -> Any:
        made = super().__call__(batch)
        # Not while torch's queues hold their semaphores, which would stop torch itself.
        if torch.utils.data.get_worker_info().id == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return made


def test_a_killed_worker_leaves_nothing(m: ndshm.Manager, dataset: shared.FrozenDataset) -> None:
    loader = DataLoader(dataset, batch_size=5, num_workers=2, collate_fn=Dying(m))
    with pytest.raises(RuntimeError, match="killed|exited unexpectedly"):
        list(loader)
    gc.collect()
    assert len(m.list()) > 2
    m.sweep()
    assert sorted(info.name or "" for info in m.list()) == ["x", "y"]
