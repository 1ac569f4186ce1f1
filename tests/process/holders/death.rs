//! Writers that left bytes half-written.

use super::*;

#[test]
fn a_writer_that_died_is_named_as_ended_and_one_that_panicked_as_it_is() {
    let root = Root::new();
    let manager = root.manager();
    let xs: SharedArray2<f64> = manager.options().name("xs").zeros((4, 8)).unwrap();
    let row = xs.slice(s![1, ..]).unwrap();
    let mut killed = peer();
    takes(&mut killed, "write", &row.handle());
    let pid = pid_of(&killed);
    killed.kill();
    // The first reader makes a record of it, the second one reads that.
    for _ in 0..2 {
        let error = xs.read().map(drop).unwrap_err();
        assert!(matches!(error, Error::Poisoned { .. }), "{error}");
        let writer = only(&error);
        assert_eq!(
            (writer.pid, writer.is_alive, writer.command.as_deref()),
            (Some(pid), false, None),
            "{error}"
        );
        assert_eq!(
            (writer.kind, writer.place().as_str()),
            (Some(GuardKind::Write), "xs[1]")
        );
        let words = format!(
            "bytes 64..128 of the array's data may be half-written: their writer, process {pid} \
             (ended), held xs[1] and died or panicked; "
        );
        assert!(error.to_string().contains(&words), "{error}");
    }
    row.recover().unwrap().fill(0.0);

    let mut panicked = peer();
    takes(&mut panicked, "panics", &row.handle());
    let error = xs.try_write().map(drop).unwrap_err();
    let writer = only(&error);
    assert_eq!(
        (writer.pid, writer.is_alive, writer.command.as_deref()),
        (
            Some(pid_of(&panicked)),
            true,
            Some(command_of(pid_of(&panicked)).as_str())
        ),
        "{error}"
    );
    panicked.finish();
    // It has ended since, and its pid is another one's by now for all that is known.
    let error = xs.try_write().map(drop).unwrap_err();
    assert_eq!(
        (only(&error).is_alive, only(&error).command.as_deref()),
        (false, None)
    );

    // By a panic of this process.
    row.recover().unwrap().fill(0.0);
    let view = row.view().unwrap();
    let thread = std::thread::spawn(move || {
        let _guard = view.write().unwrap();
        panic!("half-way");
    });
    assert!(thread.join().is_err());
    let error = xs.read().map(drop).unwrap_err();
    assert!(only(&error).is_this_process, "{error}");
    assert!(
        error
            .to_string()
            .contains("their writer, this process, held xs[1] and died"),
        "{error}"
    );
}
