//! Sorted numbers in few bits: the gaps between them, in groups, each group's at the width of its widest.
//!
//! Bytes: format (1), count as varint, then the distance from the first number to the last as varint; then for each
//! group of 128 gaps (the last one may be shorter) a width of 0 to 32 bits and `gap - 1` at that width, low bits first,
//! filled up to a whole byte. The last number stands elsewhere: in the key that the bytes are kept under.

use skyweir_store::Result;

use crate::codec::{Reader, push_varint};

const FORMAT: u8 = 1;
const GROUP: usize = 128;
/// Bytes of a group at the greatest width, and as many more as one read takes.
const BUFFER: usize = GROUP * 4 + 8;

/// The bytes of rising numbers, at least one.
pub(crate) fn encode(numbers: &[u32]) -> Vec<u8> {
    let (first, last) = (numbers.first().copied().unwrap_or(0), numbers.last().copied().unwrap_or(0));
    let mut out = Vec::with_capacity(16 + numbers.len() * 2);
    out.push(FORMAT);
    push_varint(&mut out, numbers.len() as u64);
    push_varint(&mut out, u64::from(last - first));
    // groups of gaps: each begins with the number before its first
    let mut rest = numbers;
    while rest.len() > 1 {
        let group = &rest[..rest.len().min(GROUP + 1)];
        let gaps = || group.windows(2).map(|pair| pair[1] - pair[0] - 1);
        let width = 32 - gaps().fold(0, |all, gap| all | gap).leading_zeros();
        out.push(width as u8);
        let (mut bits, mut held) = (0u64, 0);
        for gap in gaps() {
            bits |= u64::from(gap) << held;
            held += width;
            while held >= 8 {
                out.push(bits as u8);
                bits >>= 8;
                held -= 8;
            }
        }
        if held > 0 {
            out.push(bits as u8);
        }
        rest = &rest[group.len() - 1..];
    }
    out
}

/// Appends what [`encode`] wrote; the last number must be `last`.
pub(crate) fn decode(table: &'static str, bytes: &[u8], last: u32, out: &mut Vec<u32>) -> Result<()> {
    let mut reader = Reader::new(table, bytes);
    read(&mut reader, last, out)?;
    reader.end()
}

/// The same where more bytes may follow.
pub(crate) fn read(reader: &mut Reader<'_>, last: u32, out: &mut Vec<u32>) -> Result<()> {
    if reader.u8()? != FORMAT {
        return Err(reader.bad());
    }
    let (count, span) = (reader.small()? as usize, reader.small()?);
    let Some(first) = last.checked_sub(span).filter(|_| count > 0) else { return Err(reader.bad()) };
    // a group of 128 takes one byte at the least
    if (count - 1).div_ceil(GROUP) > reader.rest().len() {
        return Err(reader.bad());
    }
    out.reserve(count);
    out.push(first);
    let mut at = u64::from(first);
    let mut buffer = [0; BUFFER];
    let mut left = count - 1;
    while left > 0 {
        let n = left.min(GROUP);
        let width = usize::from(reader.u8()?);
        if width > 32 {
            return Err(reader.bad());
        }
        let packed = reader.take((n * width).div_ceil(8))?;
        buffer[..packed.len()].copy_from_slice(packed);
        let mask = (1u64 << width) - 1;
        out.extend((0..n).map(|gap| {
            let bit = gap * width;
            let word: [u8; 8] = buffer[bit / 8..bit / 8 + 8].try_into().expect("took as many");
            at += (u64::from_le_bytes(word) >> (bit % 8) & mask) + 1;
            at as u32
        }));
        left -= n;
    }
    if at == u64::from(last) { Ok(()) } else { Err(reader.bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn numbers() -> impl Strategy<Value = Vec<u32>> {
        let near = (any::<u32>(), prop::collection::vec(1..40u32, 1..700)).prop_map(|(first, gaps)| {
            let sums = gaps.iter().scan(first, |at, gap| {
                *at = at.checked_add(*gap)?;
                Some(*at)
            });
            std::iter::once(first).chain(sums).collect()
        });
        let far = prop::collection::btree_set(any::<u32>(), 1..300);
        prop_oneof![near, far.prop_map(BTreeSet::into_iter).prop_map(Iterator::collect)]
    }

    proptest! {
        #[test]
        fn round_trip(numbers in numbers()) {
            let bytes = encode(&numbers);
            let last = *numbers.last().unwrap();
            let mut back = vec![7];
            decode("test", &bytes, last, &mut back).unwrap();
            prop_assert_eq!(&back[1..], &numbers[..]);
            // neither less nor more, nor another's
            prop_assert!(decode("test", &bytes[..bytes.len() - 1], last, &mut back).is_err());
            prop_assert!(decode("test", &[&bytes[..], &[0]].concat(), last, &mut back).is_err());
        }

        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..200), last: u32, formed: bool) {
            if let (true, Some(first)) = (formed, bytes.first_mut()) {
                *first = FORMAT;
            }
            let mut out = Vec::new();
            if decode("test", &bytes, last, &mut out).is_ok() {
                prop_assert!(out.is_sorted_by(|a, b| a < b) && out.last() == Some(&last));
            }
        }
    }

    #[test]
    fn the_ends_of_the_range() {
        for numbers in [vec![0], vec![u32::MAX], vec![0, u32::MAX], (0..300).collect::<Vec<_>>()] {
            let bytes = encode(&numbers);
            let mut back = Vec::new();
            decode("test", &bytes, *numbers.last().unwrap(), &mut back).unwrap();
            assert_eq!(back, numbers);
        }
        // a run takes three bits a group
        assert!(encode(&(0..2_048).collect::<Vec<_>>()).len() < 32);
    }
}
