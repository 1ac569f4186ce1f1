use ndshm::Element;

#[derive(Clone, Copy, Element)]
#[repr(C, packed)]
struct Tight {
    small: u8,
    large: f64,
}

fn main() {}
