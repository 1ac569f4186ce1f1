use ndshm::Element;

#[derive(Clone, Copy, Element)]
#[repr(C)]
struct Timed {
    after: std::time::Duration,
}

fn main() {}
