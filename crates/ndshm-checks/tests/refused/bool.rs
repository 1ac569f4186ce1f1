use ndshm::Element;

#[derive(Clone, Copy, Element)]
#[repr(C)]
struct Flag {
    is_set: bool,
}

fn main() {}
