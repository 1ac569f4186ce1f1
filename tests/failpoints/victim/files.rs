//! The scenarios of files: a process dies while it makes, opens, deletes or sweeps arrays and
//! stores.

use super::{Victim, die};
use crate::setup::{GIVEN, soon};
use ndarray::Ix1;
use ndshm::{Error, Handle, Manager, Scope, SharedArray1, failpoint};
use std::path::PathBuf;

impl Victim {
    /// An array of a manager that uses files again, which another process is about to open.
    fn recyclable(&self) -> (Manager, SharedArray1<u64>) {
        let manager = Manager::builder()
            .path(&self.store)
            .recycle(1 << 20)
            .open()
            .unwrap();
        let array = manager.from_elem(10, 3u64).unwrap();
        self.await_opener(array.handle());
        (manager, array)
    }

    /// Lets another process open an array of this one, and waits until it stands there.
    fn await_opener(&self, handle: Handle) {
        std::fs::write(self.markers.join("written"), handle.to_string()).unwrap();
        std::fs::rename(self.markers.join("written"), self.markers.join("old")).unwrap();
        soon("the opener stands", || self.markers.join("opener").exists());
    }

    /// A store beside the one that others work in.
    fn another_store(&self, name: &str) -> Manager {
        let manager = Manager::builder()
            .root(self.store.parent().unwrap())
            .name(name)
            .create()
            .unwrap();
        for name in ["one", "two"] {
            manager.options().name(name).zeros::<u64, _>(100).unwrap();
        }
        manager
    }

    pub(super) fn run_with_files(&self, scenario: &str) {
        match scenario {
            "join" | "join after a boot" => {
                self.arm();
                self.manager();
            }
            "open" => {
                let _member = self.manager_that_caches(0);
                let protected = (self.point == "OpenWritableMapped").then(|| {
                    self.given()
                        .open::<u64, Ix1>()
                        .unwrap()
                        .read_only()
                        .unwrap()
                        .handle()
                });
                // An array that was opened for reading is opened for writing.
                let opened = protected.map(|handle| handle.open::<u64, Ix1>().unwrap());
                self.arm();
                assert_eq!(
                    self.given()
                        .open::<u64, Ix1>()
                        .unwrap()
                        .read()
                        .unwrap()
                        .sum(),
                    20
                );
                drop(opened);
            }
            "claim" => {
                let _member = self.manager();
                self.arm();
                let claimed: SharedArray1<u64> = self.given().open().unwrap();
                assert_eq!(claimed.scope(), Scope::Local);
            }
            "hand over" => {
                let manager = self.manager();
                let options = manager.options().name(GIVEN).scope(Scope::Local);
                let array = options.from_elem(10, 3u64).unwrap();
                self.arm();
                assert_eq!(array.hand_over().scope(), Scope::Remote);
                drop(array);
            }
            "hand over to an heir" => {
                let array = self.manager().from_elem(10, 3u64).unwrap();
                self.await_opener(array.hand_over());
                self.arm();
                drop(array);
            }
            "be an heir" => {
                let _member = self.manager();
                self.arm();
                let array = self.given().open::<u64, Ix1>().unwrap();
                assert_eq!(array.read().unwrap().sum(), 20);
            }
            "scope" => {
                let array = self
                    .manager()
                    .options()
                    .name(GIVEN)
                    .scope(Scope::Local)
                    .from_elem(10, 3u64)
                    .unwrap();
                self.arm();
                array.set_scope(Scope::Remote).unwrap();
            }
            "create" => {
                let manager = self.manager();
                self.arm();
                let made = manager.options().name(GIVEN).from_elem(10, 3u64);
                assert!(
                    matches!(made, Ok(_) | Err(Error::AlreadyExists { .. })),
                    "{made:?}"
                );
            }
            "create unnamed" => {
                let manager = self.manager();
                self.arm();
                manager.from_elem(10, 3u64).unwrap();
            }
            "create while closing" => {
                let manager = self.manager();
                failpoint::stand("PublishWanted", 1, &self.markers.join("publishes"));
                self.arm();
                assert!(matches!(
                    manager.options().name(GIVEN).from_elem(10, 3u64),
                    Err(Error::Closed { .. })
                ));
            }
            "rename" | "replace" => {
                let manager = self.manager();
                manager.options().name("next").from_elem(10, 3u64).unwrap();
                self.arm();
                match scenario {
                    "rename" => manager.rename("next", GIVEN).unwrap(),
                    _ => manager.replace("next", GIVEN).unwrap(),
                }
            }
            "release" => {
                let array = self.given().open::<u64, Ix1>().unwrap();
                self.arm();
                array.release().unwrap();
            }
            "drop" => {
                let array = self
                    .manager()
                    .options()
                    .name(GIVEN)
                    .scope(Scope::Local)
                    .from_elem(10, 3u64)
                    .unwrap();
                self.arm();
                drop(array);
            }
            "drop and keep" | "release and keep" => {
                let (_manager, array) = self.recyclable();
                self.arm();
                if scenario == "release and keep" {
                    array.release().unwrap();
                }
                drop(array);
            }
            "drop and keep what another member made" => {
                let made = {
                    let options = self.manager();
                    let options = options.options().scope(Scope::Remote);
                    options.from_elem(10, 3u64).unwrap().handle()
                };
                // The membership ended with the last manager, so this is another one.
                let manager = Manager::builder().path(&self.store).recycle(1 << 20);
                let _manager = manager.open().unwrap();
                let array: SharedArray1<u64> = made.open().unwrap();
                // A claim that is not used is given back.
                assert_eq!(array.read().unwrap().sum(), 30);
                assert_eq!(array.scope(), Scope::Local);
                self.await_opener(array.handle());
                self.arm();
                drop(array);
            }
            "make of a kept file" | "make of a kept file, named" => {
                let (manager, array) = self.recyclable();
                drop(array);
                self.arm();
                let options = manager.options();
                let options = if scenario.ends_with("named") {
                    options.name(GIVEN)
                } else {
                    options
                };
                let made = options.from_elem(10, 5u64);
                assert!(
                    matches!(made, Ok(_) | Err(Error::AlreadyExists { .. })),
                    "{made:?}"
                );
            }
            "open the old one" => {
                let _member = self.manager();
                let old: Handle = std::fs::read_to_string(self.markers.join("old"))
                    .unwrap()
                    .parse()
                    .unwrap();
                self.arm();
                match old.open::<u64, Ix1>() {
                    Ok(array) => assert!(
                        array.read().unwrap().iter().all(|&x| x == 3),
                        "another array"
                    ),
                    Err(Error::Released { .. }) => println!("released"),
                    Err(error) => panic!("{error:?}"),
                }
            }
            "open what is dropped" | "open what is released" | "open what is frozen" => {
                let is_from_cache = ["OpenFromCache", "MappingKept"].contains(&self.point.as_str());
                let _member = self.manager_that_caches(if is_from_cache { 1 << 20 } else { 0 });
                if is_from_cache {
                    // Kept from the third use on.
                    (0..3).for_each(|_| drop(self.given().open::<u64, Ix1>().unwrap()));
                }
                self.arm();
                match self.given().open::<u64, Ix1>() {
                    Ok(array) => match array.write() {
                        // This write reaches no process if the array was released; the owner of
                        // another array would notice it.
                        Ok(mut guard) => {
                            assert!(guard.iter().all(|&x| x == 2), "another array: {guard:?}");
                            guard.fill(7);
                        }
                        Err(Error::Frozen { .. }) => assert_eq!(array.read().unwrap().sum(), 20),
                        Err(error) => panic!("{error:?}"),
                    },
                    Err(Error::Released { .. }) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
            "make a store" => {
                let root = self.store.parent().unwrap();
                self.arm();
                Manager::builder()
                    .root(root)
                    .name("other")
                    .create()
                    .unwrap();
            }
            "persist" => {
                let other = self.another_store("other");
                self.arm();
                other.persist().unwrap();
            }
            "sweep" | "sweep after a dead sweeper" => {
                let manager = self.manager();
                self.arm();
                let swept = manager.sweep().unwrap();
                assert!(swept.skipped.is_empty(), "{swept:?}");
            }
            "leave all kinds of things" => self.leave(),
            "drop a store" => {
                let other = self.another_store("other");
                self.arm();
                drop(other);
            }
            "close another's place" => {
                let manager = self.manager();
                failpoint::stand("RenameAwayWanted", 1, &self.markers.join("closes"));
                self.arm();
                manager.close().unwrap();
            }
            close if close.starts_with("close") => {
                let manager = self.manager();
                self.arm();
                manager.close().unwrap();
            }
            other => panic!("no scenario is called {other:?}"),
        }
    }

    /// Dies while it makes an array and a store, deletes an array and a store, and owns arrays and
    /// a store.
    fn leave(&self) {
        let manager = self.manager();
        let _owned = manager
            .options()
            .name("left")
            .scope(Scope::Local)
            .zeros::<u64, _>(10)
            .unwrap();
        let _unnamed = manager.zeros::<u64, _>(10).unwrap();
        let _dead = self.another_store("dead");
        let _renamed_away = self.another_store("closing");
        let released = manager
            .options()
            .name("released")
            .zeros::<u64, _>(10)
            .unwrap();
        let marker = |point: &str| {
            let file = self.markers.join(point);
            failpoint::stand(point, 1, &file);
            file
        };
        std::thread::scope(|scope| {
            let root = self.store.parent().unwrap();
            let stands = |file: PathBuf| soon("a thread stands", || file.exists());
            let file = marker("CreateHeaderWritten");
            scope.spawn(|| manager.zeros::<u64, _>(10));
            stands(file);
            let file = marker("StoreLockWritten");
            scope.spawn(move || Manager::builder().root(root).name("never").create());
            stands(file);
            let file = marker("StoreFileRemoved");
            scope.spawn(|| _renamed_away.close());
            stands(file);
            let file = marker("UnlinkWanted");
            scope.spawn(|| released.release());
            stands(file);
            die();
        });
    }
}
