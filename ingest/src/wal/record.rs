//! How one record lies in a segment.

use super::{Payload, Position};

/// The largest payload of one record, in bytes.
pub const MAX_PAYLOAD: usize = 64 << 20;

/// length u32 | back u32 | head checksum u32 | whole checksum u32
const FRAME_LEN: usize = 16;

/// Bytes that a record of `payload` bytes takes in the log.
pub(super) fn framed(payload: usize) -> u64 {
    (FRAME_LEN as u64).saturating_add(payload as u64)
}

/// Where the bytes of a segment begin in the log, and what its checksums start from.
///
/// The checksum holds the position and the segment's salt. So bytes that were left by another record,
/// file or log never pass as a record, nor do bytes that a remote sender put into a payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub at: Position,
    pub seed: u32,
}

#[derive(Debug)]
pub(super) struct Record<'a> {
    pub at: Position,
    /// Everything before this was durable when the record was written.
    pub group: Position,
    pub payload: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Short,
    Head,
    Payload,
}

impl Fault {
    pub fn reason(self) -> &'static str {
        match self {
            Self::Short => "record is cut short",
            Self::Head => "record head does not match its checksum",
            Self::Payload => "record payload does not match its checksum",
        }
    }
}

/// Adds one record to `out`. The payload must not be over [`MAX_PAYLOAD`], nor `group` far behind.
pub(super) fn encode(out: &mut Vec<u8>, frame: Frame, group: Position, payload: &Payload) {
    let length = payload.len() as u32;
    let back = frame.at.since(group) as u32;
    let head = head_checksum(frame, length, back);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&back.to_le_bytes());
    out.extend_from_slice(&head.to_le_bytes());
    let sum = crc32c::crc32c_append(crc32c::crc32c_append(head, &payload.head), &payload.body);
    out.extend_from_slice(&sum.to_le_bytes());
    out.extend_from_slice(&payload.head);
    out.extend_from_slice(&payload.body);
}

/// Reads the record at the start of `bytes`.
///
/// The head has a checksum of its own. So a length is known to be right before it is followed, and a
/// search for records in garbage costs a few bytes per place and not a payload per place.
pub(super) fn decode(bytes: &[u8], frame: Frame) -> Result<Record<'_>, Fault> {
    let (head, rest) = bytes.split_first_chunk::<FRAME_LEN>().ok_or(Fault::Short)?;
    let [length, back, head_sum, whole_sum] = words(head);
    if head_checksum(frame, length, back) != head_sum || length as usize > MAX_PAYLOAD {
        return Err(Fault::Head);
    }
    let payload = rest.get(..length as usize).ok_or(Fault::Short)?;
    if crc32c::crc32c_append(head_sum, payload) != whole_sum {
        return Err(Fault::Payload);
    }
    let group = Position(frame.at.0.checked_sub(u64::from(back)).ok_or(Fault::Head)?);
    Ok(Record { at: frame.at, group, payload })
}

fn words(head: &[u8; FRAME_LEN]) -> [u32; 4] {
    let (words, _) = head.as_chunks::<4>();
    std::array::from_fn(|i| words.get(i).map_or(0, |word| u32::from_le_bytes(*word)))
}

fn head_checksum(frame: Frame, length: u32, back: u32) -> u32 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&frame.at.0.to_le_bytes());
    bytes[8..12].copy_from_slice(&length.to_le_bytes());
    bytes[12..].copy_from_slice(&back.to_le_bytes());
    crc32c::crc32c_append(frame.seed, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Frame = Frame { at: Position(1000), seed: 7 };

    fn sample() -> Vec<u8> {
        let mut out = Vec::new();
        let payload = Payload { head: b"pay"[..].into(), body: b"load"[..].into() };
        encode(&mut out, HERE, Position(900), &payload);
        out
    }

    #[test]
    fn gives_back_what_was_put_in() {
        let bytes = sample();
        let record = decode(&bytes, HERE).unwrap();
        assert_eq!((record.at, record.group, record.payload), (HERE.at, Position(900), &b"payload"[..]));
        assert_eq!(record.at.after(7).since(HERE.at), bytes.len() as u64);
    }

    #[test]
    fn notices_every_flipped_bit() {
        for bit in 0..sample().len() * 8 {
            let mut bytes = sample();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bytes, HERE).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn notices_every_cut() {
        let bytes = sample();
        for len in 0..bytes.len() {
            assert_eq!(decode(&bytes[..len], HERE).unwrap_err(), Fault::Short);
        }
    }

    #[test]
    fn is_no_record_at_another_place_or_in_another_segment() {
        let bytes = sample();
        assert!(decode(&bytes, Frame { at: Position(1001), ..HERE }).is_err());
        assert!(decode(&bytes, Frame { seed: 8, ..HERE }).is_err());
    }

    #[test]
    fn an_empty_payload_is_a_record_but_zeros_are_not() {
        let mut out = Vec::new();
        encode(&mut out, HERE, HERE.at, &Payload::default());
        assert!(decode(&out, HERE).unwrap().payload.is_empty());
        assert_eq!(decode(&[0; 64], HERE).unwrap_err(), Fault::Head);
    }
}
