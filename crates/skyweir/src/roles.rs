//! The roles of a process: which stages of the service run in it.

use std::fmt;
use std::str::FromStr;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::suggest::nearest;

const NAMES: [&str; 4] = ["indexer", "graph", "writer", "api"];

/// What a process does. By default all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Roles {
    /// Reads events from upstream, and writes records.
    pub(crate) indexer: bool,
    /// Serves the follower graph to writers in other processes.
    pub(crate) graph: bool,
    /// Works through the task log, and writes timelines.
    pub(crate) writer: bool,
    /// Answers reads.
    pub(crate) api: bool,
}

impl Roles {
    pub(crate) const ALL: Self = Self { indexer: true, graph: true, writer: true, api: true };
    const NONE: Self = Self { indexer: false, graph: false, writer: false, api: false };

    /// This one, too.
    fn with(mut self, name: &str) -> Result<Self, String> {
        match name {
            "indexer" => self.indexer = true,
            "graph" => self.graph = true,
            "writer" => self.writer = true,
            "api" => self.api = true,
            _ => {
                return Err(match nearest(name, NAMES) {
                    Some(near) => format!("unknown role {name:?}, did you mean {near:?}?"),
                    None => format!("unknown role {name:?}; known are {}", NAMES.join(", ")),
                });
            }
        }
        Ok(self)
    }

    fn has(self) -> [bool; 4] {
        [self.indexer, self.graph, self.writer, self.api]
    }
}

impl Default for Roles {
    fn default() -> Self {
        Self::ALL
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has = NAMES.into_iter().zip(self.has()).filter(|(_, has)| *has);
        f.write_str(&has.map(|(name, _)| name).collect::<Vec<_>>().join(","))
    }
}

/// `indexer,graph`.
impl FromStr for Roles {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').try_fold(Self::NONE, |roles, name| roles.with(name.trim()))
    }
}

/// `["indexer", "graph"]`.
impl<'de> Deserialize<'de> for Roles {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Roles;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("names in brackets, as in [\"indexer\", \"graph\", \"writer\", \"api\"]")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Roles, A::Error> {
                let mut roles = Roles::NONE;
                while let Some(name) = names.next_element::<String>()? {
                    roles = roles.with(&name).map_err(A::Error::custom)?;
                }
                if roles == Roles::NONE { Err(A::Error::invalid_length(0, &self)) } else { Ok(roles) }
            }
        }
        from.deserialize_seq(Names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_named_by_commas() {
        let some = Roles { graph: true, api: true, ..Roles::NONE };
        assert_eq!("api, graph".parse(), Ok(some));
        assert_eq!((some.to_string(), Roles::ALL.to_string()), ("graph,api".into(), NAMES.join(",")));
        for roles in [some, Roles::ALL] {
            assert_eq!(roles.to_string().parse(), Ok(roles));
        }
        for (text, said) in [
            ("writr", "unknown role \"writr\", did you mean \"writer\"?"),
            ("api,", "unknown role \"\"; known are indexer, graph, writer, api"),
            ("indexer,reader", "unknown role \"reader\"; known are indexer, graph, writer, api"),
        ] {
            assert_eq!(text.parse::<Roles>(), Err(said.to_owned()));
        }
    }
}
