//! Tables of bad input: every test that must see such input refused takes it from here.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test binary uses another part"
)]

use ndshm::Handle;

/// Names that neither arrays nor stores can have.
pub fn names() -> Vec<String> {
    let longest = 200;
    [
        "",
        ".",
        "..",
        ".hidden",
        ".lock",
        ".ndshm-new-1-x",
        "../xs",
        "/xs",
        "a/b",
        "xs/",
        "a\0b",
        "\0",
        // An id.
        "0123456789abcdef0123456789abcdef",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain(["x".repeat(longest + 1), "é".repeat(longest / 2 + 1)])
    .collect()
}

/// Shapes of f64s that are too large for any array.
pub const SHAPES: [&[usize]; 6] = [
    &[isize::MAX as usize / 8 + 1],
    &[usize::MAX],
    &[1 << 40, 1 << 40],
    &[0, usize::MAX],
    &[1 << 40, 0, 1 << 40],
    &[usize::MAX, 2],
];

/// A view of an array of six f64s, in bytes.
pub struct View {
    pub what: &'static str,
    pub offset: usize,
    pub shape: &'static [usize],
    pub strides: &'static [isize],
}

const fn view(
    what: &'static str,
    offset: usize,
    shape: &'static [usize],
    strides: &'static [isize],
) -> View {
    View {
        what,
        offset,
        shape,
        strides,
    }
}

const MAX: isize = isize::MAX;

/// Views that do not lie inside of the array, or between its elements, with a part of the error.
pub const VIEWS: [(View, &str); 28] = {
    let below = "below offset";
    let behind = "beyond the array's 48 bytes";
    let empty_behind = "lies beyond the array's 48 bytes";
    let multiple = "is not a multiple of";
    let product = "the product of the dimensions overflows";
    [
        (view("one element over", 8, &[6], &[8]), behind),
        (view("a row over", 24, &[2, 3], &[24, 8]), behind),
        (view("an offset at the end", 48, &[1], &[8]), behind),
        (view("an offset far behind", 1 << 62, &[1], &[8]), behind),
        (
            view("an offset that wraps", usize::MAX - 7, &[1], &[8]),
            behind,
        ),
        (
            view(
                "an offset and strides that wrap",
                usize::MAX - 7,
                &[2],
                &[8],
            ),
            behind,
        ),
        (
            view("an empty view behind the end", 56, &[0], &[8]),
            empty_behind,
        ),
        (
            view("an empty view at 2^64-8", usize::MAX - 7, &[0, 5], &[8, 8]),
            empty_behind,
        ),
        (view("below the first element", 0, &[2], &[-8]), below),
        (
            view("six elements backwards from the first", 0, &[6], &[-8]),
            below,
        ),
        (
            view("six elements backwards from the fifth", 32, &[6], &[-8]),
            below,
        ),
        (view("up and down", 24, &[5, 2], &[-8, 8]), below),
        (
            view("an offset that is not aligned", 4, &[1], &[8]),
            multiple,
        ),
        (view("an offset of one", 1, &[5], &[8]), multiple),
        (
            view("a stride that is not aligned", 0, &[2], &[12]),
            multiple,
        ),
        (view("a stride of one byte", 0, &[2], &[1]), multiple),
        (view("stride -2^63", 0, &[2], &[isize::MIN]), multiple),
        (view("stride 2^63-1", 0, &[2], &[MAX]), multiple),
        (view("stride 2^63-8", 0, &[2], &[MAX - 7]), behind),
        (
            view("strides that overflow", 0, &[4], &[MAX - 7]),
            "overflow",
        ),
        (
            view(
                "strides that overflow together",
                0,
                &[2, 2],
                &[MAX - 7, MAX - 7],
            ),
            "overflow",
        ),
        (
            view("up and down 2^63", 0, &[2, 2], &[MAX - 7, -(MAX - 7)]),
            "overflow",
        ),
        (
            view("a product that overflows", 0, &[1 << 40, 1 << 40], &[0, 0]),
            product,
        ),
        (view("dimension 2^64-1", 0, &[usize::MAX], &[0]), product),
        (
            view("a zero and 2^64-1", 0, &[0, usize::MAX], &[8, 8]),
            product,
        ),
        (
            view("a zero, 2^64-1 and 2", 0, &[0, usize::MAX, 2], &[8, 8, 8]),
            product,
        ),
        (
            view(
                "an overflow that a zero hides",
                0,
                &[1 << 40, 0, 1 << 40],
                &[8, 8, 8],
            ),
            product,
        ),
        (
            view(
                "an empty view with strides that overflow",
                0,
                &[0, 4],
                &[8, MAX - 7],
            ),
            "overflow",
        ),
    ]
};

/// Views whose elements share bytes: for reading only.
pub const OVERLAPPING_VIEWS: [View; 5] = [
    view("a stride of zero", 0, &[3], &[0]),
    view("a broadcast of an array", 0, &[4, 6], &[0, 8]),
    view("a sliding window", 0, &[4, 3], &[8, 8]),
    view("rows that overlap", 0, &[2, 3], &[16, 8]),
    view("a broadcast of 2^40", 0, &[1 << 40], &[0]),
];

/// The handle with a fingerprint that no array has.
pub fn with_wrong_fingerprint(handle: &Handle) -> Handle {
    let text = handle.to_string();
    let at = text.find(":f=").expect("handles have a fingerprint") + 3;
    let (before, after) = (&text[..at], &text[at + 16..]);
    format!("{before}0123456789abcdef{after}")
        .parse()
        .expect("the text is that of a handle")
}
