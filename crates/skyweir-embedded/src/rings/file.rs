//! One slice's file in a checkpoint.
//!
//! Layout: magic `SKYRING`, format u8, slice u32, last generation u64, number of rings u32; for each: viewer u32,
//! generation u64, floor i64, since i64, DID hash u64, rate f32 bits, last read u32, reads u8, number of entries u32,
//! entries of 12 bytes, rising; at the end the CRC-32 of all before. Numbers are big-endian. If a viewer comes twice the
//! later ring is the newer.

use std::fs::File;
use std::io::{ErrorKind, Seek as _, Write as _};
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

/// Bytes before the rings.
const HEADER: usize = MAGIC.len() + 1 + 4 + 8 + 4;
/// A portion ends with the ring that makes it this long, bytes.
const PORTION: usize = 256 << 10;

/// Bytes of a ring besides its entries.
const RING: usize = 4 + 4 * 8 + 4 + 4 + 1 + 4;

/// The longest portion there can be, bytes.
pub(super) fn portion_most(cap: usize) -> usize {
    PORTION + RING + cap * size_of::<Entry>()
}

/// What has been walked of a slice.
pub(super) struct Walk {
    /// The slots from here on are done.
    below: usize,
    rings: u32,
    last_generation: Generation,
}

impl Walk {
    pub(super) fn begin() -> Self {
        Self { below: usize::MAX, rings: 0, last_generation: Generation(0) }
    }

    /// Appends published rings until the portion is long enough; whether more are left.
    pub(super) fn portion(&mut self, slice: &Slice, out: &mut Vec<u8>) -> bool {
        self.last_generation = slice.last_generation;
        for (slot, ring) in slice.rings_below(self.below) {
            self.below = slot;
            if ring.state == State::In {
                self.rings += 1;
                encode(ring, out);
            }
            if out.len() >= PORTION {
                return true;
            }
        }
        false
    }

    fn header(&self, slice: u32) -> [u8; HEADER] {
        let numbers =
            [&slice.to_be_bytes()[..], &self.last_generation.0.to_be_bytes(), &self.rings.to_be_bytes()];
        let bytes = [MAGIC, &[FORMAT], &numbers.concat()].concat();
        bytes.try_into().expect("the header has one length")
    }
}

fn encode(ring: &Ring, out: &mut Vec<u8>) {
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

/// Writes a slice's file so that it is there whole or not at all; the folder still has to be synced. `next` appends a
/// portion and tells whether more are left. `buffer` is what it takes in memory. Returns the file's length.
pub(super) fn write(
    path: &Path,
    slice: u32,
    buffer: &mut Vec<u8>,
    mut next: impl FnMut(&mut Walk, &mut Vec<u8>) -> bool,
) -> Result<u64> {
    let temp = path.with_extension("tmp");
    let done = (|| {
        let mut file = File::create(&temp)?;
        let (mut walk, mut body) = (Walk::begin(), crc32fast::Hasher::new());
        // its numbers are known only at the end
        file.write_all(&[0; HEADER])?;
        loop {
            buffer.clear();
            let more = next(&mut walk, buffer);
            body.update(buffer);
            file.write_all(buffer)?;
            if !more {
                break;
            }
        }
        let header = walk.header(slice);
        let mut crc = crc32fast::Hasher::new();
        crc.update(&header);
        crc.combine(&body);
        file.write_all(&crc.finalize().to_be_bytes())?;
        let length = file.stream_position()?;
        file.rewind()?;
        file.write_all(&header)?;
        file.sync_all()?;
        std::fs::rename(&temp, path)?;
        Ok(length)
    })();
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
    use super::super::memory::Memory;
    use super::*;
    use skyweir_types::ItemId;

    #[test]
    fn a_slice_comes_back_and_damage_is_seen() {
        let mut slice = Slice::new(1, Default::default());
        slice.last_generation = Generation(9);
        let mut ring = Ring::new(ActorId(7), Generation(9), DidHash(3), 0.5);
        let found = (1..20).map(|n| Entry::new(n, ItemId(n as u64)));
        ring.publish(found, 4, 77, 10, &Memory::default());
        (ring.reads, ring.last_read) = (2, 1_000);
        slice.put(7, ring.clone());
        slice.put(8, Ring::new(ActorId(8), Generation(8), DidHash(3), 1.0));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1-0.ring");
        let length = write(&path, 5, &mut Vec::new(), |walk, out| walk.portion(&slice, out)).unwrap();
        assert_eq!(length, std::fs::metadata(&path).unwrap().len());
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

    #[test]
    fn rings_may_come_and_go_between_portions() {
        let memory = Memory::default();
        let (cap, rings) = (1_000, 200u32);
        let mut slice = Slice::new(1, Default::default());
        let ring = |viewer: u32, generation| {
            let mut ring = Ring::new(ActorId(viewer), Generation(generation), DidHash(3), 1.0);
            ring.publish(
                (0..cap).map(|n| Entry::new(n, ItemId(n as u64))),
                i64::MIN,
                7,
                cap as usize,
                &memory,
            );
            ring
        };
        for viewer in 0..rings {
            slice.put(viewer as usize, ring(viewer, 1));
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1-0.ring");
        let (mut buffer, mut portions) = (Vec::with_capacity(portion_most(cap as usize)), 0);
        let room = buffer.capacity();
        write(&path, 5, &mut buffer, |walk, out| {
            let more = walk.portion(&slice, out);
            portions += 1;
            // one that isn't written yet leaves and comes back, one that is written leaves, so that others move
            slice.last_generation = Generation(portions + 1);
            slice.remove(portions as usize);
            slice.put(portions as usize, ring(portions as u32, portions + 1));
            slice.remove((rings - portions as u32) as usize);
            more
        })
        .unwrap();
        assert!(portions > 5, "{portions} portions");
        assert_eq!(buffer.capacity(), room);
        let contents = read(&path).unwrap();
        let held: std::collections::HashSet<_> =
            contents.rings.iter().map(|(ring, _)| ring.viewer.0).collect();
        // the ones that were there all the time, all of them
        for viewer in
            (0..rings).filter(|viewer| *viewer > portions as u32 && *viewer < rings - portions as u32)
        {
            assert!(held.contains(&viewer), "{viewer} is missing");
        }
    }
}
