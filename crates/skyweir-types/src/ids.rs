//! The numbers that stand for things inside one store. None of them leaves the service.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}:{}", stringify!($name), self.0)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// An interned account: dense, from 0 up, never reused.
    ActorId(u32)
);
id!(
    /// One version of a post or repost record, never reused. Stores hand out less than 2^47 of them.
    ItemId(u64)
);
id!(
    /// A place in the task log; tasks are numbered from 1 in the order of their effects.
    TaskId(u64)
);
id!(
    /// A period of one timeline's cache, in microseconds, rising and never repeated; 0 is none.
    Generation(u64)
);

impl TaskId {
    /// The task after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
