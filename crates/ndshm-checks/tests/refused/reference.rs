use ndshm::Element;

#[derive(Clone, Copy, Element)]
#[repr(C)]
struct Name<'a> {
    name: &'a u8,
}

fn main() {}
