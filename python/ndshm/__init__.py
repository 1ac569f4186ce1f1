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

from ._checkpoints import checkpoint_contents, checkpoints
from ._errors import (
    Abandoned,
    AddressSpace,
    AlreadyExists,
    Attrs,
    Closed,
    Dtype,
    Error,
    Frozen,
    Full,
    Handle,
    Header,
    Holder,
    Interrupted,
    Io,
    Kind,
    Layout,
    Name,
    NoSpace,
    NotFound,
    NotFrozen,
    NotOwner,
    NotShared,
    PathReused,
    Poisoned,
    Rank,
    ReadOnly,
    Released,
    Timeout,
    TooManyGuards,
    TooManyMappings,
    TooManySubscribers,
    Transfer,
    Untrusted,
    WouldBlock,
    WouldDeadlock,
)
from ._manager import Manager
from ._ndshm import (
    Array,
    Atomics,
    Frame,
    FrameMut,
    GrowingArray,
    Guard,
    Guards,
    LockedArray,
    MappedArray,
    Producer,
    Request,
    ReservedRows,
    Ring,
    Subscriber,
    lock,
)
from ._open import open, open_frozen, open_growing, open_ring
from ._reports import (
    ArrayInfo,
    CheckpointContents,
    Checkpointed,
    CheckpointedArray,
    Restored,
    Swept,
    Usage,
)
from ._ring import SubscriberState

__version__ = "0.1.0"
__all__ = [
    "Abandoned",
    "AddressSpace",
    "AlreadyExists",
    "Array",
    "ArrayInfo",
    "Atomics",
    "Attrs",
    "CheckpointContents",
    "Checkpointed",
    "CheckpointedArray",
    "Closed",
    "Dtype",
    "Error",
    "Frame",
    "FrameMut",
    "Frozen",
    "Full",
    "GrowingArray",
    "Guard",
    "Guards",
    "Handle",
    "Header",
    "Holder",
    "Interrupted",
    "Io",
    "Kind",
    "Layout",
    "LockedArray",
    "Manager",
    "MappedArray",
    "Name",
    "NoSpace",
    "NotFound",
    "NotFrozen",
    "NotOwner",
    "NotShared",
    "PathReused",
    "Poisoned",
    "Producer",
    "Rank",
    "ReadOnly",
    "Released",
    "Request",
    "ReservedRows",
    "Restored",
    "Ring",
    "Subscriber",
    "SubscriberState",
    "Swept",
    "Timeout",
    "TooManyGuards",
    "TooManyMappings",
    "TooManySubscribers",
    "Transfer",
    "Untrusted",
    "Usage",
    "WouldBlock",
    "WouldDeadlock",
    "checkpoint_contents",
    "checkpoints",
    "lock",
    "open",
    "open_frozen",
    "open_growing",
    "open_ring",
]
