use ndshm::Element;

#[derive(Clone, Copy, Element)]
#[repr(C, align(16))]
struct Wide<T: Element> {
    value: T,
}

fn main() {}
