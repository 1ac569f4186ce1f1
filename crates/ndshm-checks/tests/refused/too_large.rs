use ndshm::Element;

#[derive(Clone, Copy, Element)]
#[repr(C)]
struct Huge {
    bytes: [u8; 1_048_577],
}

fn main() {}
