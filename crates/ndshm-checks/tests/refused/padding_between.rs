use ndshm::Element;

#[derive(Clone, Copy, Element)]
#[repr(C)]
struct Gap {
    small: u8,
    large: f64,
}

fn main() {}
