"""Shared arrays in Ray: the memory itself on one machine, by value between machines.

>>> ndshm.ray.init()  # doctest: +SKIP
>>> ray.get([actor.fill.remote(array[at : at + 10]) for at in (0, 10)])  # doctest: +SKIP

Needs the package ``ray``: ``pip install ndshm[ray]``. Arrays and their slices are arguments and
results like other values. Tasks and actors write them in place, under locks; what Ray's own object
store gives is read-only.
"""

# mypy: disable-error-code="no-untyped-call, attr-defined"

from __future__ import annotations

import copyreg
import hashlib
import os
import threading
from typing import Any

import numpy as np
import ray  # type: ignore[import-not-found, import-untyped, unused-ignore]
from ray.util import (  # type: ignore[import-not-found, import-untyped, unused-ignore]
    scheduling_strategies,
)

from . import _copies, _travel
from ._manager import Manager
from ._ndshm import Array
from ._tool import path as _tool_path
from ._travel import Elsewhere, Gone, Reference, RemoteArray

__all__ = ["Elsewhere", "RemoteArray", "init", "setup"]

_HOOK = "worker_process_setup_hook"
_lock = threading.Lock()
_manager: Manager | None = None


def init(*args: Any, runtime_env: dict[str, Any] | None = None, **keywords: Any) -> Any:
    """Start Ray or join it, as ``ray.init`` does, so that all processes of the job share arrays.

    It is ``ray.init`` with :func:`setup` as the ``worker_process_setup_hook`` of the job. Raises
    ``ValueError`` if the environment has such a hook already: call ``ndshm.ray.setup()`` in it.
    """
    if _HOOK in (runtime_env or {}):
        raise ValueError(f"runtime_env has a {_HOOK}: call ndshm.ray.setup() in it, and ray.init")
    env = {**(runtime_env or {}), _HOOK: "ndshm.ray.setup"}
    context = ray.init(*args, runtime_env=env, **keywords)
    setup()
    return context


def setup() -> None:
    """Let this process send and receive arrays. Each worker of the job calls it when it starts."""
    for kind in _travel.REDUCERS:
        copyreg.pickle(kind, _reduce)
    _travel.fetch, _travel.is_eager = _fetch, False


def _reduce(value: Any) -> Any:
    if _travel.origin is None and ray.is_initialized():
        _travel.origin = ray.get_runtime_context().get_node_id()
    return _travel.REDUCERS[type(value)](value)


class _Server:
    """An actor that reads the arrays of its machine for others."""

    def elements(self, handle: str) -> np.ndarray:
        """Return a copy of the elements of an array of this machine."""
        return _travel.open_by_id(handle).to_numpy()


def _elements(known: Reference) -> np.ndarray:
    """Return the elements of an array of another machine, from an actor there."""
    if known.origin is None:
        raise Gone(
            f"array {known.id} lives on another machine (boot {known.boot}), and was sent by a "
            "process that is none of Ray's: call ndshm.ray.init there"
        )
    try:
        server = ray.remote(_Server).options(
            name=f"ndshm-{known.origin}-{os.getpid()}",
            get_if_exists=True,
            num_cpus=0,
            scheduling_strategy=scheduling_strategies.NodeAffinitySchedulingStrategy(
                known.origin, soft=False
            ),
        )
        found = np.asarray(ray.get(server.remote().elements.remote(known.handle)))
    except (ValueError, ray.exceptions.RayError) as error:
        raise Gone(
            f"array {known.id} lives on another machine (boot {known.boot}, node {known.origin}), "
            f"and its elements cannot be had: {error}"
        ) from None
    return found


def _fetch(known: Reference) -> Array:
    """Return a frozen array of this machine with the elements of an array of another one."""
    manager = _node_store()

    def fill(name: str) -> Array:
        made = manager.array(_elements(known), name=name, scope="local")
        made.freeze()
        return made

    return _copies.shared_copy(manager, known, fill)


def _node_store() -> Manager:
    """Return the store of the copies that the workers of this machine share."""
    global _manager
    with _lock:
        if _manager is None:
            context = ray.get_runtime_context()
            session = f"{context.gcs_address} {context.get_job_id()} {context.get_node_id()}"
            name = "ray-" + hashlib.sha256(session.encode()).hexdigest()[:16]
            janitor = bool(os.environ.get("NDSHM_JANITOR")) or _tool_path() is not None
            _manager = Manager(name=name, persistent=False, janitor=janitor)
            # The workers of a machine end in any order.
            _manager.disown()
        return _manager
