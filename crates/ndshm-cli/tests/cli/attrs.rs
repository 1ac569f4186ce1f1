//! `attrs`.

use crate::fixture::{Fixture, start_a_writer};
use ndarray::Ix1;
use serde_json::json;
use std::collections::BTreeMap;

#[test]
fn attributes_are_printed() {
    let fixture = Fixture::new();
    let attrs = BTreeMap::from([("gain", 2)]);
    let options = fixture.run.options().name("xs");
    options.attrs(&attrs).unwrap().zeros::<f64, _>(3).unwrap();
    fixture.ndshm("new ys u8 3 --attr unit=m").success();
    fixture.ndshm("attrs xs").success().stdout_eq("gain = 2\n");
    fixture.ndshm("attrs ys").success().stdout_eq("unit = m\n");
    assert_eq!(fixture.json("attrs xs")["attributes"], json!({ "gain": 2 }));
    fixture.arange("none", &[1]);
    fixture.ndshm("attrs none").success().stdout_eq("");
    assert_eq!(fixture.failure("attrs xs[0]").1, 2);
}

#[test]
fn other_attributes_need_a_copy_that_takes_the_name() {
    let fixture = Fixture::new();
    fixture
        .ndshm("new xs f8 3 --fill 2 --attr unit=m --attr draft=yes --axes t")
        .success();
    fixture.ndshm("freeze xs").success();
    let before = fixture.run.array::<f64, Ix1>("xs").unwrap();
    let (line, code) = fixture.failure("attrs xs unit=km");
    assert!(code == 2 && line.contains("--copy replaces it"), "{line}");
    assert_eq!(fixture.failure("attrs xs --unset nosuch --copy").1, 3);
    let output = fixture.output("attrs xs unit=km where=here=there --unset draft --copy");
    let after = fixture.run.array::<f64, Ix1>("xs").unwrap();
    assert!(
        output.contains(&format!("a copy with the id {}", after.id())),
        "{output}"
    );
    assert!(after.id() != before.id() && after.is_frozen());
    assert_eq!(
        (after.read().unwrap().sum(), before.read().unwrap().sum()),
        (6.0, 6.0)
    );
    fixture
        .ndshm("attrs xs")
        .success()
        .stdout_eq("unit = km\nwhere = here=there\n");
    assert_eq!(fixture.json("show xs")["axis_names"][0], "t");
    let json = fixture.json("attrs xs unit=m --copy");
    assert_eq!(json["replaced"], after.id().to_string());
    assert_eq!(json["attributes"]["unit"], "m");
    assert_eq!(fixture.run.list().unwrap().len(), 1);
}

#[test]
fn arrays_that_processes_use_or_that_cannot_be_copied_keep_their_attributes() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[6]);
    let options = || fixture.run.options();
    options().name("ring").ring::<f64, _>(2, 2).unwrap();
    options().name("log").growing::<f64, _>(9, ()).unwrap();
    let writer = start_a_writer(&fixture);
    for (name, words) in [
        ("xs", "holds a guard on it; --force replaces it"),
        ("ring", "it is a ring"),
        ("log", "ndshm freeze ends its growth"),
    ] {
        let (line, code) = fixture.failure(&format!("attrs {name} a=b --copy"));
        assert!(code == 4 && line.contains(words), "{name}: {line}");
    }
    writer.finish();
    fixture.ndshm("attrs xs ab --copy").code(2);
}
