use ndshm::Element;

#[derive(Clone, Copy, Element)]
struct Point {
    x: f64,
    y: f64,
}

fn main() {}
