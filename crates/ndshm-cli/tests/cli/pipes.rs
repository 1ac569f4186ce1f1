//! Arrays through pipes, in every format that `export`, `import` and `cat` have.

use crate::{export::shell, fixture::Fixture};

/// The exports and imports of each format; NAME is the array, DTYPE and SHAPE are its type and
/// shape.
const FORMATS: [(&str, &str); 5] = [
    ("export NAME -o -", "--name again"),
    ("export NAME -o - --format npz", "--name again-"),
    ("export NAME -o - --format safetensors", "--name again-"),
    (
        "export NAME -o - --format raw",
        "--name again --dtype DTYPE --shape SHAPE",
    ),
    (
        "cat NAME",
        "--name again --dtype DTYPE --shape SHAPE --format raw",
    ),
];

#[test]
fn arrays_without_elements_and_of_any_rank_go_through_pipes_in_every_format() {
    let fixture = Fixture::new();
    fixture.ndshm("new none f8 0").success();
    fixture.ndshm("new empty u16 3,0,2").success();
    fixture.ndshm("new long i1 3000000 --fill 5").success();
    fixture.ndshm("new truth bool 2,3 --fill 1").success();
    for (name, dtype, shape) in [
        ("none", "f8", "0"),
        ("empty", "u16", "3,0,2"),
        ("long", "i1", "3000000"),
        ("truth", "bool", "2,3"),
    ] {
        for (export, import) in FORMATS {
            let script = format!(
                "ndshm {export} | cat | ndshm import - {import} > /dev/null; \
                 again=again; [[ '{import}' = *- ]] && again=again-NAME; \
                 ndshm diff NAME $again && ndshm rm $again"
            );
            let script = script.replace("NAME", name).replace("DTYPE", dtype);
            let script = script.replace("SHAPE", shape);
            let output = shell(&fixture, &script);
            assert!(
                output.status.success() && output.stderr.is_empty(),
                "{script}: {output:?}"
            );
        }
    }
    fixture.ndshm("new one f8 () --fill 7").success();
    for script in [
        "ndshm export one -o - | ndshm import - --name a",
        "ndshm export one -o - --format npz | ndshm import - --name a-; ndshm diff one a-one",
        "ndshm export one -o - --format safetensors | ndshm import - --name b-; \
         ndshm diff one b-one",
        "ndshm diff one a",
    ] {
        let output = shell(&fixture, script);
        assert!(output.status.success(), "{script}: {output:?}");
    }
}

#[test]
fn several_arrays_go_through_one_pipe() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[3, 4]);
    fixture.ndshm("new ys bool 5 --fill 1").success();
    fixture.ndshm("new none u8 0").success();
    for format in ["npz", "npz --compress", "safetensors"] {
        let script = format!(
            "ndshm export xs first=xs[0] ys none -o - --format {format} | cat | \
             ndshm import - --name z- > /dev/null; \
             for name in xs ys none; do ndshm diff $name z-$name || exit 1; done; \
             ndshm diff xs[0] z-first && ndshm rm z-xs z-ys z-none z-first"
        );
        let output = shell(&fixture, &script);
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{script}: {output:?}"
        );
    }
}

/// A reader that has enough closes the pipe: the writer ends without a word, as `cat` does.
#[test]
fn a_reader_that_closes_the_pipe_ends_every_writer_quietly() {
    let fixture = Fixture::new();
    // Larger than any pipe.
    fixture.ndshm("new xs f8 400000").success();
    for writer in [
        "export xs -o -",
        "export xs -o - --format raw",
        "export xs -o - --format npz",
        "export xs -o - --format npz --compress",
        "export xs -o - --format safetensors",
        "cat xs",
        "cat xs --format csv",
        "cat xs --format tsv --header",
        "cat xs --json",
    ] {
        let output = shell(
            &fixture,
            &format!("ndshm {writer} | head -c 10 | wc -c; echo ${{PIPESTATUS[0]}}"),
        );
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "10\n0\n",
            "{writer}"
        );
        assert!(output.stderr.is_empty(), "{writer}: {output:?}");
    }
}

#[test]
fn an_input_that_is_cut_off_is_an_error_in_every_format_and_makes_no_array() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[3000]);
    fixture.arange("ys", &[3000]);
    for format in ["npy", "npz", "npz --compress", "safetensors", "raw"] {
        let arrays = if format.len() == 3 && format != "npz" {
            "xs"
        } else {
            "xs ys"
        };
        let export = format!("ndshm export {arrays} -o - --format {format}");
        let more = match format {
            "raw" => "--format raw --dtype f8 --shape 3000",
            _ => "",
        };
        for cut in ["head -c -1", "head -c 5000", "head -c 40"] {
            let script = format!("{export} | {cut} | ndshm import - --name a {more}");
            let output = shell(&fixture, &script);
            let line = String::from_utf8(output.stderr).unwrap();
            assert!(
                !output.status.success() && line.lines().count() == 1,
                "{script}: {line}"
            );
            assert_eq!(fixture.run.list().unwrap().len(), 2, "{script}");
        }
    }
}
