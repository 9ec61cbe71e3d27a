//! zstd frames, unpacked within a limit.

use zstd::bulk::Decompressor;

use crate::Skip;

/// A frame is first given room for so many times its own length: a lie about its content costs no more.
const LIKELY: usize = 32;
/// The least room that is made.
const LEAST: usize = 64 * 1_024;

/// A decompressor whose output is bounded.
pub(crate) struct Unzip {
    context: Decompressor<'static>,
    buffer: Vec<u8>,
    most: usize,
}

impl Unzip {
    /// For frames of this dictionary; an empty one is none. `most` is the limit of what a frame may come to.
    pub(crate) fn new(dictionary: &[u8], most: usize) -> std::io::Result<Self> {
        let context = Decompressor::with_dictionary(dictionary)?;
        Ok(Self { context, buffer: Vec::with_capacity(LEAST), most })
    }

    /// Decompresses one frame. The content size in its header is a claim: it decides where to begin, not how far to go.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<&[u8], Skip> {
        let claim = zstd::zstd_safe::get_frame_content_size(bytes).map_err(|_| Skip::Undecodable)?;
        if claim.is_some_and(|size| size > self.most as u64) {
            return Err(Skip::TooBig);
        }
        self.buffer.clear();
        let likely = bytes.len().saturating_mul(LIKELY) as u64;
        self.buffer.reserve_exact(claim.unwrap_or(0).min(likely) as usize);
        loop {
            self.buffer.clear();
            let room = self.buffer.capacity();
            match self.context.decompress_to_buffer(bytes, &mut self.buffer) {
                Ok(_) if self.buffer.len() > self.most => return Err(Skip::TooBig),
                Ok(_) => return Ok(&self.buffer),
                Err(error) if is_too_small(&error) && room < self.most => {
                    self.buffer.reserve_exact((room * 4).min(self.most));
                }
                Err(error) if is_too_small(&error) => return Err(Skip::TooBig),
                Err(_) => return Err(Skip::Undecodable),
            }
        }
    }
}

/// The library tells its errors apart by their names only.
fn is_too_small(error: &std::io::Error) -> bool {
    error.to_string().contains("Destination buffer is too small")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decompression_is_bounded() {
        let dictionary: &[u8] = b"";
        let mut unzip = Unzip::new(dictionary, 1_000_000).unwrap();
        let small = zstd::bulk::compress(b"hello", 3).unwrap();
        assert_eq!(unzip.read(&small), Ok(&b"hello"[..]));
        let bomb = zstd::bulk::compress(&vec![0; 50_000_000], 3).unwrap();
        assert_eq!(unzip.read(&bomb), Err(Skip::TooBig));
        // a stream without the content size in its header
        let bomb = zstd::stream::encode_all(&vec![0; 50_000_000][..], 3).unwrap();
        assert_eq!(unzip.read(&bomb), Err(Skip::TooBig));
        let large = zstd::stream::encode_all(&vec![7; 900_000][..], 3).unwrap();
        assert_eq!(unzip.read(&large).map(<[u8]>::len), Ok(900_000));
        let known = zstd::bulk::compress(&vec![7; 900_000], 3).unwrap();
        assert_eq!(unzip.read(&known).map(<[u8]>::len), Ok(900_000));
        assert_eq!(unzip.read(b"nonsense"), Err(Skip::Undecodable));
        assert_eq!(unzip.read(&small[..small.len() - 1]), Err(Skip::Undecodable));
    }
}
