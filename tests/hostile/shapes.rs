//! Shapes and strides that do not fit: those of files, and those of views that handles name.

use super::*;
use crate::common::bad;
use ciborium::Value;
use ndarray::{Ix1, Ix2};
use std::os::unix::fs::MetadataExt;

pub(crate) fn try_all(fixture: &mut Fixture) {
    of_files(fixture);
    of_views(fixture);
}

fn of_files(fixture: &mut Fixture) {
    let forge = fixture.forge();
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
        fixture.refuse(what, &bytes, "Header::Shape", piece);
    }
    // A file as long as its shape asks for, without a byte of memory behind it: reading its holes
    // would need more memory than there is, so it is refused before a page is asked for.
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
    fixture.put(&head);
    fs::File::options()
        .write(true)
        .open(&fixture.path)
        .unwrap()
        .set_len(head.len() as u64 + (8 << 40))
        .unwrap();
    let error = fixture.manager.array::<f64, Ix2>("x").unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    let blocks = fs::metadata(&fixture.path).unwrap().blocks();
    assert!(blocks * 512 <= 2 * head.len() as u64, "{blocks} blocks");
    drop(fixture.restore());
    fixture.close_row("a sparse file of 8 TiB");
}

fn of_views(fixture: &mut Fixture) {
    drop(fixture.restore());
    let before = fs::read(&fixture.path).unwrap();
    for (
        bad::View {
            what,
            offset,
            shape,
            strides,
        },
        piece,
    ) in bad::VIEWS
    {
        for handle in [fixture.handle.clone(), read_only(&fixture.handle)] {
            let view = handle.with_layout(offset, shape, strides).unwrap();
            let json: Handle =
                serde_json::from_str(&serde_json::to_string(&view).unwrap()).unwrap();
            for handle in [&view, &view.to_string().parse().unwrap(), &json] {
                expect(what, "Layout", piece, handle.open::<f64, IxDyn>());
            }
        }
        assert!(
            fs::read(&fixture.path).unwrap() == before,
            "{what}: the file is as it was, openers and owner included"
        );
        fixture.close_row(what);
    }
    for bad::View {
        what,
        offset,
        shape,
        strides,
    } in bad::OVERLAPPING_VIEWS
    {
        let view = fixture.handle.with_layout(offset, shape, strides).unwrap();
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
        fixture.close_row(what);
    }
    let rank_32 = fixture
        .handle
        .with_layout(0, &[1; 32], &[isize::MIN; 32])
        .unwrap()
        .open::<f64, IxDyn>()
        .unwrap();
    assert_eq!(rank_32.ndim(), 32);
    expect(
        "rank 33",
        "Handle",
        "33 dimensions and 33 strides, at most 32",
        fixture.handle.with_layout(0, &[1; 33], &[8; 33]),
    );
    fixture.close_row("a view of rank 33");
    expect(
        "ranks",
        "Handle",
        "1 dimensions and 2 strides",
        fixture.handle.with_layout(0, &[6], &[8, 8]),
    );
    fixture.close_row("a view of fewer dimensions than strides");
    expect(
        "another rank",
        "Rank",
        "has 1 dimensions, not 2",
        fixture
            .handle
            .with_layout(0, &[6], &[8])
            .unwrap()
            .open::<f64, Ix2>(),
    );
    expect(
        "another rank",
        "Rank",
        "has 2 dimensions, not 1",
        fixture.handle.open::<f64, Ix1>(),
    );
    fixture.close_row("a view of another rank than asked for");
}
