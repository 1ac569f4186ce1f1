//! Every type of element, through every way that an array travels.

use super::*;

/// Makes, hands over, opens, checks the type, the bytes and the file.
fn travels<T: Element + PartialEq + std::fmt::Debug>(
    manager: &Manager,
    dtype: &str,
    values: [T; 3],
) {
    let array = manager.from_ndarray(&Array::from(values.to_vec())).unwrap();
    let opened: SharedArray1<T> = array
        .handle()
        .to_string()
        .parse::<Handle>()
        .unwrap()
        .open()
        .unwrap();
    assert_eq!(opened.read().unwrap().to_vec(), values);
    assert_eq!(
        (opened.dtype().to_string(), opened.dtype()),
        (dtype.to_owned(), dtype.parse::<DType>().unwrap())
    );
    opened
        .slice(s![1..])
        .unwrap()
        .write()
        .unwrap()
        .fill(values[0]);
    assert_eq!(array.read().unwrap().to_vec(), [values[0]; 3]);
    let file = std::fs::read(array.path()).unwrap();
    let bytes: Vec<u8> = [values[0]; 3]
        .iter()
        .flat_map(|value| bytemuck::bytes_of(value).to_vec())
        .collect();
    assert!(file.ends_with(&bytes) && (file.len() - bytes.len()).is_multiple_of(common::page()));
    if dtype != "|u1" {
        assert!(matches!(
            array.handle().open::<u8, Ix1>(),
            Err(Error::Dtype { found, .. }) if found == T::DTYPE
        ));
    }
}

#[test]
fn every_type_of_element_travels() {
    let root = Root::new();
    let manager = &root.manager();
    travels(manager, "|b1", [true, false, true].map(Bool::from));
    travels(manager, "|u1", [1u8, 0, 255]);
    travels(manager, "|i1", [1i8, -128, 127]);
    travels(manager, "<u2", [1u16, 0, u16::MAX]);
    travels(manager, "<i2", [1i16, i16::MIN, i16::MAX]);
    travels(manager, "<u4", [1u32, 0, u32::MAX]);
    travels(manager, "<i4", [1i32, i32::MIN, i32::MAX]);
    travels(manager, "<u8", [1u64, 0, u64::MAX]);
    travels(manager, "<i8", [1i64, i64::MIN, i64::MAX]);
    travels(manager, "uint128", [1u128, 0, u128::MAX]);
    travels(manager, "int128", [1i128, i128::MIN, i128::MAX]);
    #[cfg(feature = "half")]
    {
        travels(
            manager,
            "<f2",
            [1.5, -0.25, 65504.0].map(half::f16::from_f32),
        );
        travels(
            manager,
            "bfloat16",
            [1.5, -0.25, 1e30].map(half::bf16::from_f32),
        );
    }
    travels(manager, "<f4", [1.5f32, f32::MIN, f32::INFINITY]);
    travels(manager, "<f8", [1.5f64, f64::MIN, f64::INFINITY]);
    #[cfg(feature = "complex")]
    {
        use num_complex::Complex;
        travels(
            manager,
            "<c8",
            [
                Complex::new(1.0f32, 2.0),
                Complex::new(0.0, -1.0),
                Complex::ZERO,
            ],
        );
        travels(
            manager,
            "<c16",
            [
                Complex::new(1.0f64, 2.0),
                Complex::new(0.0, -1.0),
                Complex::ZERO,
            ],
        );
    }
    travels(manager, "|V5", [*b"abcde", *b"fghij", *b"klmno"]);
    travels(
        manager,
        "(3,)<f4",
        [[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]],
    );
    travels(
        manager,
        "(3,2)<f4",
        [[[1.0f32, 2.0]; 3], [[4.0, 5.0]; 3], [[7.0, 8.0]; 3]],
    );
}

#[test]
fn another_type_of_the_same_size_or_another_nesting_is_another_type() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<[[f32; 2]; 3], _>(4).unwrap();
    assert!(matches!(
        xs.handle().open::<[[f32; 3]; 2], Ix1>(),
        Err(Error::Dtype { .. })
    ));
    assert!(matches!(
        xs.handle().open::<[f32; 6], Ix1>(),
        Err(Error::Dtype { .. })
    ));
    assert!(matches!(
        xs.handle().open::<[u8; 24], Ix1>(),
        Err(Error::Dtype { .. })
    ));
    let error = xs.handle().open::<[f64; 3], Ix1>().unwrap_err().to_string();
    assert!(
        error.contains("element type is (3,2)<f4, expected (3,)<f8"),
        "{error}"
    );
}
