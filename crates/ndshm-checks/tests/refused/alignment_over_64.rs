use ndshm::Element;

#[derive(Clone, Copy, Element)]
#[repr(C, align(128))]
struct Page {
    bytes: [u8; 128],
}

fn main() {}
