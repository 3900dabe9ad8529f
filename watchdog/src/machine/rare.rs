//! What most runs never have: nothing is kept of it before it is written to. With thousands of workers that say nothing the
//! room for what they might say would be most of what they take.

use serde::{Serialize, Serializer};
use std::ops::{Deref, DerefMut};

/// How something is in the beginning.
pub trait Beginning: Default + 'static {
    /// The same for all.
    fn beginning() -> &'static Self;
}

/// Reads like the thing itself, which is there from the first write on.
#[derive(Clone, Debug, Default)]
pub struct Rare<T>(Option<Box<T>>);

impl<T: Beginning> Deref for Rare<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Some(own) => own,
            None => T::beginning(),
        }
    }
}

impl<T: Beginning> DerefMut for Rare<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_with(Default::default)
    }
}

impl<T: Beginning + PartialEq> PartialEq for Rare<T> {
    fn eq(&self, other: &Rare<T>) -> bool {
        **self == **other
    }
}

impl<T: Beginning + Serialize> Serialize for Rare<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(to)
    }
}

/// The beginning of a type by its default.
macro_rules! begins_empty {
    ($($kind:ty),*) => {
        $(impl Beginning for $kind {
            fn beginning() -> &'static $kind {
                static BEGINNING: std::sync::LazyLock<$kind> = std::sync::LazyLock::new(Default::default);
                &BEGINNING
            }
        })*
    };
}

begins_empty!(super::Beats, super::Talk, super::Usage);

#[cfg(test)]
mod tests {
    use super::super::{Beats, MonoTime};
    use super::*;

    /// Reading takes no room, and what was never written to is the same as what is as in the beginning.
    #[test]
    fn nothing_is_kept_before_the_first_write() {
        let mut beats: Rare<Beats> = Rare::default();
        assert!(!beats.armed && beats.last.is_none() && beats.0.is_none());
        beats.last = Some(MonoTime::ZERO);
        assert!(beats.0.is_some() && beats != Rare::default());
        beats.last = None;
        assert!(beats == Rare::default());
    }
}
