use ndshm::Element;

#[derive(Clone, Copy, Element)]
#[repr(C)]
struct Nothing {
    nothing: [f64; 0],
    something: f64,
}

fn main() {}
