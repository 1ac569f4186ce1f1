use ndshm::Element;

#[derive(Clone, Copy, Element)]
#[repr(C)]
struct Two {
    both: (f32, f32),
}

fn main() {}
