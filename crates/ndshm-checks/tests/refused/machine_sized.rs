use ndshm::Element;

#[derive(Clone, Copy, Element)]
#[repr(C)]
struct Count {
    count: [usize; 4],
}

fn main() {}
