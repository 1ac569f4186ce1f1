//! Forks of processes with threads, and at the limit of descriptors.

use super::*;

/// The locks of the library, and those of the libraries that it uses, must not be held by a thread
/// that a child does not have.
#[test]
fn forking_while_other_threads_make_and_open_arrays_leaves_no_lock_taken() {
    run(child_forks_amid_threads);
}

#[test]
#[ignore = "runs in a child"]
fn child_forks_amid_threads() {
    const FORKS: usize = 300;
    let manager = manager();
    let shared = manager.ones::<f64, _>(3).unwrap();
    let is_over = AtomicBool::new(false);
    let work = |manager: &Manager| {
        let made = manager.ones::<f64, _>(3).unwrap();
        let named = manager
            .options()
            .name(made.id().to_string())
            .scope(Scope::Local)
            .ones::<f64, _>(3)
            .unwrap();
        assert_eq!(
            manager
                .array::<f64, Ix1>(&made.id().to_string())
                .unwrap()
                .read()
                .unwrap()
                .sum(),
            3.0
        );
        assert_eq!(
            shared
                .handle()
                .open::<f64, Ix1>()
                .unwrap()
                .read()
                .unwrap()
                .sum(),
            3.0
        );
        drop((made, named));
    };
    std::thread::scope(|scope| {
        (0..3).for_each(|_| {
            scope.spawn(|| {
                while !is_over.load(SeqCst) {
                    work(&manager);
                }
            });
        });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..FORKS {
                match fork() {
                    Fork::Child(end) => {
                        // SAFETY: as in `fork`; sooner, because a wait here lasts for ever.
                        unsafe { libc::alarm(20) };
                        work(&manager);
                        end.done()
                    }
                    Fork::Parent(pid) => wait(pid),
                }
            }
        }));
        is_over.store(true, SeqCst);
        result.unwrap();
    });
    assert_eq!(manager.list().unwrap().len(), 1);
    common::done();
}

#[test]
fn a_fork_at_the_limit_of_descriptors_takes_no_living_parent_for_dead() {
    run(child_forks_without_a_descriptor_to_spare);
}

#[test]
#[ignore = "runs in a child"]
fn child_forks_without_a_descriptor_to_spare() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let manager = manager();
    let xs = manager.ones::<f64, _>(3).unwrap();
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(64),
            maximum,
        },
    )
    .unwrap();
    let mut files = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        files.push(file);
    }
    let pid = match fork() {
        Fork::Child(end) => {
            drop(files);
            setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
            // The first use joins anew; then no member is dead.
            assert_eq!(manager.zeros::<f64, _>(3).unwrap().len(), 3);
            let swept = manager.sweep().unwrap();
            assert!(swept.arrays == 0 && xs.path().exists(), "{swept:?}");
            end.done()
        }
        Fork::Parent(pid) => pid,
    };
    wait(pid);
    drop(files);
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
    assert!(xs.path().exists());
    drop((xs, manager));
    common::done();
}
