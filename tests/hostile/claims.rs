//! Claims of several processes, and handles whose scope is not the array's.

use super::*;
use ndarray::Ix1;
use ndshm::{Scope, SharedArray1};

pub(crate) fn try_all(fixture: &mut Fixture) {
    two_claimants(fixture);
    claims_without_a_right(fixture);
}

/// The first that uses its claim deletes the array, here and in another process.
fn two_claimants(fixture: &mut Fixture) {
    fs::remove_file(&fixture.path).unwrap();
    let xs = fixture
        .manager
        .options()
        .name("x")
        .scope(Scope::Remote)
        .ones::<f64, _>(3)
        .unwrap();
    let text = xs.handle().to_string();
    drop(xs);
    let first: SharedArray1<f64> = text.parse::<Handle>().unwrap().open().unwrap();
    assert_eq!(
        (first.scope(), first.read().unwrap().sum()),
        (Scope::Local, 3.0)
    );
    let printed = common::run(child_claims_too, std::slice::from_ref(&text));
    assert!(printed.contains("got store"), "{printed}");
    assert!(first.path().exists());
    // The second in the process that has claimed it shares the claim.
    let again: SharedArray1<f64> = text.parse::<Handle>().unwrap().open().unwrap();
    drop(first);
    assert!(fixture.path.exists());
    drop(again);
    assert!(!fixture.path.exists());
    expect(
        "claimed and gone",
        "Released",
        "was released",
        text.parse::<Handle>().unwrap().open::<f64, Ix1>(),
    );
    drop(fixture.restore());
    fixture.close_row("two claimants");
}

#[test]
#[ignore = "runs in a child"]
fn child_claims_too() {
    let xs: SharedArray1<f64> = common::arguments()[0]
        .parse::<Handle>()
        .unwrap()
        .open()
        .unwrap();
    assert_eq!(xs.read().unwrap().sum(), 3.0);
    println!("got {}", xs.scope());
    drop(xs);
    common::done();
}

/// A handle that says remote, or local, where the array is neither: nothing to claim, nothing
/// deleted.
fn claims_without_a_right(fixture: &mut Fixture) {
    for scope in ["s=remote", "s=local"] {
        drop(fixture.restore());
        let text = fixture.handle.to_string().replacen("s=store", scope, 1);
        assert!(text.contains(scope));
        let printed = common::run(child_opens_and_drops, std::slice::from_ref(&text));
        assert!(printed.contains("got store"), "{printed}");
        let xs: SharedArrayD<f64> = text.parse::<Handle>().unwrap().open().unwrap();
        assert_eq!((xs.scope(), xs.read().unwrap().sum()), (Scope::Store, 15.0));
        drop(xs);
        fixture.close_row(scope);
        drop(fixture.restore());
    }
}

#[test]
#[ignore = "runs in a child"]
fn child_opens_and_drops() {
    let xs: SharedArrayD<f64> = common::arguments()[0]
        .parse::<Handle>()
        .unwrap()
        .open()
        .unwrap();
    assert_eq!(xs.read().unwrap().sum(), 15.0);
    println!("got {}", xs.scope());
    drop(xs);
    common::done();
}
