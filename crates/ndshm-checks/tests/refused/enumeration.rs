use ndshm::Element;

#[derive(Clone, Copy, Element)]
#[repr(u8)]
enum State {
    On,
    Off,
}

fn main() {}
