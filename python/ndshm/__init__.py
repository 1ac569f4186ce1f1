"""NumPy arrays that many processes share without copying.

>>> import ndshm
>>> with ndshm.Manager() as m:
...     a = m.zeros((2, 3))
...     with a.write() as x:
...         x[:] = 1
...     with a[0].read() as x:
...         print(x.sum())
3.0

An :class:`Array` and its views are pickled by reference: pass them to the functions of a process
pool as they are. Guards give access to the elements: their ndarrays are the shared memory itself
and hold its lock.
"""

from . import _errors
from ._errors import *  # noqa: F403
from ._errors import Error, Holder
from ._manager import ArrayInfo, Manager, Swept, Usage, open, open_frozen
from ._ndshm import Array, Atomics, Guard, Guards, LockedArray, MappedArray, Request, lock

__version__ = "0.1.0"
__all__ = ["Array", "ArrayInfo", "Atomics", "Guard", "Guards", "Holder", "LockedArray"]
__all__ += ["Manager", "MappedArray", "Request", "Swept", "Usage", "lock", "open", "open_frozen"]
__all__ += [
    name
    for name, value in vars(_errors).items()
    if isinstance(value, type) and issubclass(value, Error)
]
