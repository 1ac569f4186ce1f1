"""Stores: their places, their names, damaged files, core dumps."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

import ndshm


def test_stores_by_path_stay_and_ephemeral_ones_go(m: ndshm.Manager) -> None:
    import pathlib

    path = pathlib.Path(m.path).parent / "persistent"
    with ndshm.Manager(path) as p:
        p.array([1.0, 2.0], name="xs")
        assert not p.is_owner and "xs" in p and "ys" not in p and 3 not in p
    with ndshm.Manager(str(path)) as p:
        assert (
            p["xs"].to_numpy().tolist() == [1, 2]
            and [info.name for info in p.list()] == ["xs"]
            and p.list()[0].shape == (2,)
        )
        assert (
            p.open_or_zeros("xs", 2).to_numpy().tolist() == [1, 2]
            and p.open_or_zeros("new", (2, 2), "i4").dtype == np.int32
        )
        with pytest.raises(ndshm.Layout):
            p.open_or_zeros("xs", 3)
        with pytest.raises(ndshm.Dtype):
            p.open_or_zeros("xs", 2, "i8")
        for kind, shape in [("M8[us]", (2,)), ("(3,)f4", (2,)), ("u1,f8", (2, 2)), ("f4", ())]:
            made = p.open_or_zeros("other", shape, kind)
            again = p.open_or_zeros("other", shape, kind)
            assert again.id == made.id and again.dtype == np.dtype(kind).base, kind
            p.remove("other")
        p.open_or_zeros("other", 2, "M8[us]")
        with pytest.raises(ndshm.Dtype):
            p.open_or_zeros("other", 2, "i8")
        p.remove("other")
        assert p.usage().arrays == 2 and p.sweep().skipped == ()
        p.remove("new")
        with pytest.raises(KeyError):
            p["new"]
        with pytest.raises(FileExistsError):
            p.zeros(1, name="xs")
        with pytest.raises(ndshm.Name):
            p.zeros(1, name="../x")
        with pytest.raises(ndshm.AlreadyExists):
            ndshm.Manager(path, mode="x")
        p.close()
    assert not path.exists()
    with pytest.raises(FileNotFoundError):
        ndshm.Manager(path, mode="r+")
    q = ndshm.Manager()
    a = q.zeros(1)
    q.leave()
    with pytest.raises(ndshm.Closed):
        q.zeros(1)
    assert "closed" in repr(q) and a.to_numpy().tolist() == [0]
    k = ndshm.Manager()
    kept = k.persist()
    k.leave()
    ndshm.Manager(kept, mode="r+").close()


def test_one_damaged_file_does_not_hide_the_others(m: ndshm.Manager) -> None:
    """One damaged file made ``list`` and ``usage`` fail for the whole store."""
    m.zeros(3, name="xs")
    bad = pathlib.Path(m.zeros(3, name="bad").path)
    with bad.open("r+b") as file:
        file.seek(68)
        file.write(b"\x07")
    assert [info.name for info in m.list()] == ["xs"] and m.usage().arrays == 1
    (error,) = m.damaged()
    assert isinstance(error, ndshm.Header) and str(bad) in str(error)
    assert "bad" in m and "xs" in m and "typo" not in m
    bad.unlink()
    assert m.damaged() == []


@pytest.mark.parametrize("wanted", [None, False, True])
def test_core_dumps_have_arrays_only_on_request(wanted: bool | None) -> None:
    with ndshm.Manager(core_dumps=wanted) as manager:
        # Smaller ones are a small part of a dump.
        array = manager.zeros(8192)
        flags = []
        is_of_array = False
        for line in pathlib.Path("/proc/self/smaps").read_text().splitlines():
            if "-" in line.split()[0]:
                is_of_array = line.endswith(array.path)
            elif is_of_array and line.startswith("VmFlags:"):
                flags.append("dd" in line.split())
        assert flags == [wanted is not True]
        array.release()


def test_a_cell_can_run_twice(m: ndshm.Manager) -> None:
    for _ in range(2):
        made = [
            m.zeros((2, 3), name="z", exist_ok=True),
            m.ones(3, name="o", exist_ok=True),
            m.array([1, 2], name="a", exist_ok=True),
            m.zeros(2, [("x", "f8")], name="s", exist_ok=True),
            m.zeros(2, "(3,)f4", name="p", exist_ok=True),
        ]
        assert [a.shape for a in made] == [(2, 3), (3,), (2,), (2,), (2, 3)]
        made[0][:] = 5
    assert (m["z"].to_numpy() == 5).all() and list(m) == ["z", "o", "a", "s", "p"]
    assert m.zeros((2, 3), name="z", exist_ok=True)[0, 0] == 5
    with pytest.raises(ndshm.Layout):
        m.zeros((3, 2), name="z", exist_ok=True)
    with pytest.raises(ndshm.Dtype):
        m.zeros((2, 3), "f4", name="z", exist_ok=True)
    with pytest.raises(ndshm.AlreadyExists):
        m.zeros((2, 3), name="z", exist_ok=False)


def test_a_disowned_store_lasts_until_its_last_process_is_gone() -> None:
    with ndshm.Manager() as owner:
        path = owner.path
        member = ndshm.Manager(path)
        assert owner.is_owner
        owner.disown()
        assert not owner.is_owner
        owner.disown()
        with pytest.raises(ndshm.NotOwner):
            owner.close()
        a = member.ones(3, name="a")
    assert a.sum() == 3 and pathlib.Path(path).exists()
    del a
    member.leave()
    assert pathlib.Path(path).exists()
    with ndshm.Manager() as other:
        other.sweep()
    assert not pathlib.Path(path).exists()
