//! Frames, their header line and their numbers.

use bytes::{Buf, Bytes};

use super::fault::{Fault, FaultKind};

/// Most digits in a header line: those of `u64::MAX`.
const MAX_DIGITS: usize = 20;

/// One frame of rows as the client sent it, without its header line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The client's sequence number, at least 1. Without a producer the frame's place in its connection.
    pub number: u64,
    /// A part of the buffer that the socket was read into, not a copy: whoever keeps it keeps that buffer (up to
    /// 64 KiB) alive.
    pub payload: Bytes,
    /// Arrow IPC if true, otherwise JSON.
    pub binary: bool,
}

/// Gives the frames of one connection their numbers.
///
/// With a producer a frame may carry its number, in a line `#<number>\n` before the payload: decimal, at least 1,
/// at most 20 digits, above the connection's previous one. A frame without it gets the previous number plus one;
/// the first of a connection counts from the last number that the stream holds. Without a producer frames are
/// numbered 1, 2, 3 and so on, and a header line is an error. Neither JSON nor Arrow IPC begins with `#`, so a
/// payload is never taken for a header.
#[derive(Debug)]
pub struct Numbering {
    producer: bool,
    /// The connection's previous number; before its first frame the last that the stream holds.
    last: u64,
    /// Whether a frame has been numbered; the first may repeat what the stream has.
    started: bool,
}

impl Numbering {
    /// For a connection of a producer of which the stream holds everything up to `last` (0: nothing).
    pub fn of_producer(last: u64) -> Self {
        Self { producer: true, last, started: false }
    }

    /// For a connection without a producer.
    pub fn anonymous() -> Self {
        Self { producer: false, last: 0, started: false }
    }

    /// Takes the header off a frame and numbers it.
    ///
    /// # Errors
    /// [`FaultKind::Protocol`] if the header is malformed or not allowed, or if the number does not grow. The
    /// connection is to be closed then.
    pub fn number(&mut self, mut payload: Bytes, binary: bool) -> Result<Frame, Fault> {
        let explicit = header(&payload)?;
        let number = match explicit {
            Some(_) if !self.producer => {
                return Err(protocol("a numbered frame needs the parameter `producer`"));
            }
            Some((number, _)) if self.started && number <= self.last => {
                let last = self.last;
                return Err(protocol(format!(
                    "frame number {number} does not grow: the previous one was {last}"
                )));
            }
            Some((number, length)) => {
                payload.advance(length);
                number
            }
            None => self.last.checked_add(1).ok_or_else(|| protocol("frame numbers are used up"))?,
        };
        (self.last, self.started) = (number, true);
        Ok(Frame { number, payload, binary })
    }
}

/// The number in a frame's header line and the line's length in bytes; none if the frame has no header.
fn header(frame: &[u8]) -> Result<Option<(u64, usize)>, Fault> {
    let Some(rest) = frame.strip_prefix(b"#") else { return Ok(None) };
    let digits = rest.iter().take(MAX_DIGITS).take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || rest.get(digits) != Some(&b'\n') {
        return Err(protocol("a frame's header line must be `#`, 1 to 20 decimal digits and a line feed"));
    }
    let number = rest[..digits].iter().try_fold(0u64, |number, digit| {
        number.checked_mul(10).and_then(|number| number.checked_add(u64::from(digit - b'0')))
    });
    match number {
        Some(0) => Err(protocol("frame numbers begin at 1")),
        Some(number) => Ok(Some((number, digits + 2))),
        None => Err(protocol(format!("frame numbers end at {}", u64::MAX))),
    }
}

fn protocol(message: impl Into<String>) -> Fault {
    Fault::new(FaultKind::Protocol, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(numbering: &mut Numbering, frame: &str) -> Result<(u64, String), String> {
        let frame = numbering.number(Bytes::copy_from_slice(frame.as_bytes()), false);
        frame
            .map(|frame| (frame.number, String::from_utf8(frame.payload.to_vec()).unwrap()))
            .map_err(|fault| fault.message)
    }

    fn ok(number: u64, payload: &str) -> Result<(u64, String), String> {
        Ok((number, payload.to_owned()))
    }

    #[test]
    fn without_a_producer_frames_count_from_one() {
        let mut numbering = Numbering::anonymous();
        assert_eq!(number(&mut numbering, "{}"), ok(1, "{}"));
        assert_eq!(number(&mut numbering, ""), ok(2, ""));
        let message = number(&mut numbering, "#3\n{}").unwrap_err();
        assert!(message.contains("`producer`"), "{message}");
    }

    #[test]
    fn implicit_numbers_follow_the_last_one() {
        let mut numbering = Numbering::of_producer(16);
        assert_eq!(number(&mut numbering, "a"), ok(17, "a"));
        assert_eq!(number(&mut numbering, "#30\nb"), ok(30, "b"));
        assert_eq!(number(&mut numbering, "c"), ok(31, "c"));
    }

    #[test]
    fn the_first_number_may_repeat_what_the_stream_has() {
        let mut numbering = Numbering::of_producer(16);
        assert_eq!(number(&mut numbering, "#10\na"), ok(10, "a"));
        assert_eq!(number(&mut numbering, "b"), ok(11, "b"));
        assert!(number(&mut numbering, "#11\nc").unwrap_err().contains("previous one was 11"));
    }

    #[test]
    fn only_the_header_line_is_taken_off() {
        let mut numbering = Numbering::of_producer(0);
        assert_eq!(number(&mut numbering, "#1\n#2\n{}"), ok(1, "#2\n{}"));
        assert_eq!(number(&mut numbering, "#2\n"), ok(2, ""));
        assert_eq!(number(&mut numbering, "#00000000000000000003\nx"), ok(3, "x"));
    }

    #[test]
    fn malformed_headers_are_refused() {
        for frame in
            ["#", "#\n", "#1", "#1 \n", "# 1\n", "#+1\n", "#1\r\n", "#x\n", "#-1\n", "#0\n", "#0x1\n"]
        {
            assert!(number(&mut Numbering::of_producer(0), frame).is_err(), "{frame:?}");
        }
        assert!(number(&mut Numbering::of_producer(0), "#000000000000000000001\n").is_err(), "21 digits");
        assert!(number(&mut Numbering::of_producer(0), "#18446744073709551616\n").is_err(), "2^64");
    }

    #[test]
    fn numbers_end_with_u64() {
        let mut numbering = Numbering::of_producer(0);
        assert_eq!(number(&mut numbering, "#18446744073709551615\nx"), ok(u64::MAX, "x"));
        assert!(number(&mut numbering, "y").unwrap_err().contains("used up"));
    }

    #[test]
    fn the_payload_is_not_copied() {
        let frame = Bytes::from_static(b"#7\n{\"a\":1}");
        let numbered = Numbering::of_producer(0).number(frame.clone(), false).unwrap();
        assert_eq!(numbered.payload.as_ptr(), frame[3..].as_ptr());
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_frame_or_a_fault_and_numbers_grow(
            frames in prop::collection::vec(("(#[0-9]{0,21}\n?)?", prop::collection::vec(any::<u8>(), 0..8)), 0..20),
            last in prop::option::of(any::<u64>()),
        ) {
            let mut numbering = last.map_or_else(Numbering::anonymous, Numbering::of_producer);
            let mut previous = 0;
            for (header, payload) in frames {
                let frame = [header.as_bytes(), &payload].concat();
                let Ok(numbered) = numbering.number(Bytes::from(frame.clone()), true) else { break };
                prop_assert!(numbered.number > previous);
                prop_assert!(frame.ends_with(&numbered.payload));
                prop_assert!(frame.first() == Some(&b'#') || numbered.payload == frame);
                previous = numbered.number;
            }
        }

        #[test]
        fn a_header_is_read_as_it_was_written(number in 1..=u64::MAX, payload in any::<Vec<u8>>()) {
            let frame = [format!("#{number}\n").as_bytes(), &payload].concat();
            let numbered = Numbering::of_producer(u64::MAX).number(Bytes::from(frame), true).unwrap();
            prop_assert_eq!((numbered.number, numbered.payload), (number, Bytes::from(payload)));
        }
    }
}
