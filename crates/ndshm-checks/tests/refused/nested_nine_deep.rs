use ndshm::Element;

macro_rules! nest {
    ($outer:ident $inner:ident $($rest:ident)*) => {
        nest!($inner $($rest)*);

        #[derive(Clone, Copy, Element)]
        #[repr(C)]
        struct $outer($inner);
    };
    ($innermost:ident) => {
        #[derive(Clone, Copy, Element)]
        #[repr(C)]
        struct $innermost(f64);
    };
}

nest!(A B C D E F G H I);

fn main() {}
