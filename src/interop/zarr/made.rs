//! Arrays that a restore makes: without names at first, and published all or none.

use super::fill::Job;
use crate::{
    array::{self, any::AnyArray, growing::AnyGrowing},
    error::{Error, Result},
    format::name::ArrayName,
    manager::Manager,
    scope::Scope,
    segment::{draft::Draft, pages::Payload},
};

/// An array that no other process finds by its name yet.
pub(super) enum Made {
    Draft(Box<Draft>),
    Growing(AnyGrowing),
}

impl Made {
    pub(super) fn new(manager: &Manager, job: &Job, name: &str) -> Result<Self> {
        let member = manager.member();
        let mut labels = job.labels(name)?;
        if is_named_last(job) {
            if manager.contains(name)? {
                return Err(Error::name_taken(
                    ArrayName::parse(name)?.file_in(manager.path()),
                ));
            }
            labels.name = None;
            labels.scope = Some(Scope::Local);
        }
        if let Some(max_len) = job.max_len {
            let growing = AnyGrowing::create(member, labels, &job.dtype, &job.shape[1..], max_len)?;
            return Ok(Self::Growing(growing));
        }
        let draft = array::draft_any(
            member,
            labels,
            job.dtype.clone(),
            &job.shape,
            job.order,
            Payload::ToBeFilled,
        )?;
        Ok(Self::Draft(Box::new(draft)))
    }
}

/// Whether an array is published without its name, and gets that when it is frozen or poisoned: no
/// process finds it by its name in another state.
fn is_named_last(job: &Job) -> bool {
    job.max_len.is_some() || job.is_frozen || job.is_poisoned
}

/// An array that other processes can open.
enum Published {
    Array(AnyArray),
    Growing(AnyGrowing),
}

impl Published {
    /// Puts an array into the state that it had, and gives it its name then.
    fn complete(&self, manager: &Manager, name: &str, job: &Job) -> Result<()> {
        match self {
            Self::Array(array) => {
                if job.is_poisoned && !array.is_empty() {
                    array.write()?.poison();
                }
                if job.is_frozen {
                    array.freeze()?;
                }
            }
            Self::Growing(growing) if job.is_frozen => growing.freeze()?,
            Self::Growing(_) => {}
        }
        if !is_named_last(job) {
            return Ok(());
        }
        let path = match self {
            Self::Array(array) => array.path(),
            Self::Growing(growing) => growing.path(),
        };
        // The file of an array without a name is called by its digits.
        let id = path.file_stem().unwrap_or_default().to_string_lossy();
        manager.rename(&id, name)?;
        match self {
            Self::Array(array) => array.set_scope(Scope::Store),
            Self::Growing(growing) => growing.set_scope(Scope::Store),
        }
    }

    fn release(&self) {
        // It was this restore's alone.
        drop(match self {
            Self::Array(array) => array.release(),
            Self::Growing(growing) => growing.release(),
        });
    }
}

/// Gives all arrays their names, or none.
pub(super) fn publish(
    manager: &Manager,
    made: Vec<Made>,
    names: &[String],
    jobs: &[Job],
) -> Result<()> {
    let mut published: Vec<Published> = Vec::with_capacity(made.len());
    let publish = || {
        for ((made, name), job) in made.into_iter().zip(names).zip(jobs) {
            let one = match made {
                Made::Draft(draft) => Published::Array(AnyArray::of_published(draft.publish()?)),
                Made::Growing(growing) => Published::Growing(growing),
            };
            published.push(one);
            if let Some(one) = published.last() {
                one.complete(manager, name, job)?;
            }
        }
        Ok(())
    };
    publish().inspect_err(|_| published.iter().for_each(Published::release))
}
