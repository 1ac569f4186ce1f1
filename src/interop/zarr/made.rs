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
        if let Some(max_len) = job.max_len {
            if manager.contains(name)? {
                return Err(Error::name_taken(
                    ArrayName::parse(name)?.file_in(manager.path()),
                ));
            }
            labels.name = None;
            labels.scope = Some(Scope::Local);
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

/// An array that has its name.
enum Published {
    Array(AnyArray),
    Growing(AnyGrowing),
}

impl Published {
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
            match made {
                Made::Draft(draft) => {
                    published.push(Published::Array(AnyArray::of_published(draft.publish()?)));
                }
                Made::Growing(growing) => {
                    // The file of an array without a name is called by its digits.
                    let stem = growing.path().file_stem().unwrap_or_default();
                    let id = stem.to_string_lossy().into_owned();
                    published.push(Published::Growing(growing));
                    manager.rename(&id, name)?;
                }
            }
            match published.last() {
                Some(Published::Array(array)) if job.is_frozen => array.freeze()?,
                Some(Published::Array(array)) if job.is_poisoned && !array.is_empty() => {
                    array.write()?.poison();
                }
                Some(Published::Growing(growing)) => {
                    if job.is_frozen {
                        growing.freeze()?;
                    }
                    growing.set_scope(Scope::Store)?;
                }
                _ => {}
            }
        }
        Ok(())
    };
    publish().inspect_err(|_| published.iter().for_each(Published::release))
}
