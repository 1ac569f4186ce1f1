use ndshm::Element;

#[derive(Clone, Copy, Element)]
#[repr(C)]
struct Borrowed<'a> {
    value: u64,
    of: std::marker::PhantomData<&'a u8>,
}

fn main() {}
