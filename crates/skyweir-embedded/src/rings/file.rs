//! One slice's file in a checkpoint.
//!
//! Layout: magic `SKYRING`, format u8, slice u32, last generation u64, number of rings u32; for each: viewer u32,
//! generation u64, floor i64, since i64, DID hash u64, rate f32 bits, last read u32, reads u8, number of entries u32,
//! entries of 12 bytes, rising; at the end the CRC-32 of all before. Numbers are big-endian.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;

use skyweir_store::Result;
use skyweir_types::{ActorId, DidHash, Generation};

use super::ring::{Entry, Ring, State};
use super::slice::Slice;
use crate::codec::Reader;
use crate::error::{corrupt, io};

const MAGIC: &[u8] = b"SKYRING";
const FORMAT: u8 = 1;

/// What a file holds.
pub(super) struct Contents {
    pub(super) slice: u32,
    pub(super) last_generation: Generation,
    /// All published; to be trimmed by whoever takes them.
    pub(super) rings: Vec<(Ring, Vec<Entry>)>,
}

/// Bytes of a slice's published rings, without the CRC.
pub(super) fn encode(number: u32, slice: &Slice) -> Vec<u8> {
    let published = || slice.rings().filter(|ring| ring.state == State::In);
    let (rings, entries) = published().fold((0u32, 0), |(n, sum), ring| (n + 1, sum + ring.len()));
    let mut out = Vec::with_capacity(32 + rings as usize * 49 + entries * 12);
    out.extend_from_slice(MAGIC);
    out.push(FORMAT);
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(&slice.last_generation.0.to_be_bytes());
    out.extend_from_slice(&rings.to_be_bytes());
    for ring in published() {
        out.extend_from_slice(&ring.viewer.0.to_be_bytes());
        for n in [ring.generation.0, ring.floor as u64, ring.since_ms as u64, ring.did_hash.0] {
            out.extend_from_slice(&n.to_be_bytes());
        }
        out.extend_from_slice(&ring.rate.to_bits().to_be_bytes());
        out.extend_from_slice(&ring.last_read.to_be_bytes());
        out.push(ring.reads);
        out.extend_from_slice(&(ring.len() as u32).to_be_bytes());
        for entry in ring.entries() {
            out.extend_from_slice(&entry.to_bytes());
        }
    }
    out
}

/// Writes a file so that it is there whole or not at all; the folder still has to be synced.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let temp = path.with_extension("tmp");
    let done = File::create(&temp).and_then(|mut file| {
        file.write_all(bytes)?;
        file.write_all(&crc32fast::hash(bytes).to_be_bytes())?;
        file.sync_all()
    });
    let done = done.and_then(|()| std::fs::rename(&temp, path));
    done.map_err(|e| {
        std::fs::remove_file(&temp).ok();
        io("cannot write", path, &e)
    })
}

/// Reads a file.
pub(super) fn read(path: &Path) -> Result<Contents> {
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => corrupt(format_args!("{} is missing", path.display())),
        _ => io("cannot read", path, &error),
    })?;
    let (body, _) = bytes
        .split_last_chunk::<4>()
        .filter(|(body, crc)| crc32fast::hash(body).to_be_bytes() == **crc)
        .ok_or_else(|| corrupt(format_args!("checksum of {}", path.display())))?;
    decode(body)
}

fn decode(bytes: &[u8]) -> Result<Contents> {
    let mut reader = Reader::new("rings", bytes);
    if reader.take(MAGIC.len())? != MAGIC || reader.u8()? != FORMAT {
        return Err(reader.bad());
    }
    let (slice, last_generation, count) = (reader.u32()?, Generation(reader.u64()?), reader.u32()?);
    let mut rings = Vec::new();
    for _ in 0..count {
        let (viewer, generation) = (ActorId(reader.u32()?), Generation(reader.u64()?));
        let (floor, since_ms) = (reader.u64()? as i64, reader.u64()? as i64);
        let did_hash = DidHash(reader.u64()?);
        let mut ring = Ring::new(viewer, generation, did_hash, f32::from_bits(reader.u32()?));
        (ring.floor, ring.since_ms, ring.state) = (floor, since_ms, State::In);
        (ring.last_read, ring.reads) = (reader.u32()?, reader.u8()?);
        let len = reader.u32()? as usize;
        let bytes = reader.take(len * 12)?.chunks_exact(12);
        let entries: Vec<Entry> =
            bytes.map(|bytes| Entry::from_bytes(bytes.try_into().expect("twelve bytes"))).collect();
        if !entries.is_sorted() || generation > last_generation || generation == Generation(0) {
            return Err(reader.bad());
        }
        rings.push((ring, entries));
    }
    reader.end()?;
    Ok(Contents { slice, last_generation, rings })
}

#[cfg(test)]
mod tests {
    use super::*;
    use skyweir_types::ItemId;

    #[test]
    fn a_slice_comes_back_and_damage_is_seen() {
        let mut slice = Slice::default();
        slice.last_generation = Generation(9);
        let mut ring = Ring::new(ActorId(7), Generation(9), DidHash(3), 0.5);
        ring.publish((1..20).map(|n| Entry::new(n, ItemId(n as u64))), 4, 77, 10);
        (ring.reads, ring.last_read) = (2, 1_000);
        slice.put(0, ring.clone());
        slice.put(1, Ring::new(ActorId(8), Generation(8), DidHash(3), 1.0));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1-0.ring");
        write(&path, &encode(5, &slice)).unwrap();
        let contents = read(&path).unwrap();
        assert_eq!((contents.slice, contents.last_generation, contents.rings.len()), (5, Generation(9), 1));
        let (read_ring, entries) = &contents.rings[0];
        assert_eq!(entries, &ring.entries().collect::<Vec<_>>());
        assert_eq!((read_ring.floor, read_ring.reads, read_ring.rate), (9, 2, 0.5));

        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 0x10;
            std::fs::write(&path, &broken).unwrap();
            assert!(read(&path).is_err(), "byte {at}");
        }
        std::fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        assert!(read(&path).is_err());
    }
}
