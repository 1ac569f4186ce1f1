use ndshm::Element;

#[derive(Clone, Copy, Element)]
#[repr(C)]
struct Point {
    x: f64,
    y: f64,
}

#[derive(Clone, Copy, Element)]
#[repr(C)]
struct Line {
    ends: [Point; 2],
}

fn main() {}
