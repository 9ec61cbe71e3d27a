//! CIDs of any kind, as strings and as bytes. The CIDs of records are [`crate::Cid`].

/// Longer CIDs are refused as strings.
const LONGEST: usize = 128;

/// The values of lower-case digits of base 32; 255 for everything else.
static BASE32: [u8; 256] = {
    let mut values = [u8::MAX; 256];
    let mut value = 0;
    while value < 32 {
        let digit = if value < 26 { b'a' + value } else { b'2' + value - 26 };
        values[digit as usize] = value;
        value += 1;
    }
    values
};

/// Whether a lexicon's `cid` format takes this text: version 1 in lower-case base 32 or version 0 in base 58, of at most
/// 128 bytes.
///
/// That is what the official software takes, with its freedoms: padding, numbers with needless zeros. The specification
/// has no version 0, but other bases.
#[must_use]
pub fn is_cid(text: &str) -> bool {
    let mut room = [0u8; LONGEST];
    if text.len() > LONGEST {
        return false;
    }
    if let Some(bytes) = base32(text.trim_end_matches('='), &mut room) {
        is_version_1(bytes).is_some()
    } else {
        text.starts_with('Q') && base58(text, &mut room).is_some_and(is_version_0)
    }
}

/// Whether this is a CID of version 1 of raw bytes, as blobs have.
#[must_use]
pub fn is_raw_cid(text: &str) -> bool {
    base32(text, &mut [0u8; LONGEST]).is_some_and(is_raw_cid_bytes)
}

/// [`is_raw_cid`] for binary CIDs.
#[must_use]
pub fn is_raw_cid_bytes(bytes: &[u8]) -> bool {
    is_version_1(bytes) == Some(0x55)
}

/// Decodes `b` and lower-case base 32 without padding or set bits behind the end; `None` for everything else.
pub(crate) fn base32<'r>(text: &str, room: &'r mut [u8; LONGEST]) -> Option<&'r [u8]> {
    let digits = text.strip_prefix('b').filter(|_| text.len() <= LONGEST)?;
    let (mut seen, mut length) = (0, 0);
    // eight digits are five bytes
    for group in digits.as_bytes().chunks(8) {
        let mut value = 0u64;
        for digit in group {
            let digit = BASE32[usize::from(*digit)];
            seen |= digit;
            value = value << 5 | u64::from(digit & 31);
        }
        let (count, behind) = (group.len() * 5 / 8, group.len() * 5 % 8);
        if behind >= 5 || value & ((1 << behind) - 1) != 0 {
            return None;
        }
        let bytes = (value >> behind).to_be_bytes();
        room[length..length + count].copy_from_slice(&bytes[8 - count..]);
        length += count;
    }
    (seen < 32).then_some(&room[..length])
}

/// Decodes the base 58 of Bitcoin, at most [`LONGEST`] digits of it and no leading zeros; `None` for everything else.
fn base58<'r>(text: &str, room: &'r mut [u8; LONGEST]) -> Option<&'r [u8]> {
    const DIGITS: &[u8] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    // the number grows from the end of the room: a digit has fewer bits than a byte
    let mut start = LONGEST;
    for digit in text.bytes() {
        let mut carry = DIGITS.iter().position(|known| *known == digit)?;
        for byte in room[start..].iter_mut().rev() {
            carry += usize::from(*byte) * 58;
            *byte = carry as u8;
            carry >>= 8;
        }
        if carry > 0 {
            start -= 1;
            room[start] = carry as u8;
        }
    }
    Some(&room[start..])
}

fn is_version_0(bytes: &[u8]) -> bool {
    let digest = bytes.strip_prefix(&[0x12]).and_then(varint);
    digest.is_some_and(|(length, digest)| length == digest.len() as u64)
}

/// The codec of a CID of version 1.
fn is_version_1(bytes: &[u8]) -> Option<u64> {
    let (version, rest) = varint(bytes)?;
    let (codec, rest) = varint(rest)?;
    let (_hash, rest) = varint(rest)?;
    let (length, digest) = varint(rest)?;
    (version == 1 && length == digest.len() as u64).then_some(codec)
}

/// A number of at most eight bytes, and what is behind it.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (i, byte) in bytes.iter().enumerate().take(8) {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[i + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind() {
        let raw = "bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";
        let record = "bafyreib25swk3a6waplk2ie75u4a3qfejnkoiezfowuz7sa74i7tief3di";
        let old = "QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR";
        for good in [raw, record, old, "bafkqaaa", "bafkqbaaa", "bafkqaaa=="] {
            assert!(is_cid(good), "{good}");
        }
        assert!(is_raw_cid(raw) && !is_raw_cid(record) && !is_raw_cid(old));
        for bad in [
            "",
            "b",
            "Q",
            &raw.to_ascii_uppercase(),
            &raw[..58],
            &format!("{raw}a"),
            &raw.replace('k', "0"),
            &format!("{}f", &raw[..58]), // bits behind the end
            &old[..45],
            &format!("{old}1"),
            &old.replace('W', "0"),
            &format!("b{}", "a".repeat(200)),
        ] {
            assert!(!is_cid(bad), "{bad}");
        }
    }
}
