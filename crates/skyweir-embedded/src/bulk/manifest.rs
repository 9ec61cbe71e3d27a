//! What of a load is durable: a file that is replaced as a whole. As long as it is there the load isn't finished.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use skyweir_store::{Error, Result};

use super::tail::Extent;
use crate::codec::{Reader, push_varint};
use crate::error::{io, sync_folder};

/// Folder of a load in its data directory.
const FOLDER: &str = "loading";
const NAME: &str = "manifest";
/// Of all files of a load.
const FORMAT: u8 = 2;

/// How far a load is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    /// The tables are written, and only what was noted has to be applied.
    pub(super) is_written: bool,
    /// How many runs of steps there are.
    pub(super) runs: u64,
    /// How many steps they hold.
    pub(super) steps: u64,
    /// Of names, accounts, keys and notes.
    pub(super) files: [Extent; 4],
    /// What it is that was read so far; empty: nothing, and the tables are being written.
    pub(super) place: Vec<u8>,
}

impl Manifest {
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT, u8::from(self.is_written)];
        push_varint(&mut out, self.runs);
        push_varint(&mut out, self.steps);
        for Extent { len, sum } in self.files {
            push_varint(&mut out, len);
            push_varint(&mut out, sum.into());
        }
        push_varint(&mut out, self.place.len() as u64);
        out.extend_from_slice(&self.place);
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_be_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        // in each version the last four bytes are the sum of the others: only what is whole tells which one it is of
        let (body, crc) = bytes.split_at(bytes.len().saturating_sub(4));
        let mut reader = Reader::new("loading", body);
        if crc != crc32fast::hash(body).to_be_bytes() {
            return Err(reader.bad());
        }
        if reader.u8()? != FORMAT {
            return Err(Error::Unavailable(
                "the load of a network was begun by another version of this program: go on with that one, or remove \
                 the data directory and load again"
                    .into(),
            ));
        }
        let is_written = reader.u8()? == 1;
        let (runs, steps) = (reader.varint()?, reader.varint()?);
        let mut files = [Extent::default(); 4];
        for extent in &mut files {
            *extent = Extent { len: reader.varint()?, sum: reader.small()? };
        }
        let place = reader.varint()? as usize;
        let place = reader.take(place)?.to_vec();
        reader.end()?;
        Ok(Self { is_written, runs, steps, files, place })
    }

    /// Reads it; `None` when there is none.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(NAME);
        match std::fs::read(&path) {
            Ok(bytes) => Self::decode(&bytes).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io("cannot read", &path, &error)),
        }
    }

    /// Replaces the one of before.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let (new, path) = (folder.join("manifest.new"), folder.join(NAME));
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(&self.encode())?;
            file.sync_all()?;
            std::fs::rename(&new, &path)
        });
        written.map_err(|e| io("cannot write", &path, &e))?;
        sync_folder(folder)
    }
}

/// Where a load into this directory keeps its files.
pub(super) fn folder(data_dir: &Path) -> std::path::PathBuf {
    data_dir.join(FOLDER)
}

/// Ends a load: the directory is whole without its files.
pub(super) fn remove(data_dir: &Path) -> Result<()> {
    let (folder, manifest) = (folder(data_dir), folder(data_dir).join(NAME));
    if manifest.exists() {
        std::fs::remove_file(&manifest).map_err(|e| io("cannot remove", &manifest, &e))?;
        sync_folder(&folder)?;
    }
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io("cannot remove", &folder, &error)),
        _ => Ok(()),
    }
}

/// Refuses a directory whose load was cut off: its tables don't fit together yet.
pub(crate) fn refuse_unfinished(data_dir: &Path) -> Result<()> {
    if !folder(data_dir).join(NAME).exists() {
        return Ok(());
    }
    Err(Error::Unavailable(format!(
        "the load of a network into {} was cut off; go on with it (`skyweir backfill` with the same --from and \
         --data-dir), or remove the directory and load again",
        data_dir.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn another_version_is_told_and_no_damage() {
        let of_before = |sum: u32| [&[1, 0, 9][..], &sum.to_be_bytes()].concat();
        let said = |bytes: &[u8]| Manifest::decode(bytes).unwrap_err().to_string();
        let sum = crc32fast::hash(&[1, 0, 9]);
        assert!(said(&of_before(sum)).contains("begun by another version"));
        assert!(!said(&of_before(sum ^ 1)).contains("version"));
        assert!(!said(&[]).contains("version"));
    }

    proptest! {
        #[test]
        fn round_trip(
            is_written: bool, runs: u64, steps: u64, files: [(u64, u32); 4],
            place in prop::collection::vec(any::<u8>(), 0..30), cut in 0..20usize,
        ) {
            let files = files.map(|(len, sum)| Extent { len, sum });
            let manifest = Manifest { is_written, runs, steps, files, place };
            let bytes = manifest.encode();
            prop_assert_eq!(Manifest::decode(&bytes).unwrap(), manifest);
            prop_assert!(Manifest::decode(&bytes[..bytes.len() - 1 - cut.min(bytes.len() - 1)]).is_err());
        }
    }
}
