use macro_rules_attribute::apply;
use ndshm::Element;

macro_rules! with_a_reference {
    ($(#[$attribute:meta])* struct $name:ident<T: $bound:path> { $field:ident: T, }) => {
        $(#[$attribute])*
        struct $name<T: $bound> {
            $field: T,
            other: &'static str,
        }
    };
}

#[derive(Clone, Copy, Element)]
#[apply(with_a_reference!)]
#[repr(C)]
struct Pair<T: ndshm::Element> {
    first: T,
}

fn main() {}
