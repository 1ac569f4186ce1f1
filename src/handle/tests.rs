//! The text of handles there and back, and the texts that are refused.

use super::*;
use std::ffi::OsStr;

fn handle(path: &[u8], view: Option<Placement>) -> Handle {
    Handle::new(
        Path::new(OsStr::from_bytes(path)),
        ArrayId::from_bytes([0xfb; 16]),
        0xcbf2_9ce4_8422_2325,
        true,
        Scope::Remote,
        view,
    )
}

fn placed(offset: u64, shape: &[u64], strides: &[i64]) -> Option<Placement> {
    Some(Placement {
        offset,
        shape: shape.into(),
        strides: strides.into(),
    })
}

#[test]
fn the_text_is_one_printable_line_and_reads_back() {
    let view = placed(8192, &[64, 128, 3], &[-4096, 24, 8]);
    let text = handle(b"/dev/shm/ndshm-0/a store/frames.ndshm", view.clone()).to_string();
    let expected = "ndshm1:m=w:s=remote:i=-_v7-_v7-_v7-_v7-_v7-w:f=cbf29ce484222325:o=8192:\
                    n=64,128,3:t=-4096,24,8:p=/dev/shm/ndshm-0/a%20store/frames.ndshm";
    assert_eq!(text, expected);
    for (path, view) in [
        (&b"/x"[..], None),
        (b"/\xff\x01%:=\n", view),
        (b"/x", placed(0, &[], &[])),
        (
            b"/x",
            placed(u64::MAX, &[0, u64::MAX], &[i64::MIN, i64::MAX]),
        ),
    ] {
        let handle = handle(path, view);
        let text = handle.to_string();
        assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
        assert_eq!(text.parse::<Handle>().unwrap(), handle);
    }
}

#[test]
fn a_view_of_rank_four_in_the_default_root_stays_under_300_bytes() {
    let path = b"/dev/shm/ndshm-4294967294/twenty-four-letters-long-4194304-0123456789ab/\
                 0189f7e2c3d47a5b8c9d0e1f2a3b4c5d.ndshm";
    let text = handle(path, placed(1 << 33, &[100_000; 4], &[-100_000_000; 4])).to_string();
    assert!(text.len() < 300, "{}", text.len());
}

#[test]
fn a_text_that_was_changed_anywhere_is_refused_or_names_something_else() {
    let original = handle(b"/dev/shm/x.ndshm", placed(16, &[4, 2], &[-16, 8]));
    let text = original.to_string();
    for end in 0..text.len() {
        assert!(
            text[..end]
                .parse::<Handle>()
                .is_err_and(|error| matches!(error, Error::Handle { .. }))
                || end > text.find("p=/").unwrap() + 2
        );
    }
    for (from, to) in [
        ("m=w:", ""),
        ("m=w:", "m=w:m=w:"),
        ("m=w:s=remote", "s=remote:m=w"),
        ("m=w", "m=x"),
        ("s=remote", "s=REMOTE"),
        (":f=c", ":f=C"),
        (":o=16", ":o=+16"),
        (":o=16", ":o=016"),
        ("n=4,2", "n=4,,2"),
        ("n=4,2", "n=4, 2"),
        ("n=4,2", "n=4,2,1"),
        (":t=-16,8", ""),
        ("p=/", "p="),
        ("x.ndshm", "%00"),
        ("x.ndshm", "%7"),
        ("x.ndshm", "%zz"),
        ("x.ndshm", "%78.ndshm"),
        ("shm/x", "shm/../x"),
        ("ndshm1", "ndshm2"),
        ("ndshm1", "ndshm01"),
        ("ndshm1", "ndshm+1"),
        ("-w:", "-w=:"),
        ("x.ndshm", "x%2endshm"),
        ("x.ndshm", "x%2Endshm"),
        ("x.ndshm", "x ndshm"),
        ("i=-", "i=+"),
        ("-w:", "-x:"),
        ("x.ndshm", "x.ndshm\n"),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        assert!(changed.parse::<Handle>().is_err(), "{changed}");
    }
    let long = format!("{text}{}", "a".repeat(4096));
    assert!(long.parse::<Handle>().is_err());
    assert!("a".repeat(20_000).parse::<Handle>().is_err());
    let deep = handle(b"/x", placed(0, &[1; 33], &[0; 33])).to_string();
    assert!(deep.parse::<Handle>().is_err());
}
