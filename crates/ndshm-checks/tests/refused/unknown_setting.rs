use ndshm::Element;

#[derive(Clone, Copy, Element)]
#[repr(C)]
#[element(packed)]
struct Point {
    x: f64,
}

fn main() {}
