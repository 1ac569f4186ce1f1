"""Arrays, and the ndarrays of their blocks, in the hands of other libraries.

Each library is tried as it is installed; ``.ci/libraries`` installs all of them. Not a part of
``.ci/python``, because they are large.
"""

from __future__ import annotations

import gc
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import ndshm

SOURCE = np.random.default_rng(0).random((20, 3))
LABELS = np.arange(20) % 2


@pytest.fixture
def a() -> Iterator[ndshm.Array]:
    with ndshm.Manager() as m:
        yield m.array(SOURCE)


def is_free(a: ndshm.Array) -> bool:
    """Return whether another thread may write the array."""
    gc.collect()
    entered = []

    def attempt() -> None:
        try:
            with a.write(timeout=0):
                entered.append(True)
        except ndshm.WouldBlock:
            pass

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return bool(entered)


def library(name: str) -> Any:
    return pytest.importorskip(name)


# On the array itself, and on the ndarray of a block: the same result as of an ndarray.
SAME: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "DataFrame": ("pandas", lambda pd, x: pd.DataFrame(x).to_numpy()),
    "Series": ("pandas", lambda pd, x: pd.Series(x[:, 1], copy=False).to_numpy().copy()),
    "arrow": ("pyarrow", lambda pa, x: pa.array(x[:, 1]).to_numpy()),
    "table": ("pyarrow", lambda pa, x: pa.table({"x": x[:, 0]})["x"].to_numpy()),
    "polars": ("polars", lambda pl, x: pl.Series(x[:, 1]).to_numpy()),
    "frame": ("polars", lambda pl, x: pl.DataFrame(x).to_numpy()),
    "filter": ("scipy.ndimage", lambda nd, x: nd.gaussian_filter(x, 1)),
    "svd": ("scipy.linalg", lambda la, x: la.svdvals(x)),
    "distances": ("scipy.spatial", lambda sp, x: sp.distance.cdist(x, x)),
    "sparse": ("scipy.sparse", lambda sp, x: sp.csr_matrix(x).toarray()),
    "zscore": ("scipy.stats", lambda st, x: st.zscore(x)),
    "dask": ("dask.array", lambda da, x: da.from_array(x, chunks=5).sum(axis=0).compute()),
    "dask +": ("dask.array", lambda da, x: (da.ones((20, 3), chunks=5) + x).compute()),
    "+ dask": ("dask.array", lambda da, x: (x + da.ones((20, 3), chunks=5)).compute()),
    "xarray": ("xarray", lambda xr, x: xr.DataArray(x).mean("dim_0").to_numpy()),
    "units": ("astropy.units", lambda u, x: (x * u.m).value),
    "pint": ("pint", lambda pint, x: (x * pint.UnitRegistry().m).magnitude),
    "joblib": ("joblib", lambda joblib, x: joblib.hash(np.asarray(x))),
    "torch": ("torch", lambda torch, x: torch.from_numpy(np.array(x)).sum(0).numpy()),
}


@pytest.mark.parametrize("kind", SAME)
@pytest.mark.parametrize("form", ["array", "block", "frozen"])
@pytest.mark.filterwarnings("ignore")
def test_the_result_is_that_of_an_ndarray(a: ndshm.Array, kind: str, form: str) -> None:
    name, use = SAME[kind]
    module = library(name)
    wanted = use(module, SOURCE)
    if form == "block":
        with a.read() as x:
            found = np.array(use(module, x))
        assert is_free(a)
    else:
        found = use(module, a if form == "array" else a.freeze())
    np.testing.assert_array_equal(np.asarray(found), np.asarray(wanted))


FITTED: dict[str, Callable[[Any, Any], Any]] = {
    "linear": lambda sk, x: sk.linear_model.LogisticRegression().fit(x, LABELS),
    "pca": lambda sk, x: sk.decomposition.PCA(2).fit(x),
    "forest": lambda sk, x: sk.ensemble.RandomForestClassifier(10).fit(x, LABELS),
}


@pytest.mark.parametrize("kind", FITTED)
def test_a_model_is_fitted_in_a_block(a: ndshm.Array, kind: str) -> None:
    sklearn = library("sklearn")
    for module in ("linear_model", "decomposition", "ensemble", "neighbors"):
        library(f"sklearn.{module}")
    with a.read() as x:
        model = FITTED[kind](sklearn, x)
    assert is_free(a) and model is not None
    assert FITTED[kind](sklearn, a) is not None


def test_a_model_that_keeps_its_input_is_told(a: ndshm.Array) -> None:
    neighbors = library("sklearn.neighbors")
    with pytest.raises(BufferError, match="a.to_numpy"):
        with a.read() as x:
            model = neighbors.KNeighborsClassifier().fit(x, LABELS)
    assert not is_free(a)
    del model
    assert is_free(a)
    neighbors.KNeighborsClassifier().fit(a, LABELS)
    neighbors.KNeighborsClassifier().fit(a.freeze(), LABELS)


def test_numba_compiles_and_writes(a: ndshm.Array) -> None:
    numba = library("numba")

    @numba.njit
    def add(x: Any) -> float:
        total = 0.0
        for i in range(x.shape[0]):
            x[i, 0] += 1
            total += x[i, 0]
        return total

    for _ in range(2):
        with a.write() as x:
            add(x)
        assert is_free(a)
    assert (a[:, 0].to_numpy() == SOURCE[:, 0] + 2).all()
    with pytest.raises(BufferError, match="needs|lock"):
        add(a)


@pytest.mark.filterwarnings("ignore")
def test_torch(a: ndshm.Array) -> None:
    torch = library("torch")
    data = library("torch.utils.data")
    with a.write() as x:
        torch.from_dlpack(x).add_(1)
    assert (a.to_numpy() == SOURCE + 1).all()
    with pytest.raises(BufferError, match="DLPack"):
        with a.read() as x:
            kept = torch.from_dlpack(x)
    assert kept.shape == (20, 3) and not is_free(a)
    del kept
    assert is_free(a)
    for use in (torch.from_dlpack, torch.as_tensor, torch.tensor):
        with pytest.raises(BufferError, match="a.freeze"):
            use(a)
    batch = next(iter(data.DataLoader(a, batch_size=4)))
    assert batch.shape == (4, 3)
    with_workers = data.DataLoader(a, batch_size=5, num_workers=2)
    assert (torch.cat(list(with_workers)).numpy() == SOURCE + 1).all()
    pairs = [(a[i], i) for i in range(4)]
    assert next(iter(data.DataLoader(pairs, batch_size=4)))[0].shape == (4, 3)
    frozen = a.freeze()
    for use in (torch.from_dlpack, torch.from_numpy, torch.as_tensor, torch.tensor):
        assert (use(frozen).numpy() == frozen).all()


def test_pillow_takes_the_elements_of_a_block() -> None:
    image = library("PIL.Image")
    pixels = np.arange(60, dtype="u1").reshape(4, 5, 3)
    with ndshm.Manager() as m:
        a = m.array(pixels)
        with pytest.raises((AttributeError, TypeError), match="numpy.asarray"):
            image.fromarray(a)
        with a.read() as x:
            made = image.fromarray(x)
        assert made.size == (5, 4) and is_free(a)
        for source in (np.asarray(a), a.freeze()):
            assert (np.array(image.fromarray(source)) == pixels).all()
        assert (np.array(made) == pixels).all()
        # An image of one channel does not copy its elements.
        grey = a[:, :, 0].copy()
        with pytest.raises(BufferError, match="buffer protocol"):
            with grey.read() as x:
                kept = image.fromarray(x)
        del kept
        assert is_free(grey)
        m.array(np.asarray(made), name="image")
        assert (m.open("image").to_numpy() == pixels).all()


def test_units_are_not_lost(a: ndshm.Array) -> None:
    units = library("astropy.units")
    with pytest.raises(TypeError, match="asarray"):
        a + np.ones((20, 3)) * units.m
    with pytest.raises(TypeError, match="unit"):
        a[:] = np.ones((20, 3)) * units.m


def test_pint_quantities_are_not_lost(a: ndshm.Array) -> None:
    registry = library("pint").UnitRegistry()
    for use in (
        lambda: a.__setitem__(slice(None), np.ones((20, 3)) * registry.m),
        lambda: a.__iadd__(np.ones((20, 3)) * registry.m),
    ):
        with pytest.raises(TypeError, match="unit"):
            use()


def test_dask_knows_what_changes(a: ndshm.Array) -> None:
    tokenize = library("dask.base").tokenize
    assert tokenize(a) != tokenize(a)
    a.freeze()
    assert tokenize(a) == tokenize(pickle.loads(pickle.dumps(a)))


def test_ipython_runs_a_cell_again(a: ndshm.Array) -> None:
    shell = library("IPython.core.interactiveshell").InteractiveShell.instance()
    shell.user_ns["a"] = a
    for _ in range(3):
        result = shell.run_cell(
            "with a.write() as x:\n    y = x[1]\n    y += 1\nx", store_history=True
        )
        result.raise_error()
    assert is_free(a) and shell.user_ns["y"].size == 0
    shell.run_cell("with a.write() as x:\n    raise ValueError(x[0])", store_history=True)
    assert len(a.poisoned()) == 1
    shell.run_cell("with a.recover() as x:\n    x[:] = 0", store_history=True)
    assert is_free(a)
    shell.reset(new_session=False)
