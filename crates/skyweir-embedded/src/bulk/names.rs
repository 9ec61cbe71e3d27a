//! The numbers of DIDs while a network is loaded: 20 bytes an account in a table, and the texts in a file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use foldhash::fast::RandomState;
use skyweir_store::{Error, Result};
use skyweir_types::{ActorId, Did};

use super::tail::{Extent, Tail};
use crate::error::{corrupt, io};

const PLC: &str = "did:plc:";
const ALPHABET: &[u8; 32] = b"234567abcdefghijklmnopqrstuvwxyz";
const NONE: u8 = u8::MAX;

/// The 24 digits of a usual DID, five bits each, six a number. They are ordered as the texts are.
type Plc = [u32; 4];

static DIGITS: [u8; 256] = {
    let mut digits = [NONE; 256];
    let mut at = 0;
    while at < ALPHABET.len() {
        digits[ALPHABET[at] as usize] = at as u8;
        at += 1;
    }
    digits
};

fn pack(did: &str) -> Option<Plc> {
    let digits: &[u8; 24] = did.strip_prefix(PLC)?.as_bytes().try_into().ok()?;
    let mut packed = Plc::default();
    for (number, six) in packed.iter_mut().zip(digits.chunks_exact(6)) {
        for digit in six.iter().map(|byte| DIGITS[usize::from(*byte)]) {
            if digit == NONE {
                return None;
            }
            *number = *number << 5 | u32::from(digit);
        }
    }
    Some(packed)
}

fn unpack(packed: Plc) -> String {
    let digits = packed
        .into_iter()
        .flat_map(|number| (0..6).rev().map(move |at| ((number >> (5 * at)) & 31) as usize));
    PLC.chars().chain(digits.map(|digit| char::from(ALPHABET[digit]))).collect()
}

/// All accounts of a load. Numbers are given in the order of asking; the file has a line for each.
pub(super) struct Names {
    plc: HashMap<Plc, u32, RandomState>,
    others: HashMap<Did, u32, RandomState>,
    next: u32,
    file: Tail,
}

impl Names {
    /// Those that were given by the time the file had so much.
    pub(super) fn open(folder: &Path, extent: Extent) -> Result<Self> {
        let file = Tail::summed(folder, "names", extent)?;
        let mut names = Self { plc: HashMap::default(), others: HashMap::default(), next: 0, file };
        let mut lines = names.file.read(0)?;
        let mut line = String::new();
        while read_line(&mut lines, &mut line, names.file.path())? {
            let did =
                Did::parse(&line).map_err(|_| corrupt("undecodable bytes among the names of a load"))?;
            if names.find_or_add(&did)?.1 {
                continue;
            }
            return Err(corrupt("a name of a load stands twice"));
        }
        Ok(names)
    }

    pub(super) fn len(&self) -> usize {
        self.next as usize
    }

    pub(super) fn file(&mut self) -> &mut Tail {
        &mut self.file
    }

    /// The number of a DID, and whether it is a new one.
    pub(super) fn number(&mut self, did: &Did) -> Result<(ActorId, bool)> {
        let (actor, is_new) = self.find_or_add(did)?;
        if is_new {
            self.file.push(did.as_str().as_bytes())?;
            self.file.push(b"\n")?;
        }
        Ok((actor, is_new))
    }

    fn find_or_add(&mut self, did: &Did) -> Result<(ActorId, bool)> {
        let next = self.next;
        if next == u32::MAX {
            return Err(Error::Limit("2^32 accounts".into()));
        }
        let number = match pack(did.as_str()) {
            Some(packed) => *self.plc.entry(packed).or_insert(next),
            None => match self.others.get(did) {
                Some(number) => *number,
                None => *self.others.entry(did.clone()).or_insert(next),
            },
        };
        let is_new = number == next;
        self.next += u32::from(is_new);
        Ok((ActorId(number), is_new))
    }

    /// Calls with each number and DID in the order of the numbers, then with each in the order of the DIDs.
    pub(super) fn write(
        mut self,
        mut by_number: impl FnMut(ActorId, &str) -> Result<()>,
        mut by_did: impl FnMut(&str, ActorId) -> Result<()>,
    ) -> Result<()> {
        self.file.check()?;
        let mut lines = self.file.read(0)?;
        let mut line = String::new();
        let mut number = 0;
        while read_line(&mut lines, &mut line, self.file.path())? {
            by_number(ActorId(number), &line)?;
            number += 1;
        }
        let mut others: Vec<_> = self.others.into_iter().collect();
        others.sort_unstable();
        let mut others = others.into_iter().peekable();
        let mut plc: Vec<_> = self.plc.into_iter().collect();
        plc.sort_unstable();
        for (packed, number) in plc {
            let did = unpack(packed);
            while let Some((other, number)) = others.next_if(|(other, _)| other.as_str() < did.as_str()) {
                by_did(other.as_str(), ActorId(number))?;
            }
            by_did(&did, ActorId(number))?;
        }
        others.try_for_each(|(other, number)| by_did(other.as_str(), ActorId(number)))
    }
}

/// Reads a line without its end; false behind the last.
fn read_line(lines: &mut BufReader<File>, line: &mut String, path: &Path) -> Result<bool> {
    line.clear();
    let read = lines.read_line(line).map_err(|e| io("cannot read", path, &e))?;
    line.truncate(line.trim_end_matches('\n').len());
    Ok(read > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dids() -> impl Strategy<Value = Vec<String>> {
        let did = prop_oneof![
            "did:plc:[2-7a-z]{24}",
            "did:plc:[2-7a]{23,25}",
            "did:plc:[A-Z019.]{24}",
            "did:(a|web|plc|z):[a-z0-9.]{1,9}[a-z]",
        ];
        prop::collection::vec(did, 0..60)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn each_has_one_number_in_both_orders(texts in dids(), kept in 0..60usize) {
            let dir = tempfile::tempdir().unwrap();
            let mut names = Names::open(dir.path(), Extent::default()).unwrap();
            let mut wanted: Vec<&String> = Vec::new();
            let mut durable = (Extent::default(), 0);
            for text in &texts {
                let (actor, is_new) = names.number(&Did::parse(text).unwrap()).unwrap();
                prop_assert_eq!(is_new, !wanted.contains(&text));
                wanted.extend(is_new.then_some(text));
                prop_assert_eq!(wanted[actor.0 as usize], text);
                if wanted.len() <= kept {
                    durable = (names.file().extent(), wanted.len());
                }
            }
            names.file().handle().unwrap();
            drop(names);
            let names = Names::open(dir.path(), durable.0).unwrap();
            prop_assert_eq!(names.len(), durable.1);
            wanted.truncate(durable.1);
            let (mut numbers, mut dids) = (Vec::new(), Vec::new());
            names.write(
                |actor, did| { numbers.push((actor.0, did.to_owned())); Ok(()) },
                |did, actor| { dids.push((did.to_owned(), actor.0)); Ok(()) },
            ).unwrap();
            let mut expected: Vec<_> = wanted.into_iter().cloned().zip(0_u32..).collect();
            prop_assert_eq!(numbers, expected.iter().map(|(did, n)| (*n, did.clone())).collect::<Vec<_>>());
            expected.sort();
            prop_assert_eq!(dids, expected);
        }
    }
}
