use ndshm::Element;

#[derive(Clone, Copy, Element)]
#[repr(C)]
struct End {
    large: f64,
    small: u8,
}

fn main() {}
