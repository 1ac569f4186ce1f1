//! The decision whether a store is renamed away: the steps between the look at the path and the
//! rename, without files.
//!
//! [`remove`](super::remove) takes these steps on a file system; `models/loom/closing.rs` takes
//! them on a map, beside makers, other closers and deaths, in every order.

/// Device and inode of a lock file.
pub(crate) type Inode = (u64, u64);

/// The place of a store, as one closer sees it.
pub(crate) trait Place {
    /// The closing lock of the marked store. It is freed when this is dropped or the closer dies.
    type Lock;
    type Error;

    /// Takes the closing lock of the store that the closer marked.
    fn lock(&self) -> Result<Self::Lock, Self::Error>;
    /// The lock file of the store at the path.
    fn found(&self) -> Result<Option<Inode>, Self::Error>;
    /// Renames the directory at the path away. Returns false if nothing is there.
    fn rename_away(&self) -> Result<bool, Self::Error>;
    /// The lock file of the store that was renamed away.
    fn found_away(&self) -> Result<Option<Inode>, Self::Error>;
    /// Renames the directory back that was renamed away.
    fn put_back(&self) -> Result<(), Self::Error>;
}

/// Renames the marked store away. Returns false if it is not at its path any more.
///
/// Each process that renames a store away holds that store's lock. So between the look and the
/// rename no other process moves the marked store, and no other store can take its path. Only a
/// user who moves directories by hand can: the second look finds that, and puts the other store
/// back.
pub(crate) fn rename_away<P: Place>(place: &P, marked: Inode) -> Result<bool, P::Error> {
    let _closing = place.lock()?;
    if place.found()? != Some(marked) {
        return Ok(false);
    }
    failpoint!(RenameAwayWanted);
    if !place.rename_away()? {
        return Ok(false);
    }
    failpoint!(StoreRenamedAway);
    if place.found_away()?.is_some_and(|found| found != marked) {
        failpoint!(StorePutBack);
        return place.put_back().map(|()| false);
    }
    Ok(true)
}
