//! `cat`.

use crate::{export::shell, fixture::Fixture};
use ndarray::IxDyn;
use ndshm::{DType, Order};
use num_complex::Complex64;

/// Numbers whose texts are easily lost: signs of zero, extremes, NaN, infinities.
const HARD: [f64; 9] = [
    0.1,
    -0.0,
    1e300,
    5e-324,
    1e16,
    1.0 / 3.0,
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
];

#[test]
fn raw_elements_are_those_of_the_slice_in_c_order() {
    let fixture = Fixture::new();
    let xs = fixture.arange("xs", &[30, 20]);
    for slice in [
        "",
        "[3]",
        "[::-2, 1::3]",
        "[5:5]",
        "[..., 0]",
        "[None, 2:4]",
    ] {
        let output = fixture.ndshm(&format!("cat 'xs{slice}'")).success();
        let expected = fixture.ndshm(&format!("export 'xs{slice}' --format raw -o -"));
        assert_eq!(
            output.get_output().stdout,
            expected.success().get_output().stdout,
            "{slice}"
        );
    }
    let output = fixture.ndshm("cat xs").success();
    assert_eq!(output.get_output().stdout, xs.read_bytes().unwrap());
}

#[test]
fn an_array_larger_than_a_piece_is_written_whole_in_every_order_and_into_files_and_pipes() {
    let fixture = Fixture::new();
    let xs = fixture
        .run
        .options()
        .name("xs")
        .from_shape_fn::<u32, _>(IxDyn(&[1001, 1000]), |index| {
            (index[0] * 1000 + index[1]) as u32
        })
        .unwrap();
    let bytes = xs.into_any().unwrap().read_bytes().unwrap();
    for script in [
        "ndshm cat xs > out",
        "ndshm cat xs | cat > out",
        "ndshm cat xs --unlocked 2> /dev/null > out",
        "ndshm freeze xs; ndshm cat xs | cat > out",
    ] {
        let output = shell(&fixture, script);
        assert!(output.status.success(), "{script}: {output:?}");
        let written = std::fs::read(fixture.root.path().join("out")).unwrap();
        assert!(written == bytes, "{script}");
    }
    let columns = fixture.ndshm("cat 'xs[:, ::-1]'").success();
    let columns = &columns.get_output().stdout;
    assert_eq!(columns[..4], 999_u32.to_ne_bytes());
    assert_eq!(columns[columns.len() - 4..], 1_000_000_u32.to_ne_bytes());
    assert_eq!(columns.len(), bytes.len());
}

#[test]
fn text_has_the_fewest_digits_that_give_the_number_back() {
    let fixture = Fixture::new();
    let options = fixture.run.options();
    let array = |name: &str| options.clone().name(name);
    array("f8").from_shape_fn(9, |at| HARD[at]).unwrap();
    let half = |at: usize| half::f16::from_f64([0.1, 65504.0, 1e-7, 1.0 / 3.0][at]);
    array("f2").from_shape_fn(4, half).unwrap();
    let brain = |at: usize| half::bf16::from_f64([0.1, 1.0][at]);
    array("bf").from_shape_fn(2, brain).unwrap();
    let truth = |at: usize| ndshm::Bool::from(at == 1);
    array("truth").from_shape_fn(2, truth).unwrap();
    let complex = [
        Complex64::new(1.0, 2.5),
        Complex64::new(-0.0, -1e-300),
        Complex64::new(f64::NAN, f64::INFINITY),
    ];
    array("complex").from_shape_fn(3, |at| complex[at]).unwrap();
    array("large").from_elem(1, u128::MAX).unwrap();
    for (name, csv, json) in [
        (
            "f8",
            "0.1 -0.0 1e+300 5e-324 1e+16 0.3333333333333333 nan inf -inf",
            "[0.1,-0.0,1e+300,5e-324,1e+16,0.3333333333333333,null,null,null]",
        ),
        ("f2", "0.1 65500.0 1e-7 0.3333", "[0.1,65500.0,1e-7,0.3333]"),
        ("bf", "0.1 1.0", "[0.1,1.0]"),
        ("truth", "0 1", "[false,true]"),
        (
            "complex",
            "1.0+2.5j -0.0-1e-300j nan+infj",
            "[[1.0,2.5],[-0.0,-1e-300],[null,null]]",
        ),
        (
            "large",
            "340282366920938463463374607431768211455",
            "[340282366920938463463374607431768211455]",
        ),
    ] {
        let lines = fixture.output(&format!("cat {name} --format csv"));
        assert_eq!(lines.lines().collect::<Vec<_>>().join(" "), csv);
        assert_eq!(
            fixture.output(&format!("cat {name} --json")),
            json.to_owned() + "\n"
        );
        assert_eq!(
            fixture.output(&format!("cat {name} --format json")),
            json.to_owned() + "\n"
        );
    }
    let texts = fixture.output("cat f8 --format csv");
    for (text, number) in texts.lines().zip(HARD) {
        let read: f64 = text.parse().unwrap();
        assert!(read.to_bits() == number.to_bits() || read.is_nan() && number.is_nan());
    }
}

#[test]
fn the_last_axis_is_a_row_and_the_header_names_its_columns() {
    let fixture = Fixture::new();
    fixture.ndshm("new named i4 2,3 --axes t,x").success();
    fixture.ndshm("new plain i4 2,2,2").success();
    fixture.ndshm("new one i4 () --fill 7").success();
    fixture.ndshm("new line i4 3").success();
    fixture.ndshm("new none i4 0,3").success();
    fixture.ndshm("new narrow i4 2,0").success();
    for (array, format, lines) in [
        ("named", "csv", "x0,x1,x2|0,0,0|0,0,0|"),
        ("named", "tsv", "x0\tx1\tx2|0\t0\t0|0\t0\t0|"),
        ("named[0]", "csv", "c0|0|0|0|"),
        ("named[:, 1:]", "csv", "x0,x1|0,0|0,0|"),
        ("plain", "csv", "c0,c1|0,0|0,0|0,0|0,0|"),
        ("one", "csv", "c0|7|"),
        ("line", "csv", "c0|0|0|0|"),
        ("none", "csv", "c0,c1,c2|"),
        ("narrow", "csv", "|||"),
    ] {
        let text = fixture.output(&format!("cat '{array}' --format {format} --header"));
        assert_eq!(text.replace('\n', "|"), lines, "{array}");
    }
    for (array, json) in [
        ("plain", "[[[0,0],|[0,0]],|[[0,0],|[0,0]]]|"),
        ("one", "7|"),
        ("none", "[]|"),
        ("narrow", "[[],[]]|"),
    ] {
        let text = fixture.output(&format!("cat {array} --json"));
        assert_eq!(text.replace('\n', "|"), json, "{array}");
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
    }
}

#[test]
fn a_struct_has_a_column_for_each_field_and_item() {
    let fixture = Fixture::new();
    let inner = DType::structure([("a\"b", "<f4".parse().unwrap(), 0)], 4).unwrap();
    let dtype = DType::structure(
        [
            ("id", "|u1".parse().unwrap(), 0),
            ("at", "(2,)<i2".parse().unwrap(), 2),
            ("in,ner", inner, 8),
        ],
        12,
    )
    .unwrap();
    let element = |id: u8, at: [i16; 2], x: f32| {
        let mut bytes = vec![id, 99];
        bytes.extend(at.iter().flat_map(|x| x.to_ne_bytes()));
        bytes.extend([99; 2]);
        bytes.extend(x.to_ne_bytes());
        bytes
    };
    let bytes = [element(1, [-2, 3], 0.5), element(4, [5, 6], f32::NAN)].concat();
    let options = fixture.run.options().name("xs");
    options.from_bytes(&dtype, &[2], Order::C, &bytes).unwrap();
    assert_eq!(
        fixture.output("cat xs --format csv --header"),
        "id,at[0],at[1],\"in,ner.a\"\"b\"\n1,-2,3,0.5\n4,5,6,nan\n"
    );
    assert_eq!(
        fixture
            .output("cat 'xs[None]' --format csv --header")
            .lines()
            .next(),
        Some(
            "c0.id,c0.at[0],c0.at[1],\"c0.in,ner.a\"\"b\",c1.id,c1.at[0],c1.at[1],\
              \"c1.in,ner.a\"\"b\""
        )
    );
    assert_eq!(
        fixture.output("cat xs --json"),
        "[{\"id\":1,\"at\":[-2,3],\"in,ner\":{\"a\\\"b\":0.5}},\
         {\"id\":4,\"at\":[5,6],\"in,ner\":{\"a\\\"b\":null}}]\n"
    );
}

#[test]
fn rings_show_their_newest_frame_and_arrays_that_grow_their_rows() {
    let fixture = Fixture::new();
    let ring = fixture
        .run
        .options()
        .name("ring")
        .ring::<u8, _>(2, 3)
        .unwrap();
    let (line, code) = fixture.failure("cat ring --format csv");
    assert!(
        code == 3 && line.contains("no frame was published"),
        "{line}"
    );
    let mut producer = ring.produce().unwrap();
    let mut frame = producer.next().unwrap();
    frame.fill(7);
    frame.publish().unwrap();
    assert_eq!(fixture.output("cat ring --format csv"), "7\n7\n");
    let log = fixture
        .run
        .options()
        .name("log")
        .growing::<u8, _>(10, 2)
        .unwrap();
    log.append_row(&ndarray::aview1(&[1, 2])).unwrap();
    assert_eq!(fixture.output("cat log --format csv"), "1,2\n");
    log.append_row(&ndarray::aview1(&[3, 4])).unwrap();
    assert_eq!(
        fixture.ndshm("cat log").success().get_output().stdout,
        [1, 2, 3, 4]
    );
    assert_eq!(fixture.output("cat 'log[-1]' --json"), "[3,4]\n");
}

#[test]
fn options_without_a_meaning_and_arrays_that_cannot_be_read_are_refused() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[10]);
    for (arguments, words, code) in [
        ("cat xs --header", "ndshm export -o FILE.npy", 2),
        ("cat xs --json --header", "ndshm show --json", 2),
        (
            "cat xs --json --format csv",
            "leave one of the two formats out",
            2,
        ),
        ("cat ys", "ndshm ls lists the arrays", 3),
        ("cat 'xs[10]'", "out of range", 2),
    ] {
        let (line, found) = fixture.failure(arguments);
        assert!(line.contains(words) && found == code, "{arguments}: {line}");
    }
    let mut writer = crate::fixture::start_a_writer(&fixture);
    let (line, code) = fixture.failure("cat xs --format csv --wait 0");
    assert!(code == 6 && line.contains("--unlocked"), "{line}");
    let output = fixture.ndshm("cat xs --format csv --unlocked").success();
    let output = output.get_output();
    assert_eq!(output.stdout, fixture_lines(10).as_bytes());
    assert!(String::from_utf8_lossy(&output.stderr).contains("without a lock"));
    writer.kill();
    let (line, code) = fixture.failure("cat xs");
    assert!(code == 4 && line.contains("ndshm recover"), "{line}");
}

fn fixture_lines(len: usize) -> String {
    (0..len).map(|at| format!("{at}.0\n")).collect()
}

/// A writer must not wait for a reader of the output that takes its time.
#[test]
fn a_stopped_reader_of_the_pipe_holds_no_guard() {
    let fixture = Fixture::new();
    let len = 8 << 20;
    let xs = fixture
        .run
        .options()
        .name("xs")
        .zeros::<u8, _>(len)
        .unwrap();
    let mut child = std::process::Command::new(snapbox::cmd::cargo_bin!("ndshm"))
        .args(["cat", "xs"])
        .env("NDSHM_ROOT", fixture.root.path())
        .env_remove("NDSHM_STORE")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    // The first bytes are there, and the pipe takes no more than some of the rest.
    std::io::Read::read_exact(&mut out, &mut [0; 1000]).unwrap();
    xs.write_timeout(std::time::Duration::from_secs(60))
        .unwrap()
        .fill(1);
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut out, &mut rest).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(rest.len(), len - 1000);
    assert_eq!(rest.last(), Some(&1));
}
