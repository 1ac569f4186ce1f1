//! The compiled part of the Python package of ndshm: its classes, such as `Array`, `Guard`
//! and `Manager`.
//!
//! It is a layer over the library's public interface, mostly over [`AnyArray`](ndshm::AnyArray).
//! The rest of the package is written in Python.
//!
//! A module imports only from modules above it in this list (`python/tests/test_layers.py` holds
//! that):
//!
//! | module | owns |
//! | --- | --- |
//! | `signals` | signals during waits |
//! | `error` | exceptions for the library's errors |
//! | `dtype`, `arguments`, `index`, `strides` | Python's values and the library's |
//! | `attrs` | the attributes of arrays |
//! | `nested` | values in containers |
//! | `slots` | classes that are made from slots at run time |
//! | `pickle` | managers as text |
//! | `turn` | the turn to produce frames, and the frame that is reserved |
//! | `room` | rows that are reserved in an array that grows |
//! | `export` | NumPy arrays over shared memory |
//! | `mapped` | the class `MappedArray`: ndarrays that are pickled by reference |
//! | `enclosing` | the `with` blocks that enclose a wait |
//! | `locked` | the ndarrays of guards: the class `LockedArray`, and the end of its lock |
//! | `lock` | waiting for a guard of the library |
//! | `array` | the class `Array`, without its Python methods |
//! | `block` | the start and the end of a `with` block over guards |
//! | `guard` | the class `Guard` |
//! | `atomics` | the class `Atomics` |
//! | `together` | the function `lock`, and the classes `Request` and `Guards` |
//! | `compute` | calls of NumPy with shared arrays |
//! | `methods` | the Python methods of `Array` and `Keeper` |
//! | `ring` | the classes `Ring`, `Producer`, `FrameMut`, `Subscriber` and `Frame` |
//! | `growing` | the classes `GrowingArray` and `ReservedRows` |
//! | `manager` | the class `Manager` |

mod arguments;
mod array;
mod atomics;
mod attrs;
mod block;
mod compute;
mod dtype;
mod enclosing;
mod error;
mod export;
mod growing;
mod guard;
mod index;
mod lock;
mod locked;
mod manager;
mod mapped;
mod methods;
mod nested;
mod pickle;
mod ring;
mod room;
mod signals;
mod slots;
mod strides;
mod together;
mod turn;

use pyo3::prelude::*;

/// The compiled part of `ndshm`.
#[pymodule(gil_used = true)]
mod _ndshm {
    #[pymodule_export]
    use crate::{
        array::{
            Array,
            foreign::refuse_value,
            ndarrays::{reduce_mapped, unpickle_mapped},
            open::{open, open_path, unpickle_array, wait_frozen},
        },
        atomics::Atomics,
        export::Keeper,
        growing::{GrowingArray, ReservedRows, open_growing, open_growing_path, unpickle_growing},
        guard::Guard,
        manager::{
            Manager,
            checkpoint::{checkpoint_contents, checkpoint_ids},
        },
        ring::{
            FrameMut, Producer, Ring, Subscriber, Waiter, open_ring, open_ring_path, unpickle_ring,
        },
        together::{Guards, Request, lock},
    };
    use pyo3::{prelude::*, types::PyDict};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::signals::install();
        let options = PyDict::new(module.py());
        let after_fork = wrap_pyfunction!(crate::locked::after_fork_in_child, module)?;
        options.set_item("after_in_child", after_fork)?;
        let os = module.py().import("os")?;
        os.call_method("register_at_fork", (), Some(&options))?;
        module.add("MappedArray", crate::mapped::class(module.py())?)?;
        crate::ring::add_to(module)?;
        crate::locked::add_to(module)
    }
}
