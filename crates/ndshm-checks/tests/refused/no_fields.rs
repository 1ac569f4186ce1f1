use ndshm::Element;

#[derive(Clone, Copy, Element)]
#[repr(C)]
struct Empty {}

fn main() {}
