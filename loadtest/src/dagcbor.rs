//! Records in atproto JSON to DAG-CBOR, and the CIDs and archives made of it.

use data_encoding::{BASE32_NOPAD, BASE64, BASE64_NOPAD};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The prefix of a binary CIDv1: version 1, dag-cbor, sha2-256, 32 bytes.
const CID_PREFIX: [u8; 4] = [0x01, 0x71, 0x12, 0x20];

/// A record in atproto JSON as canonical DAG-CBOR.
///
/// `{"$link": cid}` becomes a link and `{"$bytes": base64}` a byte string, map keys are ordered by length first.
/// DAG-CBOR as atproto uses it knows no fractions: a JSON number that is no 64-bit integer is written as null.
pub fn encode_dag_cbor(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    write_value(&mut out, value);
    out
}

/// The CIDv1 (dag-cbor, sha-256, base32: `bafyrei…`) of these bytes.
pub fn cid_of(bytes: &[u8]) -> String {
    cid_text(&cid_bytes(bytes))
}

/// The binary CID of a block.
pub(crate) fn cid_bytes(block: &[u8]) -> [u8; 36] {
    let mut cid = [0; 36];
    cid[..4].copy_from_slice(&CID_PREFIX);
    cid[4..].copy_from_slice(&Sha256::digest(block));
    cid
}

/// The text of a binary CID.
pub(crate) fn cid_text(cid: &[u8; 36]) -> String {
    let mut text = BASE32_NOPAD.encode(cid).to_ascii_lowercase();
    text.insert(0, 'b');
    text
}

/// The binary form of a CID's text, if it is base32 and 36 bytes long.
pub(crate) fn parse_cid(text: &str) -> Option<[u8; 36]> {
    let upper = text.strip_prefix('b')?.to_ascii_uppercase();
    BASE32_NOPAD.decode(upper.as_bytes()).ok()?.try_into().ok()
}

/// A CARv1 archive of these blocks.
pub(crate) fn car(root: Option<&[u8; 36]>, blocks: &[([u8; 36], &[u8])]) -> Vec<u8> {
    let mut header = Vec::new();
    write_head(&mut header, 5, 2);
    write_text(&mut header, "roots");
    write_head(&mut header, 4, u64::from(root.is_some()));
    if let Some(root) = root {
        write_link(&mut header, root);
    }
    write_text(&mut header, "version");
    write_head(&mut header, 0, 1);
    let mut out = Vec::new();
    write_varint(&mut out, header.len());
    out.extend_from_slice(&header);
    for (cid, data) in blocks {
        write_varint(&mut out, cid.len() + data.len());
        out.extend_from_slice(cid);
        out.extend_from_slice(data);
    }
    out
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    BASE64_NOPAD.encode(bytes)
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(0xf6),
        Value::Bool(flag) => out.push(if *flag { 0xf5 } else { 0xf4 }),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(positive), _) => write_head(out, 0, positive),
            (None, Some(negative)) => write_head(out, 1, !negative as u64),
            (None, None) => out.push(0xf6),
        },
        Value::String(text) => write_text(out, text),
        Value::Array(items) => {
            write_head(out, 4, items.len() as u64);
            items.iter().for_each(|item| write_value(out, item));
        }
        Value::Object(map) => {
            if map.len() == 1 {
                if let Some(cid) = map.get("$link").and_then(Value::as_str).and_then(parse_cid) {
                    return write_link(out, &cid);
                }
                if let Some(bytes) = map.get("$bytes").and_then(Value::as_str).and_then(parse_base64) {
                    write_head(out, 2, bytes.len() as u64);
                    return out.extend_from_slice(&bytes);
                }
            }
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| (key.len(), key.as_str()));
            write_head(out, 5, entries.len() as u64);
            for (key, value) in entries {
                write_text(out, key);
                write_value(out, value);
            }
        }
    }
}

fn parse_base64(text: &str) -> Option<Vec<u8>> {
    BASE64_NOPAD.decode(text.as_bytes()).or_else(|_| BASE64.decode(text.as_bytes())).ok()
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    write_head(out, 3, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Tag 42 over the binary CID behind the identity multibase's zero byte.
fn write_link(out: &mut Vec<u8>, cid: &[u8; 36]) {
    out.extend_from_slice(&[0xd8, 0x2a]);
    write_head(out, 2, 37);
    out.push(0);
    out.extend_from_slice(cid);
}

fn write_head(out: &mut Vec<u8>, major: u8, value: u64) {
    let major = major << 5;
    match value {
        0..=23 => out.push(major | value as u8),
        24..=0xff => out.extend_from_slice(&[major | 24, value as u8]),
        0x100..=0xffff => {
            out.push(major | 25);
            out.extend_from_slice(&(value as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(major | 26);
            out.extend_from_slice(&(value as u32).to_be_bytes());
        }
        _ => {
            out.push(major | 27);
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
}

fn write_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_are_ordered_by_length_first() {
        let bytes = encode_dag_cbor(&json!({"op": 1, "t": "#account"}));
        assert_eq!(bytes, b"\xa2\x61t\x68#account\x62op\x01");
    }

    #[test]
    fn numbers_bytes_and_links() {
        assert_eq!(encode_dag_cbor(&json!(31_527_015_471_u64)), b"\x1b\x00\x00\x00\x07\x57\x28\x14\x2f");
        assert_eq!(encode_dag_cbor(&json!(-500)), b"\x39\x01\xf3");
        assert_eq!(encode_dag_cbor(&json!({"$bytes": "AQI"})), b"\x42\x01\x02");
        let cid = cid_of(b"x");
        let link = encode_dag_cbor(&json!({"$link": cid}));
        assert_eq!(&link[..5], b"\xd8\x2a\x58\x25\x00");
        assert_eq!(cid_text(&link[5..].try_into().unwrap()), cid);
    }

    #[test]
    fn cid_of_a_real_follow() {
        // the golden follow record of the Jetstream corpus: public protocol data, its CID computed by its PDS
        let record = json!({"$type": "app.bsky.graph.follow", "createdAt": "2026-05-25T14:23:27.319Z",
            "subject": "did:plc:anc6s2kher6ltrhhglxrzxsa"});
        let cid = cid_of(&encode_dag_cbor(&record));
        assert_eq!(cid, "bafyreib25swk3a6waplk2ie75u4a3qfejnkoiezfowuz7sa74i7tief3di");
    }
}
