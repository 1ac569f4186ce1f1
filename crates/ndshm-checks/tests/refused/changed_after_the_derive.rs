use macro_rules_attribute::apply;
use ndshm::Element;

macro_rules! with_a_bool {
    ($(#[$attribute:meta])* struct $name:ident { $field:ident: u8, }) => {
        $(#[$attribute])*
        struct $name {
            $field: bool,
        }
    };
}

// The macro of the derive sees a `u8`; the attribute below it makes a `bool` of it.
#[derive(Clone, Copy, Element)]
#[apply(with_a_bool!)]
#[repr(C)]
struct Flags {
    is_on: u8,
}

fn main() {}
