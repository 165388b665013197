//! How large an LZ4 frame is when decoded, found without decoding it.
//!
//! The layout is that of the LZ4 frame format 1.6 and the LZ4 block format: a header, blocks with their lengths,
//! an end mark; in a block sequences of literals and matches whose lengths alone are summed here.

const MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();

/// The top bit of a block's length: its bytes are stored as they are.
const STORED: u32 = 1 << 31;

/// A match is this much longer than its length field says.
const LEAST_MATCH: usize = 4;

/// The decoded size of one whole frame, bytes; `None` where the bytes are not exactly one frame, or need a
/// dictionary.
pub(crate) fn decoded(frame: &[u8]) -> Option<usize> {
    let mut rest = Rest(frame);
    if rest.take(4)? != MAGIC {
        return None;
    }
    let flags = rest.byte()?;
    let _block_size = rest.byte()?;
    let flag = |bit: u8| flags >> bit & 1 == 1;
    // Bits 7 and 6 are the version, 1; bit 0 announces a dictionary.
    if flags >> 6 != 1 || flag(0) {
        return None;
    }
    let (block_checksum, content_size, content_checksum) = (flag(4), flag(3), flag(2));
    // The size and the checksum of the header.
    rest.take(if content_size { 9 } else { 1 })?;
    let mut size = 0_usize;
    loop {
        let length = u32::from_le_bytes(rest.take(4)?.try_into().ok()?);
        if length == 0 {
            break;
        }
        let block = rest.take((length & !STORED) as usize)?;
        let decoded = if length & STORED == 0 { decoded_block(block)? } else { block.len() };
        size = size.checked_add(decoded)?;
        if block_checksum {
            rest.take(4)?;
        }
    }
    if content_checksum {
        rest.take(4)?;
    }
    rest.0.is_empty().then_some(size)
}

fn decoded_block(block: &[u8]) -> Option<usize> {
    let mut rest = Rest(block);
    let mut size = 0_usize;
    loop {
        let token = rest.byte()?;
        let literals = rest.length(token >> 4)?;
        rest.take(literals)?;
        size = size.checked_add(literals)?;
        // The last sequence has literals only.
        if rest.0.is_empty() {
            return Some(size);
        }
        let _offset = rest.take(2)?;
        let matched = rest.length(token & 15)?;
        size = size.checked_add(matched)?.checked_add(LEAST_MATCH)?;
    }
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// A length of four bits; 15 says that bytes follow to be added, up to the first that is not 255.
    fn length(&mut self, bits: u8) -> Option<usize> {
        let mut length = usize::from(bits);
        if bits == 15 {
            loop {
                let more = self.byte()?;
                length = length.checked_add(usize::from(more))?;
                if more != 255 {
                    break;
                }
            }
        }
        Some(length)
    }
}

#[cfg(test)]
mod tests {
    use super::decoded;

    /// Magic, version 1 with independent blocks, blocks of 64 KiB, a header checksum that is not looked at.
    const HEADER: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];
    const END: [u8; 4] = [0; 4];

    #[test]
    fn lengths_are_summed() {
        let stored = [&HEADER[..], &[3, 0, 0, 0x80], b"abc", &END].concat();
        assert_eq!(decoded(&stored), Some(3));
        // One literal, a match of 4 + 15 + 255 + 10, then five literals.
        let block = [0x1f, b'a', 1, 0, 255, 10, 0x50, b'a', b'a', b'a', b'a', b'a'];
        let packed = [&HEADER[..], &[block.len() as u8, 0, 0, 0], &block, &END].concat();
        assert_eq!(decoded(&packed), Some(1 + 284 + 5));
    }

    #[test]
    fn anything_but_one_frame_is_refused() {
        let stored = [&HEADER[..], &[3, 0, 0, 0x80], b"abc", &END].concat();
        for end in 0..stored.len() {
            assert_eq!(decoded(&stored[..end]), None, "cut at {end}");
        }
        assert_eq!(decoded(&[stored.clone(), stored].concat()), None);
    }
}
