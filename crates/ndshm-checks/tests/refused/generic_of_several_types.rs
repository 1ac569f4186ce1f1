use ndshm::Element;

#[derive(Clone, Copy, Element)]
#[repr(C)]
struct Tagged<T: Element> {
    value: T,
    tag: u8,
}

fn main() {}
