//! Accounts and their numbers.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `dids` | DID as text | number, u32 BE |
//! | `actors` | number, u32 BE | DID as text |

use skyweir_store::Result;
use skyweir_types::{ActorId, Did};

use crate::codec::Reader;
use crate::error::corrupt;

/// Key of `actors`, value of `dids`.
pub(crate) fn number(actor: ActorId) -> [u8; 4] {
    actor.0.to_be_bytes()
}

/// Reads a number.
pub(crate) fn read_number(bytes: &[u8]) -> Result<ActorId> {
    let mut reader = Reader::new("dids", bytes);
    let actor = ActorId(reader.u32()?);
    reader.end().map(|()| actor)
}

/// Reads a DID.
pub(crate) fn read_did(bytes: &[u8]) -> Result<Did> {
    std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| Did::parse(text).ok())
        .ok_or_else(|| corrupt("undecodable bytes in table actors"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(n: u32, name in "[a-z2-7]{24}") {
            prop_assert_eq!(read_number(&number(ActorId(n))).unwrap(), ActorId(n));
            let did = Did::parse(&format!("did:plc:{name}")).unwrap();
            prop_assert_eq!(read_did(did.as_str().as_bytes()).unwrap(), did);
        }
    }
}
