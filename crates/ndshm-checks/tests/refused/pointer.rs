use ndshm::Element;

#[derive(Clone, Copy, Element)]
#[repr(C)]
struct Node {
    next: *const u8,
}

fn main() {}
