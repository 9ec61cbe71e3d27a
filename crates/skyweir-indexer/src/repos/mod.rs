//! A host that has no archive, but repositories: a relay or a PDS, read account by account.
//!
//! `listRepos` names the accounts page by page, `getRepo` sends each one's repository as a CAR archive: a commit, the
//! nodes of its tree (a Merkle search tree) and the records, each block under its hash. The commit's signature isn't
//! checked, as on the firehose: the host is trusted for whose repository it is, the hashes for what is in it.
//!
//! ```text
//! CAR:    varint length | header { roots: [CID], version: 1 } | ( varint length | CID | block )*
//! commit: { did, version: 3, data: CID of the tree's root, rev, prev, sig }
//! node:   { l: CID of what is left of all entries, or null, e: [entry] }
//! entry:  { p: bytes of the key shared with the one before, k: the rest, v: CID of the record, t: CID of what is
//!           between this key and the next, or null }
//! ```
//!
//! A key is `collection/rkey`, and the keys rise. Blocks may come in any order: the official PDS sends what was written
//! last first, so that nodes mostly come before what they point to; newer ones go down the tree.

mod backfill;
mod car;
mod fault;
mod fetch;
mod held;
mod hosts;
mod list;
mod place;
mod resync;
mod settle;
mod source;
mod turns;
mod walk;

pub(crate) use backfill::Backfill;
pub use car::CarReader;
pub use fault::RepoFault;
pub(crate) use list::serves;
pub use place::Page;
pub(crate) use place::REPOSITORIES_OF;
pub(crate) use resync::{Asker, Resync};
pub(crate) use source::run;
pub use walk::{Commit, Found, Pass, RepoWalk};
