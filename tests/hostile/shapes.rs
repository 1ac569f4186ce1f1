//! Shapes and strides that do not fit: those of files, and those of views that handles name.

use super::*;
use ciborium::Value;
use ndarray::{Ix1, Ix2};

pub(crate) fn try_all(bench: &mut Bench) {
    of_files(bench);
    of_views(bench);
}

fn of_files(bench: &mut Bench) {
    let forge = bench.forge();
    let list = |numbers: &[i64]| Some(Value::Array(numbers.iter().map(|&n| n.into()).collect()));
    let big = 1i64 << 40;
    let neither = "strides of neither C nor F order";
    let rows: [(&str, &[i64], &[i64], &str); 22] = [
        (
            "a product that overflows",
            &[big, big],
            &[8, 8],
            "its size overflows",
        ),
        (
            "an overflow that a zero hides",
            &[big, 0, big],
            &[8, 8, 8],
            "its size overflows",
        ),
        (
            "an overflow of bytes that a zero hides",
            &[0, i64::MAX],
            &[8, 8],
            "its size overflows",
        ),
        (
            "bytes that overflow where elements do not",
            &[1 << 60],
            &[8],
            "its size overflows",
        ),
        ("rank 33", &[1; 33], &[8; 33], "more than 32 dimensions"),
        (
            "fewer strides",
            &[2, 3],
            &[8],
            "shape and strides differ in length",
        ),
        (
            "more strides",
            &[2, 3],
            &[24, 8, 8],
            "shape and strides differ in length",
        ),
        (
            "strides of two axes in one place",
            &[2, 3],
            &[8, 8],
            neither,
        ),
        ("a stride of zero", &[2, 3], &[24, 0], neither),
        ("a gap between rows", &[2, 3], &[32, 8], neither),
        ("overlapping rows", &[2, 3], &[16, 8], neither),
        ("strides of 2^63-1", &[2, 3], &[i64::MAX, i64::MAX], neither),
        ("half strides", &[2, 3], &[12, 4], neither),
        ("strides in elements", &[2, 3], &[3, 1], neither),
        ("a stride that is not aligned", &[2, 3], &[25, 8], neither),
        ("strides of an empty array", &[0, 3], &[0, 0], neither),
        (
            "fewer bytes than the shape",
            &[2, 4],
            &[32, 8],
            "it does not make data_len bytes",
        ),
        (
            "more bytes than the shape",
            &[2, 2],
            &[16, 8],
            "it does not make data_len bytes",
        ),
        ("no axes", &[], &[], "it does not make data_len bytes"),
        (
            "an empty array with bytes",
            &[0, 6],
            &[48, 8],
            "it does not make data_len bytes",
        ),
        (
            "a shape larger than any file",
            &[1 << 59],
            &[8],
            "it does not make data_len bytes",
        ),
        (
            "a sparse shape larger than memory",
            &[1 << 20, 1 << 20],
            &[8 << 20, 8],
            "it does not make data_len bytes",
        ),
    ];
    for (what, shape, strides, piece) in rows {
        let bytes = forge
            .with(&[("shape", list(shape)), ("strides", list(strides))])
            .file();
        bench.refuse(what, &bytes, "Header::Shape", piece);
    }
    // A file as long as its shape asks for, without a byte of memory behind it: reading it is the
    // reader's risk, opening it is cheap.
    let prefix = [
        &b"\x67payload\xd8\x28\x82\x82\x1a\x00\x10\x00\x00\x1a\x00\x10\x00\x00\xd8\x56\x5b"[..],
        &(8u64 << 40).to_be_bytes(),
    ]
    .concat();
    let forge = Forge {
        prefix,
        data_len: 8 << 40,
        ..forge.with(&[
            ("shape", list(&[1 << 20, 1 << 20])),
            ("strides", list(&[8 << 20, 8])),
        ])
    };
    let head = forge.head();
    bench.put(&head);
    fs::File::options()
        .write(true)
        .open(&bench.path)
        .unwrap()
        .set_len(head.len() as u64 + (8 << 40))
        .unwrap();
    let xs: SharedArray2<f64> = bench.manager.array("x").unwrap();
    assert_eq!(
        xs.slice(ndarray::s![-1, -1..])
            .unwrap()
            .read()
            .unwrap()
            .sum(),
        0.0
    );
    drop(xs);
    drop(bench.restore());
    bench.close_row("a sparse file of 8 TiB");
}

fn of_views(bench: &mut Bench) {
    drop(bench.restore());
    let before = fs::read(&bench.path).unwrap();
    let (min, max, big) = (isize::MIN, isize::MAX, 1usize << 40);
    let below = "below offset";
    let behind = "beyond the array's 48 bytes";
    let multiple = "is not a multiple of";
    // Offset, shape, strides; all in bytes. The array has 48.
    type Row<'a> = (&'a str, usize, &'a [usize], &'a [isize], &'a str);
    let rows: [Row; 26] = [
        ("one element over", 8, &[6], &[8], behind),
        ("a row over", 24, &[2, 3], &[24, 8], behind),
        ("an offset at the end", 48, &[1], &[8], behind),
        ("an offset far behind", 1 << 62, &[1], &[8], behind),
        ("an offset that wraps", usize::MAX - 7, &[1], &[8], behind),
        (
            "an offset and strides that wrap",
            usize::MAX - 7,
            &[2],
            &[8],
            behind,
        ),
        (
            "an empty view behind the end",
            56,
            &[0],
            &[8],
            "lies beyond the array's 48 bytes",
        ),
        (
            "an empty view at 2^64-8",
            usize::MAX - 7,
            &[0, 5],
            &[8, 8],
            "lies beyond the array's 48 bytes",
        ),
        ("below the first element", 0, &[2], &[-8], below),
        (
            "six elements backwards from the fifth",
            32,
            &[6],
            &[-8],
            below,
        ),
        ("up and down", 24, &[5, 2], &[-8, 8], below),
        ("an offset that is not aligned", 4, &[1], &[8], multiple),
        ("an offset of one", 1, &[5], &[8], multiple),
        ("a stride that is not aligned", 0, &[2], &[12], multiple),
        ("a stride of one byte", 0, &[2], &[1], multiple),
        ("stride -2^63", 0, &[2], &[min], multiple),
        ("stride 2^63-1", 0, &[2], &[max], multiple),
        ("stride 2^63-8", 0, &[2], &[max - 7], behind),
        ("strides that overflow", 0, &[4], &[max - 7], "overflow"),
        (
            "strides that overflow together",
            0,
            &[2, 2],
            &[max - 7, max - 7],
            "overflow",
        ),
        (
            "up and down 2^63",
            0,
            &[2, 2],
            &[max - 7, -(max - 7)],
            "overflow",
        ),
        (
            "a product that overflows",
            0,
            &[big, big],
            &[0, 0],
            "the product of the dimensions overflows",
        ),
        (
            "dimension 2^64-1",
            0,
            &[usize::MAX],
            &[0],
            "the product of the dimensions overflows",
        ),
        (
            "a zero and 2^64-1",
            0,
            &[0, usize::MAX],
            &[8, 8],
            "the product of the dimensions overflows",
        ),
        (
            "an overflow that a zero hides",
            0,
            &[big, 0, big],
            &[8, 8, 8],
            "the product of the dimensions overflows",
        ),
        (
            "an empty view with strides that overflow",
            0,
            &[0, 4],
            &[8, max - 7],
            "overflow",
        ),
    ];
    for (what, offset, shape, strides, piece) in rows {
        for handle in [bench.handle.clone(), read_only(&bench.handle)] {
            let view = handle.with_layout(offset, shape, strides).unwrap();
            let json: Handle =
                serde_json::from_str(&serde_json::to_string(&view).unwrap()).unwrap();
            for handle in [&view, &view.to_string().parse().unwrap(), &json] {
                expect(what, "Layout", piece, handle.open::<f64, IxDyn>());
            }
        }
        assert!(
            fs::read(&bench.path).unwrap() == before,
            "{what}: the file is as it was, openers and owner included"
        );
        bench.close_row(what);
    }
    let shared: [(&str, &[usize], &[isize]); 5] = [
        ("a stride of zero for writing", &[3], &[0]),
        ("a broadcast of an array for writing", &[4, 6], &[0, 8]),
        ("a sliding window for writing", &[4, 3], &[8, 8]),
        ("rows that overlap for writing", &[2, 3], &[16, 8]),
        ("a broadcast of 2^40 for writing", &[big], &[0]),
    ];
    for (what, shape, strides) in shared {
        let view = bench.handle.with_layout(0, shape, strides).unwrap();
        expect(
            what,
            "Layout",
            "some of its elements share bytes",
            view.open::<f64, IxDyn>(),
        );
        // For reading, elements may share bytes.
        let xs: SharedArrayD<f64> = read_only(&view).open().unwrap();
        assert_eq!(
            (
                xs.shape(),
                xs.read()
                    .unwrap()
                    .iter()
                    .take(1000)
                    .filter(|x| x.is_nan())
                    .count()
            ),
            (shape, 0)
        );
        expect(what, "ReadOnly", "cannot be written", xs.write());
        bench.close_row(what);
    }
    let rank_32 = bench
        .handle
        .with_layout(0, &[1; 32], &[min; 32])
        .unwrap()
        .open::<f64, IxDyn>()
        .unwrap();
    assert_eq!(rank_32.ndim(), 32);
    expect(
        "rank 33",
        "Handle",
        "33 dimensions and 33 strides, at most 32",
        bench.handle.with_layout(0, &[1; 33], &[8; 33]),
    );
    bench.close_row("a view of rank 33");
    expect(
        "ranks",
        "Handle",
        "1 dimensions and 2 strides",
        bench.handle.with_layout(0, &[6], &[8, 8]),
    );
    bench.close_row("a view of fewer dimensions than strides");
    expect(
        "another rank",
        "Rank",
        "has 1 dimensions, not 2",
        bench
            .handle
            .with_layout(0, &[6], &[8])
            .unwrap()
            .open::<f64, Ix2>(),
    );
    expect(
        "another rank",
        "Rank",
        "has 2 dimensions, not 1",
        bench.handle.open::<f64, Ix1>(),
    );
    bench.close_row("a view of another rank than asked for");
}
