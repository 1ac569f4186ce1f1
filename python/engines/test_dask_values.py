"""The kinds of values that shared arrays travel in through Dask, and the ways that they take."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import os
import pathlib
import pickle
import shutil
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from clusters import client, cluster, id_of, kind, m, names, workers  # noqa: F401
from nodes import eventually

import ndshm

pytest.importorskip("distributed")
import dask
import dask.array as da
import distributed
from dask.base import tokenize
from distributed.protocol import ToPickle
from distributed.security import Security

import ndshm.dask as shared
from ndshm import _exchange, _travel

pytestmark = pytest.mark.filterwarnings("ignore")
BOOT = str(uuid.uuid4())
STRUCT = np.dtype([("x", "f8"), ("n", "i4", (2,)), ("inner", [("t", "M8[s]")])])
SOURCES = {
    "no axes": np.array(5.0),
    "no elements": np.zeros((0, 3), "i4"),
    "no elements in F order": np.zeros((3, 0), "i4", order="F"),
    "struct": np.array([(1.5, (2, 3), ("2026-01-01",))], STRUCT),
    "struct without elements": np.zeros(0, STRUCT),
    "text": np.array(["a", "bcd"]),
    "bool": np.array([True, False]),
    "complex": np.array([1 + 2j]),
    "F order": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
}


def elsewhere(array: Any) -> Any:
    """Return the array as a machine with another kernel gets it, from this process."""
    known = _travel.reference(array, hand_over=False)
    return _travel.received(known._replace(boot=BOOT))


@pytest.mark.parametrize("source", SOURCES)
def test_every_kind_of_elements_goes_to_workers_and_back(
    client: Any, m: ndshm.Manager, source: str
) -> None:
    wanted = SOURCES[source]
    a = m.array(wanted)
    for frozen in (False, True):
        if frozen:
            a.freeze()
        back = client.submit(lambda a: a, a, pure=False).result()
        assert (kind(back), back.id, back.frozen) == ("Array", a.id, frozen)
        found = client.submit(lambda a: a.to_numpy(), a, pure=False).result()
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
        np.testing.assert_array_equal(found, wanted)
    result = client.submit(shared.share, wanted).result()
    assert result.frozen and result.dtype == wanted.dtype
    np.testing.assert_array_equal(result.to_numpy(), wanted)


@pytest.mark.parametrize("source", SOURCES)
def test_every_kind_of_elements_goes_to_another_machine(
    client: Any, m: ndshm.Manager, source: str
) -> None:
    wanted = SOURCES[source]
    a = m.array(wanted, attrs={"unit": "m"})
    remote = elsewhere(a)
    assert kind(remote) == "RemoteArray"
    assert (remote.shape, remote.dtype, remote.size) == (wanted.shape, wanted.dtype, wanted.size)
    np.testing.assert_array_equal(np.asarray(remote), wanted)
    a.freeze()
    copy = elsewhere(a)
    assert kind(copy) == "Array" and copy.id != a.id and copy.frozen
    assert (copy.dtype, copy.order, dict(copy.attrs)) == (a.dtype, a.order, {"unit": "m"})
    np.testing.assert_array_equal(copy.to_numpy(), wanted)
    assert elsewhere(a).id == copy.id
    del copy, remote
    eventually(lambda: names(shared.node_store()) == [])


@pytest.mark.parametrize("index", [np.s_[1:], np.s_[::-2, 1], np.s_[2, ...], np.s_[1, 2, ...]])
def test_a_view_is_a_result(client: Any, index: Any) -> None:
    wanted = np.arange(12.0).reshape(3, 4)

    def view() -> Any:
        return shared.share(wanted)[index]

    future = client.submit(view)
    one, two = workers(client)
    ids = [client.submit(id_of, future, workers=[at], pure=False).result() for at in (one, two)]
    found = future.result()
    assert {*ids, found.id} == {found.id} and found.frozen and found.shape == wanted[index].shape
    np.testing.assert_array_equal(found.to_numpy(), wanted[index])
    copy = elsewhere(found)
    np.testing.assert_array_equal(copy.to_numpy(), wanted[index])
    # Another view of the same array is another copy.
    assert elsewhere(found.view()).id == copy.id
    del future, found, copy
    eventually(lambda: names(shared.node_store()) == [])


@pytest.mark.parametrize("sent", ["view", "mapped"])
def test_an_array_that_was_read_for_another_machine_stays_its_owners(
    client: Any, m: ndshm.Manager, sent: str
) -> None:
    """The object that was sent is gone, and the server opens its handle in the owner's process.

    It took the owner's array for one that it had claimed, and gave it to the next opener.
    """
    a = m.ones(10)
    a.freeze()
    mapped: Any = a.freeze()
    found = _travel.array_of(mapped)
    assert found is not None
    known = _travel.reference(a[5:]) if sent == "view" else _travel.reference(found[0], of=mapped)
    del found
    copy = _travel.received(known._replace(boot=BOOT))
    assert float(copy.sum()) == (5 if sent == "view" else 10)
    assert a.scope == "local"
    del copy


def test_an_array_that_awaits_its_heir_can_be_read_again_and_again(m: ndshm.Manager) -> None:
    """Its reader became its owner, and deleted it: the next reader found nothing."""
    a = m.ones(10)
    a.scope = "remote"
    handle, wanted = a.handle, a.id
    del a
    for _ in range(2):
        assert float(_travel.open_by_id(handle).sum()) == 10
    assert names(m) == [wanted]
    assert ndshm.open(handle).scope == "local"


# What other programs send to the port of a process.


class Code:
    """A value whose unpickling makes a file."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return pathlib.Path.touch, (self.path,)


@pytest.fixture
def exchange(m: ndshm.Manager) -> Iterator[_exchange.Exchange]:
    exchange = _exchange.Exchange(m, "tcp://127.0.0.1:0", Security())
    yield exchange
    exchange.close()


def request(exchange: _exchange.Exchange, **fields: str) -> socket.socket:
    """Send a request, and return the connection."""
    host, _, port = exchange.address.partition("://")[2].rpartition(":")
    connection = socket.create_connection((host, int(port)), 10)
    text = json.dumps(fields).encode()
    connection.sendall(len(text).to_bytes(8, "little") + text)
    return connection


def test_a_stranger_runs_no_code_in_a_process(
    exchange: _exchange.Exchange, tmp_path: pathlib.Path
) -> None:
    """A message of Dask may have a pickle, which was unpickled before anything was checked."""
    ran = tmp_path / "ran"

    async def attack() -> None:
        comm = await distributed.comm.connect(exchange.address, timeout=5)
        await comm.write({"handle": ToPickle(Code(ran))})
        await comm.read()

    with pytest.raises(OSError):
        asyncio.run(attack())
    with request(exchange, handle="h", token=pickle.dumps(Code(ran)).hex()) as connection:
        assert b"token" in connection.recv(1000)
    assert not ran.exists()


def test_a_request_without_the_token_of_the_process_is_refused(
    exchange: _exchange.Exchange, m: ndshm.Manager
) -> None:
    a = m.ones(3)
    a.freeze()
    known = _travel.reference(a, hand_over=False)._replace(boot=BOOT)
    token = exchange.origin.partition("#")[2]
    assert len(token) == 32
    for wrong in ("", "#", "#" + "0" * 32, "#" + token[:-1], "#\N{SNOWMAN}"):
        with pytest.raises(_travel.Gone, match="token") as raised:
            exchange.fetch(known._replace(origin=exchange.address + wrong))
        assert token not in str(raised.value)
    with request(exchange, handle=a.handle) as connection:
        assert connection.recv(1000) == b""
    assert float(exchange.fetch(known._replace(origin=exchange.origin)).sum()) == 3


def test_a_receiver_that_takes_nothing_holds_no_lock_and_no_memory(
    exchange: _exchange.Exchange, m: ndshm.Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole array was copied into the queue of the connection, however slow that was."""
    monkeypatch.setattr(_exchange, "STALL_TIMEOUT", 1.0)
    parts: list[int] = []
    part = _exchange._Slabs.part

    def counted(self: Any, start: int, end: int) -> Any:
        parts.append(start)
        return part(self, start, end)

    monkeypatch.setattr(_exchange._Slabs, "part", counted)
    a = m.ones(100 << 17)
    token = exchange.origin.partition("#")[2]
    with request(exchange, handle=a.handle, token=token):
        eventually(lambda: parts)
        # The read guard is given back though the connection is still there.
        with a.write(timeout=60):
            pass
    assert len(parts) < 6


def test_an_origin_that_is_stopped_is_gone(
    exchange: _exchange.Exchange, m: ndshm.Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel takes connections for a stopped process, and a fetch waited for it for ever."""
    monkeypatch.setattr(_exchange, "STALL_TIMEOUT", 0.5)
    a = m.ones(3)
    a.freeze()
    with socket.create_server(("127.0.0.1", 0)) as stopped:
        origin = f"tcp://127.0.0.1:{stopped.getsockname()[1]}#token"
        known = _travel.reference(a, hand_over=False)._replace(boot=BOOT, origin=origin)
        with pytest.raises(_travel.Gone, match="sent nothing"):
            exchange.fetch(known)
    assert names(m) == [a.id]


def test_a_waiting_server_gives_signs_of_life(
    exchange: _exchange.Exchange, m: ndshm.Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_exchange, "STALL_TIMEOUT", 2.0)
    monkeypatch.setattr(_exchange, "ALIVE_SECONDS", 0.1)
    signs: list[Any] = []
    send = _exchange._send

    async def counted(writer: Any, message: Any) -> None:
        signs.append(message)
        await send(writer, message)

    monkeypatch.setattr(_exchange, "_send", counted)
    a = m.ones(3)
    known = _travel.reference(a, hand_over=False)._replace(boot=BOOT, origin=exchange.origin)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with a.write():
            fetched = pool.submit(exchange.fetch, known)
            eventually(lambda: signs.count({"waits": True}) >= 30)
        assert float(fetched.result().sum()) == 3


def test_elements_go_by_tls_where_dask_has_it(tmp_path: pathlib.Path, m: ndshm.Manager) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("the certificate is made by the program openssl")
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=ndshm"]
    words += ["-keyout", key, "-out", certificate]
    subprocess.run(words, capture_output=True, check=True)
    tls = Security(
        tls_ca_file=certificate,
        tls_worker_cert=certificate,
        tls_worker_key=key,
        require_encryption=True,
    )
    # Several slabs.
    wanted = np.random.default_rng(0).random(3 << 20)
    a = m.array(wanted)
    a.freeze()
    server = _exchange.Exchange(m, "tls://127.0.0.1:0", tls)
    known = _travel.reference(a, hand_over=False)._replace(boot=BOOT, origin=server.origin)
    for security in (tls, Security()):
        client = _exchange.Exchange(m, "tls://127.0.0.1:0", security)
        try:
            if security is tls:
                np.testing.assert_array_equal(client.fetch(known).to_numpy(), wanted)
            else:
                with pytest.raises(_travel.Gone):
                    client.fetch(known)
        finally:
            client.close()
    server.close()


def test_workers_that_are_threads_fetch_too(m: ndshm.Manager) -> None:
    """Their addresses have no host, at which no process can serve."""
    a = m.ones(3)
    a.freeze()
    with (
        distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
        shared.install(client),
    ):
        found = client.submit(lambda a: float(elsewhere(a).sum()), a).result()
        assert found == 3
        client.unregister_worker_plugin("ndshm")


class Sent:
    """A value whose pickle is a reference, which a receiver takes for another machine's."""

    def __init__(self, known: _travel.Reference) -> None:
        self.known = known

    def __reduce__(self) -> Any:
        return _travel.receive, tuple(self.known)


def test_a_machine_without_space_fails_tasks_and_no_workers(client: Any, m: ndshm.Manager) -> None:
    """The error was raised while a message was read, which ended the worker that read it."""
    a = m.ones(10)
    a.freeze()
    known = _travel.reference(a, hand_over=False)
    known = known._replace(boot=BOOT, shape=(1 << 40,), nbytes=8 << 40)
    pids = client.run(os.getpid)
    future = client.submit(lambda x: float(np.asarray(x)[0]), Sent(known))
    with pytest.raises(ndshm.NoSpace):
        future.result(60)
    assert client.run(os.getpid) == pids
    # A value of another worker, and one that a worker that is gone served.
    header = {"reference": distributed.protocol.pickle.dumps(tuple(known))}
    assert kind(shared._load(header, [])) == "RemoteArray"
    gone = tuple(known._replace(origin="tcp://127.0.0.1:1#"))
    with pytest.raises(_travel.Gone):
        shared._load({"reference": distributed.protocol.pickle.dumps(gone)}, [])


@pytest.mark.parametrize("protocol", [4, 5])
def test_memory_that_may_be_written_goes_by_value(m: ndshm.Manager, protocol: int) -> None:
    """A handle of it failed to unpickle on another machine, which ended the worker there."""
    a = m.ones((3, 4))
    with a.write() as x:
        memory = [a.unlocked(), x]
        found = pickle.loads(pickle.dumps(memory, protocol))
        a.unlocked()[...] = 2
    for one in found:
        assert type(one) is np.ndarray and (one == 1).all()


def test_what_lives_on_one_machine_raises_at_its_use_elsewhere(
    client: Any, m: ndshm.Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It raised while it was unpickled, which ended the worker that read it."""
    log, ring = m.growing(3, "f8", 1000), m.ring(4, 3, "f8")
    log.append(np.ones(3))
    values = [log, ring, m]
    uses = [
        (lambda x: float(np.asarray(x[:]).sum()), 3.0),
        (lambda x: x.id, ring.id),
        (lambda x: str(x.path), str(m.path)),
    ]
    for value, (use, wanted) in zip(values, uses, strict=True):
        assert client.submit(use, value, pure=False).result(60) == wanted
    pids = client.run(os.getpid)
    monkeypatch.setattr(_travel, "boot_id", lambda: BOOT)
    texts = [pickle.dumps(value) for value in values]
    monkeypatch.undo()
    for text, (use, _) in zip(texts, uses, strict=True):
        future = client.submit(use, pickle.loads(text), pure=False)
        with pytest.raises(_travel.Elsewhere, match=BOOT):
            future.result(60)
    # What is gone from its own machine says that.
    text = pickle.dumps(log)
    log.release()
    del log, values, value
    with pytest.raises((ndshm.Released, ndshm.NotFound)):
        pickle.loads(text).append(np.ones(3))
    assert client.run(os.getpid) == pids


def test_a_frozen_array_has_one_token_and_one_copy_whoever_sends_it(
    client: Any, m: ndshm.Manager
) -> None:
    """The text of a handle tells the scope, which another process has not."""
    a = m.array(np.arange(10.0), name="first")
    a.freeze()
    wanted = [tokenize(a), tokenize(a[5:]), tokenize(a.freeze())]
    assert wanted[0] == wanted[2] != wanted[1]

    def tokens(x: Any) -> list[str]:
        return [tokenize(x["a"]), tokenize(x["a"][5:]), tokenize(x["a"].freeze())]

    assert client.submit(tokens, {"a": a}, pure=False).result() == wanted
    copy = elsewhere(a)
    # Other processes of this machine open the copy by its name, not by one that it had before.
    assert copy.name is not None and copy.handle.endswith(f"/{copy.name}.ndshm")
    # References of other processes, and with another name.
    changes = [("s=store", "s=remote"), ("s=store", "s=local"), ("m=r", "m=w"), (":p=", ":p=/")]
    for change in changes:
        known = _travel.reference(a, hand_over=False)._replace(boot=BOOT)
        assert change[0] in known.handle
        known = known._replace(handle=known.handle.replace(*change))
        assert _travel.received(known).id == copy.id
        assert tokenize(_travel.RemoteArray(known)) == wanted[0]


def test_a_released_array_of_this_machine_is_released(client: Any, m: ndshm.Manager) -> None:
    """The error said that it lives on another machine."""
    for frozen in (False, True):
        a = m.ones(3)
        if frozen:
            a.freeze()
        text = pickle.dumps(a)
        a.release()
        del a
        found = pickle.loads(text)
        for use in (np.asarray, lambda a: a.read(), lambda a: a.sum()):
            with pytest.raises(ndshm.Released, match="of this machine was released"):
                use(found)
        del found


def test_an_array_elsewhere_is_read_as_an_array(client: Any, m: ndshm.Manager) -> None:
    a = m.array(np.arange(6.0).reshape(2, 3), attrs={"unit": "m"})
    far = elsewhere(a)
    assert kind(far) == "RemoteArray"
    assert (far.sum(), far.mean(), far.max(), far.frozen) == (15, 2.5, 5, False)
    np.testing.assert_array_equal(far.T, a.to_numpy().T)
    np.testing.assert_array_equal(far.reshape(3, 2), a.reshape(3, 2))
    np.testing.assert_array_equal(far.to_numpy(), a.to_numpy())
    assert far.astype("i4").dtype == "i4" and far.tolist() == a.tolist()
    assert [float(row.sum()) for row in far] == [3, 12]
    assert (far.order, far.strides, dict(far.attrs)) == ("C", (24, 8), {"unit": "m"})
    three = m.array(np.array(3))
    one = elsewhere(three)
    assert (float(one), int(one), bool(one), [0, 1, 2, 3][one]) == (3.0, 3, True, 3)
    with pytest.raises(ValueError, match="ambiguous"):
        bool(far)
    for use in ("write", "fill", "sort", "put", "updating"):
        with pytest.raises(_travel.Elsewhere, match="lives on another machine"):
            getattr(far, use)()
    # Not of the copy.
    assert far.name is None and far.scope is None and far.id == a.id
    for attribute in ("path", "manager"):
        with pytest.raises(_travel.Elsewhere, match="lives on another machine"):
            getattr(far, attribute)
    with pytest.raises(AttributeError, match="no attribute 'chunks'"):
        _ = far.chunks
    del far, one


SECOND = """
import sys, distributed, ndshm.dask
if __name__ == "__main__":
    with distributed.Client(sys.argv[1]) as client, ndshm.dask.install(client):
        print(ndshm.dask.node_store().path)
"""


def test_a_second_client_shares_the_store_of_the_first_one(client: Any) -> None:
    """The plugin of the second client replaced the store of all workers, and their addresses."""

    def node() -> tuple[str, Any]:
        return str(shared.node_store().path), _travel.origin

    before = client.run(node)
    kept = client.submit(shared.share, [1.0, 2.0])
    wanted = client.submit(id_of, kept).result()
    words = [sys.executable, "-c", SECOND, client.scheduler.address]
    found = subprocess.run(words, capture_output=True, text=True, check=True)
    assert found.stdout.split() == [str(shared.node_store().path)]
    assert client.run(node) == before
    assert kept.result().id == wanted


@pytest.mark.parametrize("chunks", [((1, 2, 3), (2, 3)), ((6,), (5,)), ((3, 0, 3), (5,))])
def test_chunks_lie_where_their_sizes_say(m: ndshm.Manager, chunks: Any) -> None:
    wanted = np.arange(30.0).reshape(6, 5)
    x = shared.from_array(m.array(wanted), chunks)
    assert x.chunks == chunks
    np.testing.assert_array_equal(x.compute(scheduler="synchronous"), wanted)


def test_many_chunks_take_time_by_their_number(m: ndshm.Manager) -> None:
    """Each chunk added the sizes of all before it."""
    added: list[int] = []

    class Size(int):
        """A size that counts the additions of it."""

        def __add__(self, other: Any) -> int:
            added.append(1)
            return int(self) + int(other)

        __radd__ = __add__

    sizes = (tuple(map(Size, [1] * 1000)),)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(da.core, "normalize_chunks", lambda *_, **__: sizes)
        patch.setattr(dask.base, "tokenize", lambda *_: "name")
        x = shared.from_array(m.zeros(1000), sizes)
    assert x.npartitions == 1000
    assert len(added) < 10_000


def test_arrays_in_lists_and_dictionaries_are_references(client: Any, m: ndshm.Manager) -> None:
    a, b = m.ones(1000), m.ones(1000)
    b.freeze()

    def add(values: Any) -> Any:
        x, [y, deep] = values["x"], values["more"]
        x[:] = 2
        return {"ids": [x.id, id_of(y)], "sum": deep[0].sum(), "arrays": [x, (y,)]}

    values = {"x": a, "more": [b.freeze(), (b[:10],)]}
    found = client.submit(add, values, pure=False).result()
    assert found["ids"] == [a.id, b.id] and found["sum"] == 10 and a.sum() == 2000
    assert found["arrays"][0].id == a.id
    x = dask.delayed(add)(dask.delayed({"x": a, "more": [b, [b[:10]]]}))
    assert client.compute(x).result()["sum"] == 10


def test_scattered_arrays_are_the_same_memory_everywhere(client: Any, m: ndshm.Manager) -> None:
    frozen, open_ = m.ones(1000), m.ones(1000)
    frozen.freeze()
    for broadcast in (False, True):
        futures = client.scatter([frozen, open_], broadcast=broadcast, hash=False)
        for future, a in zip(futures, (frozen, open_), strict=True):
            asked = [client.submit(id_of, future, workers=[w], pure=False) for w in workers(client)]
            assert set(client.gather(asked)) == {a.id}
        del futures, future, asked
    # Nothing was copied.
    assert names(shared.node_store()) == []


def test_persisted_chunks_are_shared_and_end(client: Any) -> None:
    x = da.arange(1000, chunks=100).map_blocks(shared.share).persist()
    distributed.wait(x)
    # And an empty one by which Dask knows their kind.
    assert len(names(shared.node_store())) == 11
    assert (x[::-1] + 1).sum().compute() == 500_500
    y = (x.reshape(10, 100).T + 0).persist()
    assert y.sum().compute() == 499_500
    del x, y
    eventually(lambda: names(shared.node_store()) == [])


@pytest.mark.parametrize("method", ["tasks", "p2p"])
@pytest.mark.parametrize("chunks", [(64, 8), (8, 64), (16, 16), (64, 64), (5, 7)])
def test_shared_chunks_are_rechunked(client: Any, method: str, chunks: Any) -> None:
    wanted = np.arange(64 * 64.0).reshape(64, 64)
    x = da.from_array(wanted, chunks=(8, 64)).map_blocks(shared.share)
    with dask.config.set({"array.rechunk.method": method}):
        found = x.rechunk(chunks).compute()
    np.testing.assert_array_equal(np.asarray(found), wanted)
    del x, found
    eventually(lambda: names(shared.node_store()) == [])


def test_a_chunk_of_slices_is_copied_once(m: ndshm.Manager) -> None:
    """NumPy copied each slice for the second axis, and then all of them for the first."""
    parts = [m.full((10, 8), at) for at in range(3)]
    for part in parts:
        part.freeze()
    nested = [[part[:, 2:4]] for part in parts]
    one = shared._concatenate(nested[0], axis=1)
    assert one is nested[0][0]
    found = da.core.concatenate3(nested)
    np.testing.assert_array_equal(found, np.repeat([0, 1, 2], 10)[:, None] * np.ones((1, 2)))
    # Any other array may be written afterwards.
    open_ = m.zeros(3)
    copy = da.core.concatenate3([open_])
    open_[:] = 1
    assert (np.asarray(copy) == 0).all()


AGAIN = """
import sys, pickle, ndshm.dask
for text in sys.argv[1:]:
    print(type(pickle.loads(bytes.fromhex(text))).__name__)
"""


def test_a_store_that_was_made_again_at_its_path_is_another_one(root: pathlib.Path) -> None:
    """A process that had sent arrays of the first store named it for those of the second one."""
    texts: list[bytes] = []
    for count in range(1, 4):
        with ndshm.Manager(root / "again", persistent=False, mode="x") as again:
            a = again.ones(3, name="a")
            texts.append(pickle.dumps(a))
            wanted = ["RemoteArray"] * (count - 1) + ["Array"]
            assert [kind(pickle.loads(text)) for text in texts] == wanted
            words = [sys.executable, "-c", AGAIN, *(text.hex() for text in texts)]
            found = subprocess.run(words, capture_output=True, text=True, check=True)
            assert found.stdout.split() == wanted
