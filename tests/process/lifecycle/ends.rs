//! The ends of processes: clean ones, signals, members that die before their owner.

use super::*;

#[test]
fn an_owner_and_its_workers_that_end_cleanly_write_nothing_to_the_error_stream() {
    let root = Root::new();
    let output = common::start(child_has_workers, &[Path::new("ends"), root.path()])
        .wait_with_output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && printed.contains(common::MARKER),
        "{printed}"
    );
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(root.contents(), NOTHING);
}

/// An owner with two workers, all of which hold arrays: it ends in order, or waits to be ended.
#[test]
#[ignore = "runs in a child"]
fn child_has_workers() {
    // SAFETY: the default action replaces whatever the test's starter had set; nothing in this
    // process handles these signals.
    let _ =
        [libc::SIGINT, libc::SIGTERM].map(|signal| unsafe { libc::signal(signal, libc::SIG_DFL) });
    let arguments = common::arguments();
    let manager = Manager::builder().root(&arguments[1]).create().unwrap();
    let (named, xs) = (
        manager
            .options()
            .name("named")
            .ones::<f64, _>(1000)
            .unwrap(),
        manager.ones::<f64, _>(1000).unwrap(),
    );
    let handle = xs.handle().to_string();
    let mut workers: Vec<Child> = (0..2)
        .map(|_| {
            let mut worker =
                common::child_command(child_is_a_worker, &[manager.path(), Path::new(&handle)]);
            let mut worker = worker
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let lines = BufReader::new(worker.stdout.as_mut().unwrap()).lines();
            assert!(lines.map(Result::unwrap).any(|line| line == "at work"));
            println!("worker {}", worker.id());
            worker
        })
        .collect();
    println!("all at work");
    if arguments[0] == "waits" {
        std::io::stdin().lines().for_each(drop);
        panic!("no signal ended this process");
    }
    for mut worker in workers.drain(..) {
        drop(worker.stdin.take());
        assert!(worker.wait().unwrap().success());
    }
    assert_eq!(xs.read().unwrap()[0], 1.0);
    drop((named, xs, manager));
    common::done();
}

#[test]
#[ignore = "runs in a child"]
fn child_is_a_worker() {
    let arguments = common::arguments();
    let manager = Manager::open(&arguments[0]).unwrap();
    let xs: SharedArray1<f64> = arguments[1].parse::<Handle>().unwrap().open().unwrap();
    let mine = manager.ones::<f64, _>(1000).unwrap();
    let _stays = manager
        .options()
        .scope(Scope::Store)
        .ones::<f64, _>(1000)
        .unwrap();
    let guard = mine.write().unwrap();
    assert_eq!(xs.read().unwrap().sum(), 1000.0);
    println!("at work");
    std::io::stdin().lines().for_each(drop);
    drop((mine, guard, xs, manager));
    // Not through the test harness, which would fail to print where the owner is gone.
    std::process::exit(0);
}

/// Waits until a process is gone that need not be a child: its locks are gone then, too.
fn wait_for_the_end(process: &OwnedFd) {
    let mut poll = libc::pollfd {
        fd: process.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one `pollfd` is given and its count is one; the descriptor is open while `process` is
    // borrowed.
    let ready = unsafe { libc::poll(&mut poll, 1, 60_000) };
    assert_eq!(ready, 1, "a process that was sent a signal lives on");
}

#[test]
fn a_signal_to_an_owner_or_to_its_whole_group_leaves_nothing_to_the_next_manager() {
    for (signal, to_group) in [
        (Signal::INT, true),
        (Signal::TERM, true),
        (Signal::KILL, true),
        (Signal::TERM, false),
        (Signal::KILL, false),
    ] {
        let root = Root::new();
        let mut command =
            common::child_command(child_has_workers, &[Path::new("waits"), root.path()]);
        // A group of its own, so that the signal goes to no other process.
        let mut owner = command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(owner.stdout.take().unwrap())
            .lines()
            .map(Result::unwrap);
        let processes: Vec<OwnedFd> = lines
            .by_ref()
            .take_while(|line| line != "all at work")
            .filter_map(|line| Pid::from_raw(line.strip_prefix("worker ")?.parse().ok()?))
            .map(|worker| pidfd_open(worker, PidfdFlags::empty()).unwrap())
            .collect();
        assert_eq!(processes.len(), 2);
        // The store, its lock file, two arrays of the owner, two of each worker.
        assert_eq!(
            root.contents().len(),
            1 + 1 + 2 + 2 * 2,
            "{:?}",
            root.contents()
        );
        let pid = Pid::from_child(&owner);
        let input = owner.stdin.take();
        match to_group {
            true => kill_process_group(pid, signal).unwrap(),
            false => rustix::process::kill_process(pid, signal).unwrap(),
        }
        assert_eq!(
            owner.wait().unwrap().signal(),
            Some(signal.as_raw()),
            "the default action, and no other"
        );
        // Where the owner alone was sent it, the workers' input ends with the owner, and so do
        // they.
        processes.iter().for_each(wait_for_the_end);
        drop(input);
        let mut errors = String::new();
        owner
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut errors)
            .unwrap();
        assert_eq!(errors, "", "{signal:?}");
        assert!(!root.contents().is_empty(), "a signal runs no destructors");
        let next = root.manager();
        assert_eq!(
            root.contents(),
            [next.path().to_path_buf(), next.path().join(".lock")],
            "{signal:?}"
        );
        drop(next);
        assert_eq!(root.contents(), NOTHING);
    }
}

#[test]
fn a_store_whose_owner_was_killed_stays_while_a_worker_lives() {
    let root = Root::new();
    let sweeper = root.manager();
    let mut owner = Peer::start(child_owns_a_store, &[root.path()]);
    let (path, handle) = (PathBuf::from(owner.hear("store ")), owner.hear("handle "));
    let mut worker = Peer::start(child_is_a_worker_that_answers, &[&handle]);
    worker.hear("open");
    owner.kill();
    assert_eq!(sweeper.sweep().unwrap().stores, 0);
    worker.tell("sum");
    assert_eq!(worker.hear("sum "), "3");
    assert!(path.exists());
    worker.finish();
    let swept = sweeper.sweep().unwrap();
    assert_eq!((swept.stores, swept.arrays, path.exists()), (1, 1, false));
}

#[test]
#[ignore = "runs in a child"]
fn child_owns_a_store() {
    let manager = Manager::builder()
        .root(common::arguments().remove(0))
        .create()
        .unwrap();
    let xs = manager.ones::<f64, _>(3).unwrap();
    println!("store {}\nhandle {}", manager.path().display(), xs.handle());
    std::io::stdin().lines().for_each(drop);
    common::done();
}

#[test]
#[ignore = "runs in a child"]
fn child_is_a_worker_that_answers() {
    let xs: SharedArray1<f64> = common::arguments()[0]
        .parse::<Handle>()
        .unwrap()
        .open()
        .unwrap();
    println!("open");
    std::io::stdin()
        .lines()
        .for_each(|_| println!("sum {}", xs.read().unwrap().sum()));
    common::done();
}

#[test]
fn a_member_s_end_takes_nothing_of_the_owner_s_away() {
    let root = Root::new();
    let manager = root.manager();
    let arrays: Vec<_> = [Scope::Local, Scope::Remote, Scope::Store]
        .into_iter()
        .flat_map(|scope| {
            [
                manager.options().scope(scope).ones::<f64, _>(3).unwrap(),
                manager
                    .options()
                    .name(scope.to_string())
                    .scope(scope)
                    .ones(3)
                    .unwrap(),
            ]
        })
        .collect();
    // Without the right to claim: the member would own a claimed array.
    let handles: Vec<_> = arrays
        .iter()
        .map(|xs| xs.handle().to_string().replace(":s=remote:", ":s=store:"))
        .collect();
    for (end, code, signal) in [
        ("drop", Some(0), None),
        ("exit", Some(7), None),
        ("abort", None, Some(libc::SIGABRT)),
    ] {
        let mut given = vec![end.to_owned(), manager.path().to_str().unwrap().to_owned()];
        given.extend(handles.iter().cloned());
        let output = common::start(child_ends_as_it_is_told, &given)
            .wait_with_output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(printed.contains("6 are open, 1 is claimed"), "{printed}");
        assert_eq!(
            (output.status.code(), output.status.signal()),
            (code, signal)
        );
        assert!(arrays.iter().all(|xs| xs.path().exists()), "{end}");
        // The arrays that the member made and claimed for itself are swept, or were dropped; the
        // rest stays.
        let swept = manager.sweep().unwrap();
        assert_eq!(
            (swept.arrays, swept.skipped.len()),
            (if end == "drop" { 0 } else { 2 }, 0),
            "{end}"
        );
        assert_eq!(manager.list().unwrap().len(), arrays.len(), "{end}");
        for xs in &arrays {
            assert_eq!(
                xs.handle()
                    .open::<f64, Ix1>()
                    .unwrap()
                    .read()
                    .unwrap()
                    .sum(),
                3.0
            );
            xs.set_scope(Scope::Store).unwrap();
        }
    }
}

#[test]
#[ignore = "runs in a child"]
fn child_ends_as_it_is_told() {
    let arguments = common::arguments();
    let manager = Manager::open(&arguments[1]).unwrap();
    let opened: Vec<SharedArray1<f64>> = arguments[2..]
        .iter()
        .map(|text| text.parse::<Handle>().unwrap().open().unwrap())
        .collect();
    assert!(
        opened
            .iter()
            .all(|xs| xs.read().unwrap().sum() == 3.0 && xs.scope() == Scope::Store)
    );
    let _own = manager.zeros::<f64, _>(3).unwrap();
    let handed_over = manager
        .options()
        .scope(Scope::Remote)
        .zeros::<f64, _>(3)
        .unwrap()
        .handle();
    let claimed = handed_over.open::<f64, Ix1>().unwrap();
    assert!(claimed.read().unwrap().len() == 3 && claimed.scope() == Scope::Local);
    println!("{} are open, 1 is claimed", opened.len());
    match arguments[0].as_str() {
        "drop" => {}
        "exit" => std::process::exit(7),
        _ => std::process::abort(),
    }
}
