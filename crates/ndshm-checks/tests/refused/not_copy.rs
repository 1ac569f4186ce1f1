use ndshm::Element;

#[derive(Element)]
#[repr(C)]
struct Moved {
    x: f64,
}

fn main() {}
