"""Checkpoints in a real server of S3, from Python and by the tool of the same wheel.

`.ci/s3` builds the wheel with the feature s3, and names the server by NDSHM_S3S_FS.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from nodes import eventually

import ndshm

SERVER = os.environ.get("NDSHM_S3S_FS", "")
pytestmark = pytest.mark.skipif(not SERVER, reason="NDSHM_S3S_FS names no server: .ci/s3")
URL = "s3://bucket/run"


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def server(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run a server; give its URL. This process and its children have its credentials."""
    (tmp_path / "served" / "bucket").mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [SERVER, "--access-key", "key", "--secret-key", "secret", "--host", "127.0.0.1"]
    words += ["--port", str(port), str(tmp_path / "served")]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            eventually(lambda: answers(port), 30)
            url = f"http://127.0.0.1:{port}"
            monkeypatch.setenv("AWS_ENDPOINT_URL", url)
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
            monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
            yield url
        finally:
            running.kill()


def test_a_checkpoint_goes_to_a_bucket_and_comes_back(server: str) -> None:
    values = np.arange(3_000_000.0).reshape(1000, 3000)
    with ndshm.Manager() as m:
        m.from_ndarray(values, name="xs")
        first = m.checkpoint(URL, keep=2)
        assert (first.sent, first.is_latest, first.is_compared) == (values.nbytes, True, True)
        second = m.checkpoint(URL)
        assert second.sent == 0
    assert ndshm.checkpoints(URL) == [second.id, first.id]
    assert [array.name for array in ndshm.checkpoint_contents(URL).arrays] == ["xs"]
    with ndshm.Manager() as m:
        assert m.restore(URL).names == ["xs"]
        with m.open("xs").read() as xs:
            np.testing.assert_array_equal(xs, values)


def test_the_tool_of_the_wheel_knows_buckets(server: str) -> None:
    tool = pathlib.Path(sys.executable).with_name("ndshm")
    with ndshm.Manager() as m:
        m.ones(3, name="xs")
        for words in (["checkpoint", m.path, URL], ["restore", URL, "--list"]):
            subprocess.run([tool, *words], check=True, capture_output=True)
    assert len(ndshm.checkpoints(URL)) == 1


def test_errors_are_clear(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with ndshm.Manager() as m:
        m.ones(3, name="xs")
        with pytest.raises(ndshm.Transfer, match="no latest checkpoint"):
            m.restore(URL)
        with pytest.raises(ndshm.Io, match="make the bucket first"):
            m.checkpoint("s3://none/run")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        with pytest.raises(ndshm.Io, match="AWS_SECRET_ACCESS_KEY"):
            m.checkpoint(URL)
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        with pytest.raises(ndshm.Io, match="AWS_ENDPOINT_URL"):
            m.checkpoint(URL)
        with pytest.raises(ValueError, match="has no bucket"):
            m.checkpoint("s3://")


def test_bytes_that_changed_at_the_place_make_no_array(
    server: str, tmp_path: pathlib.Path
) -> None:
    with ndshm.Manager() as m:
        m.ones(1000, name="xs")
        written = m.checkpoint(URL)
    chunk = tmp_path / "served/bucket/run" / written.id / "xs/c/0"
    chunk.write_bytes(b"x" * chunk.stat().st_size)
    with ndshm.Manager() as m:
        with pytest.raises(ndshm.Transfer, match="checksum"):
            m.restore(URL)
        assert m.list() == []


@contextlib.contextmanager
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Run a server that takes connections and never answers; give the event of the first one."""
    connected = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        kept = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    kept.append(listener.accept()[0])
                    connected.set()

        threading.Thread(target=accept, daemon=True).start()
        port = listener.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        try:
            yield connected
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for connection in kept:
                connection.close()


@pytest.mark.parametrize("verb", ["checkpoint", "restore", "checkpoints", "checkpoint_contents"])
def test_a_ctrl_c_ends_a_call_whose_server_does_not_answer(
    server: str, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """A request may take five minutes: only the signal ends it within the time of the tests."""
    with ndshm.Manager() as m:
        m.ones(3, name="xs")
        call = getattr(m, verb, None) or getattr(ndshm, verb)
        with silent(monkeypatch) as connected:

            def interrupt() -> None:
                connected.wait()
                os.kill(os.getpid(), signal.SIGINT)

            thread = threading.Thread(target=interrupt)
            thread.start()
            with pytest.raises(KeyboardInterrupt):
                call(URL)
            thread.join()
        assert [info.name for info in m.list()] == ["xs"]
