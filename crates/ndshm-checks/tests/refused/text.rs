use ndshm::Element;

#[derive(Clone, Element)]
#[repr(C)]
struct Named {
    name: String,
}

fn main() {}
