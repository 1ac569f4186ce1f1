//! `import` of .csv and .tsv.

use crate::{export::shell, fixture::Fixture};
use ndarray::{Ix1, Ix2, array};

/// Imports a text from the standard input as `xs`, and deletes the array of an earlier call.
fn piped(fixture: &Fixture, text: &[u8], more: &str) -> std::process::Output {
    if fixture.run.contains("xs").unwrap() {
        fixture.ndshm("rm xs").success();
    }
    fixture
        .command(&format!("import - --name xs --store run {more}"))
        .stdin(text.to_vec())
        .output()
        .unwrap()
}

/// Type, shape and JSON of the array that a text becomes.
#[track_caller]
fn imported(fixture: &Fixture, text: &str, more: &str) -> (String, String, String) {
    let output = piped(fixture, text.as_bytes(), more);
    assert!(output.status.success(), "{text:?}: {output:?}");
    let json = fixture.json("show xs");
    let elements = fixture.output("cat xs --json").replace('\n', "");
    (
        json["dtype"].as_str().unwrap().to_owned(),
        json["shape"].to_string(),
        elements,
    )
}

#[test]
fn types_and_shapes_are_found() {
    let fixture = Fixture::new();
    for (text, dtype, shape, elements) in [
        ("1\n2\n", "<i8", "[2]", "[1,2]"),
        ("1,2\n3,4\n", "<i8", "[2,2]", "[[1,2],[3,4]]"),
        ("1.5,2\n3,4.5\n", "<f8", "[2,2]", "[[1.5,2.0],[3.0,4.5]]"),
        (
            "1e3\nnan\n-inf\nInfinity\n",
            "<f8",
            "[4]",
            "[1000.0,null,null,null]",
        ),
        ("1,2", "<i8", "[1,2]", "[[1,2]]"),
        ("1\t2\n3\t4\n", "<i8", "[2,2]", "[[1,2],[3,4]]"),
        // The names of a table of one type are left out.
        ("x,y\n1,2\n", "<i8", "[1,2]", "[[1,2]]"),
        (
            "# a comment, with commas\n1,2\n#\n3,4\n",
            "<i8",
            "[2,2]",
            "[[1,2],[3,4]]",
        ),
        ("1,2\r\n3,4\r\n", "<i8", "[2,2]", "[[1,2],[3,4]]"),
        ("\u{feff}1,2\n\n\n3,4\n", "<i8", "[2,2]", "[[1,2],[3,4]]"),
        (
            "\u{feff}\"x\",\"y\"\r\n\"1\",\" 2 \"\r\n",
            "<i8",
            "[1,2]",
            "[[1,2]]",
        ),
        (
            "-9223372036854775808\n+7\n",
            "<i8",
            "[2]",
            "[-9223372036854775808,7]",
        ),
        // An empty field is NaN.
        ("1.5,\n,2\n", "<f8", "[2,2]", "[[1.5,null],[null,2.0]]"),
        (
            "18446744073709551615\n0.5\n",
            "<f8",
            "[2]",
            "[1.8446744073709552e+19,0.5]",
        ),
    ] {
        let found = imported(&fixture, text, "");
        let expected = (dtype.to_owned(), shape.to_owned(), elements.to_owned());
        assert_eq!(found, expected, "{text:?}");
    }
    let (dtype, shape, elements) = imported(&fixture, "id,x\n1,0.5\n2,\n", "");
    assert_eq!(
        (dtype.as_str(), shape.as_str()),
        (
            "{'names': ['id', 'x'], 'formats': ['<i8', '<f8'], 'offsets': [0, 8], 'itemsize': 16}",
            "[2]"
        )
    );
    assert_eq!(elements, "[{\"id\":1,\"x\":0.5},{\"id\":2,\"x\":null}]");
    let (dtype, _, elements) = imported(&fixture, "1,0.5\n", "");
    assert!(dtype.contains("['c0', 'c1']"), "{dtype}");
    assert_eq!(elements, "[{\"c0\":1,\"c1\":0.5}]");
}

#[test]
fn types_headers_and_delimiters_are_told() {
    let fixture = Fixture::new();
    for (text, more, dtype, elements) in [
        ("1,2\n", "--dtype f4", "<f4", "[[1.0,2.0]]"),
        ("1,0\n", "--dtype bool", "|b1", "[[true,false]]"),
        (
            "18446744073709551615\n",
            "--dtype u64",
            "<u8",
            "[18446744073709551615]",
        ),
        ("-1\n", "--dtype i128", "int128", "[-1]"),
        ("0.1\n", "--dtype bf16", "bfloat16", "[0.1]"),
        (
            "1+2j\n(1e-3-2e+1j)\n3j\n4\nnan-infj\n",
            "--dtype c16",
            "<c16",
            "[[1.0,2.0],[0.001,-20.0],[0.0,3.0],[4.0,0.0],[null,null]]",
        ),
        ("1;2\n", "--delimiter ;", "<i8", "[[1,2]]"),
        ("1 2\n", "--delimiter ' '", "<i8", "[[1,2]]"),
        ("1\t2\n", "--delimiter tab", "<i8", "[[1,2]]"),
        ("1\t2\n", "--format tsv", "<i8", "[[1,2]]"),
        ("2019,2020\n1,2\n", "--header yes", "<i8", "[[1,2]]"),
        (
            "2019,2020\n1,2\n",
            "--header no",
            "<i8",
            "[[2019,2020],[1,2]]",
        ),
        ("a,b\n", "--dtype f8", "<f8", "[]"),
        ("\n\n", "--dtype f8 --header no --format csv", "", ""),
    ] {
        if dtype.is_empty() {
            let output = piped(&fixture, text.as_bytes(), more);
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            continue;
        }
        let (found, _, read) = imported(&fixture, text, more);
        assert_eq!(
            (found.as_str(), read.as_str()),
            (dtype, elements),
            "{text:?} {more}"
        );
    }
    let (dtype, _, elements) = imported(
        &fixture,
        "id,position,flag\n1,0.5,1\n2,,0\n",
        "--dtype flag=bool,position=f4",
    );
    assert_eq!(
        dtype,
        "{'names': ['id', 'position', 'flag'], 'formats': ['<i8', '<f4', '|b1'], \
         'offsets': [0, 8, 12], 'itemsize': 16}"
    );
    assert_eq!(
        elements,
        "[{\"id\":1,\"position\":0.5,\"flag\":true},{\"id\":2,\"position\":null,\"flag\":false}]"
    );
    let (dtype, _, elements) = imported(&fixture, "1,2\n", "--dtype a=i1,b=i1");
    assert!(dtype.contains("['a', 'b']"), "{dtype}");
    assert_eq!(elements, "[{\"a\":1,\"b\":2}]");
}

#[test]
fn a_line_that_cannot_be_taken_is_named_and_no_array_is_made() {
    let fixture = Fixture::new();
    for (text, more, words, code) in [
        (
            "1,2\n3\n",
            "",
            "line 2: 1 fields, where the first line has 2",
            1,
        ),
        ("1,2\n# c\n\n3\n", "", "line 4: 1 fields", 1),
        ("1,2\r\n\r\n3\r\n", "", "line 3: 1 fields", 1),
        ("\"1\n\",2\n3\n", "", "line 3: 1 fields", 1),
        ("\u{feff}# c\n1,2\n3\n", "", "line 3: 1 fields", 1),
        ("1,2\n\n3,4,5\n", "", "line 3: 3 fields", 1),
        (
            "a,b\n1,2\n3,Paris\n",
            "",
            "line 3, column b: \"Paris\" is no number",
            1,
        ),
        ("1.5\n2.5\nx\n", "", "line 3, column c0: \"x\"", 1),
        ("id,2020\n1,2\n", "", "--header yes", 1),
        ("1;2\n3;4\n", "--header no", "--delimiter", 1),
        (
            "1,2\n3,\n",
            "--dtype i4",
            "line 2, column c1: the field is empty",
            1,
        ),
        (
            "1,300\n",
            "--dtype u8",
            "line 1, column c1: \"300\" is no number of type |u1",
            1,
        ),
        ("1+2j\n", "", "--dtype tells another type", 1),
        (
            "1\n18446744073709551615\n",
            "",
            "line 2, column c0: 18446744073709551615 is too",
            1,
        ),
        ("a,b\n", "", "no lines of numbers", 1),
        ("# nothing\n", "", "no lines of numbers", 1),
        ("a,a\n1,2.5\n", "", "column 2 has the name \"a\"", 1),
        ("a,\n1,2.5\n", "--header yes", "column 2 has no name", 1),
        (
            "a,b\n1,2\n",
            "--dtype c=i8",
            "no column has the name \"c\": the columns are a, b",
            2,
        ),
        ("1,2\n", "--dtype a=i8,b", "NAME=TYPE", 2),
        ("1,2\n", "--dtype V3", "a type for each column", 2),
        ("1,2\n", "--dtype f9", "f9", 2),
        ("1,2\n", "--shape 2 --format csv", "--shape", 2),
        ("1,2\n", "--delimiter ab", "one ASCII character", 2),
    ] {
        let output = piped(&fixture, text.as_bytes(), more);
        let line = String::from_utf8_lossy(&output.stderr);
        assert!(
            line.contains(words) && output.status.code() == Some(code),
            "{text:?} {more}: {output:?}"
        );
        assert!(!fixture.run.contains("xs").unwrap(), "{text:?}");
    }
    let output = piped(&fixture, b"1\n2\n\xff\n", "--format csv");
    let line = String::from_utf8_lossy(&output.stderr);
    assert!(line.contains("line 3: it is no text in UTF-8"), "{line}");
    assert_eq!(fixture.run.list().unwrap().len(), 0);
}

#[test]
fn files_and_pipes_are_read_and_named_alike() {
    let fixture = Fixture::new();
    let lines: String = (0..30_000)
        .map(|at| format!("{at},{}.5\n", at * 7))
        .collect();
    std::fs::write(fixture.root.path().join("a.csv"), format!("id,x\n{lines}")).unwrap();
    std::fs::write(fixture.root.path().join("b.tsv"), "1\t2\n3\t4\n").unwrap();
    for script in [
        "ndshm import a.csv",
        "ndshm import - --name pipe < a.csv",
        "ndshm import <(cat a.csv) --format csv --name fifo",
        "ndshm import b.tsv",
    ] {
        let output = shell(&fixture, script);
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{script}: {output:?}"
        );
    }
    assert_eq!(
        fixture.output("sum pipe")[..64],
        fixture.output("sum a")[..64]
    );
    assert_eq!(
        fixture.output("sum fifo")[..64],
        fixture.output("sum a")[..64]
    );
    assert_eq!(
        fixture.output("cat 'a[29999]' --format csv"),
        "29999,209993.5\n"
    );
    let b = fixture
        .run
        .array::<i64, Ix2>("b")
        .unwrap()
        .to_ndarray()
        .unwrap();
    assert_eq!(b, array![[1, 2], [3, 4]]);
    let root = fixture.root.path().display().to_string();
    for (arguments, words, code) in [
        ("import ROOT/a.csv", "already exists", 4),
        ("import ROOT/none.csv", "none.csv", 1),
        ("import ROOT --format csv", "it is a directory", 1),
        ("import ROOT/a.csv --only x", "--only", 2),
        (
            "import ROOT/a.npy --header no",
            "--header and --delimiter are for text",
            2,
        ),
        ("import ROOT/a.npy --dtype id=i8", "is no element type", 2),
        ("export a -o ROOT/x.csv", "ndshm cat", 2),
    ] {
        let arguments = format!("{} --store run", arguments.replace("ROOT", &root));
        let (line, found) = fixture.failure(&arguments);
        assert!(line.contains(words) && found == code, "{arguments}: {line}");
    }
}

/// What `cat` writes comes back equal.
#[test]
fn text_that_cat_wrote_becomes_an_equal_array() {
    let fixture = Fixture::new();
    let options = fixture.run.options();
    let float = |at: usize| (at as f64).sin() * 10_f64.powi(at as i32 % 600 - 300);
    options.clone().name("f").from_shape_fn(600, float).unwrap();
    fixture.arange("m", &[20, 30]);
    let whole = |at: usize| (at as i64 - 3).wrapping_mul(0x0123_4567_89ab_cdef);
    options.clone().name("i").from_shape_fn(50, whole).unwrap();
    let single = |at: usize| (at as f32).sqrt();
    options.clone().name("s").from_shape_fn(50, single).unwrap();
    let half = |at: usize| half::f16::from_bits(at as u16);
    options.name("h").from_shape_fn(0x7c01, half).unwrap();
    let script = "printf 'id,x\\n1,0.5\\n2,nan\\n' | ndshm import - --name t; \
                  for name in f m i t 's f4' 'h f2'; do set -- $name; \
                  for format in csv tsv; do \
                  ndshm cat $1 --format $format --header | \
                  ndshm import - --name again ${2:+--dtype $2} > /dev/null && \
                  ndshm diff $1 again && ndshm rm again || echo $name; done; done";
    let output = shell(&fixture, script);
    assert!(output.stderr.is_empty(), "{output:?}");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).lines().count(),
        1,
        "{output:?}"
    );
    let t = fixture.run.array_any("t").unwrap().field("id").unwrap();
    let t = t.downcast::<i64, Ix1>().unwrap().to_ndarray().unwrap();
    assert_eq!(t, array![1, 2]);
}
