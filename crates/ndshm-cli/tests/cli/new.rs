//! `new`.

use crate::stage::Stage;

#[test]
fn an_array_is_made_with_a_type_a_shape_a_value_and_attributes() {
    let stage = Stage::new();
    let path = stage
        .output("new xs complex128 '(2, 3)' --fill -1+2j --attr unit=m --attr by=me --axes a,b");
    assert_eq!(
        path.trim(),
        stage.run.path().join("xs.ndshm").to_str().unwrap()
    );
    let json = stage.json("show xs");
    assert_eq!(
        (
            json["dtype"].as_str(),
            json["shape"].to_string(),
            json["axis_names"].to_string()
        ),
        (Some("<c16"), "[2,3]".into(), r#"["a","b"]"#.into())
    );
    assert_eq!(json["attributes"].to_string(), r#"{"by":"me","unit":"m"}"#);
    assert_eq!(json["scope"], "store");
}

#[test]
fn a_store_is_made_only_if_that_was_asked_for() {
    let stage = Stage::new();
    assert!(
        stage
            .failure("new later/xs u8 5")
            .0
            .contains("no store is here")
    );
    stage.ndshm("new later/xs u8 5 --create-store").success();
    stage.ndshm("new later/ys u8 5x2").success();
    assert_eq!(
        stage.json("ls later")["stores"][0]["arrays"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn what_is_no_type_no_shape_and_no_value_is_refused_and_leaves_nothing() {
    let stage = Stage::new();
    for (arguments, reason) in [
        ("new xs f65 3", "\"f65\" is no element type"),
        ("new xs f64 3,b", "\"3,b\" is no shape"),
        ("new xs u8 3 --fill 256", "\"256\" is no value of type |u1"),
        ("new xs '(2,)<f4' 3 --fill 1", "can be filled with 0 only"),
        ("new .xs u8 3", "starts with a dot"),
    ] {
        let (line, code) = stage.failure(arguments);
        assert!(line.contains(reason) && code == 2, "{line}");
    }
    assert_eq!(stage.run.list().unwrap().len(), 0);
    stage.ndshm("new xs u8 3").success();
    assert_eq!(stage.failure("new xs u8 3").1, 4);
    assert!(
        stage
            .failure("new big u8 1000000000000000")
            .0
            .contains("no space")
    );
}
