//! Elements and their bytes.
#![allow(unsafe_code, reason = "f64 and bytes are viewed as each other")]

/// The sum, by the same code in every process: ndarray's sum of contiguous elements.
pub fn sum(elements: &[f64]) -> f64 {
    ndarray::aview1(elements).sum()
}

/// The elements that fill the arrays: whole numbers, whose sum is exact in any order.
pub fn source(len: usize) -> Vec<f64> {
    (0..len).map(|i| (i % 1024) as f64).collect()
}

/// The bytes of elements.
pub fn bytes_of(elements: &[f64]) -> &[u8] {
    // SAFETY: f64 has no padding, and u8 any alignment; the length is that of the elements.
    unsafe { std::slice::from_raw_parts(elements.as_ptr().cast(), size_of_val(elements)) }
}

/// The elements in bytes that start at a multiple of eight.
pub fn elements_of(bytes: &[u8]) -> &[f64] {
    // SAFETY: any bytes are an f64.
    let (before, elements, after) = unsafe { bytes.align_to::<f64>() };
    assert!(
        before.is_empty() && after.is_empty(),
        "elements are aligned and whole"
    );
    elements
}
