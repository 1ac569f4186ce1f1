//! The progress of a transfer.

/// The caller's function, which gets (bytes done, bytes in total).
pub(super) type Progress<'a> = Option<&'a (dyn Fn(u64, u64) + Sync)>;

/// Counts the bytes of one transfer and reports them.
pub(super) struct Meter<'a> {
    progress: Progress<'a>,
    done: u64,
    total: u64,
}

impl<'a> Meter<'a> {
    pub(super) fn new(progress: Progress<'a>, total: u64) -> Self {
        Self {
            progress,
            done: 0,
            total,
        }
    }

    pub(super) fn add(&mut self, bytes: usize) {
        self.done += bytes as u64;
        if let Some(progress) = self.progress {
            progress(self.done, self.total);
        }
    }

    #[cfg(test)]
    pub(super) fn done(&self) -> u64 {
        self.done
    }
}
