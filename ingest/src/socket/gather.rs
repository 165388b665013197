//! Gathering the frames that are there into one group.

use bytes::Bytes;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::end::End;
use super::fault::{Fault, FaultKind};
use super::frame::{Frame, Numbering};

/// A group of frames as it grows, and what else came along.
#[derive(Debug)]
pub(super) struct Gather {
    numbering: Numbering,
    max_bytes: usize,
    max_frames: usize,
    frames: Vec<Frame>,
    /// Bytes of the messages, header lines included.
    bytes: usize,
    /// Messages of all kinds, so that a flood of pings ends a group too.
    messages: usize,
    ping: Option<Bytes>,
    end: Option<End>,
}

impl Gather {
    pub fn new(numbering: Numbering, max_bytes: usize, max_frames: usize) -> Self {
        Self {
            numbering,
            max_bytes,
            max_frames,
            frames: Vec::new(),
            bytes: 0,
            messages: 0,
            ping: None,
            end: None,
        }
    }

    /// Adds what the socket gave; none is its end.
    pub fn add(&mut self, read: Option<Result<Message, WsError>>) {
        self.messages += 1;
        match read {
            Some(Ok(Message::Text(text))) => self.frame(text.into(), false),
            Some(Ok(Message::Binary(payload))) => self.frame(payload, true),
            // RFC 6455, 5.5.3: of several pings the last may be answered alone.
            Some(Ok(Message::Ping(payload))) => self.ping = Some(payload),
            Some(Ok(Message::Pong(_))) => {}
            Some(Ok(Message::Close(frame))) => self.end = Some(End::Client(frame)),
            Some(Ok(Message::Frame(_))) => {
                self.end = Some(End::Fault(Fault::new(FaultKind::Internal, "a raw frame was read")));
            }
            Some(Err(error)) => self.end = Some(End::of_error(error)),
            None => self.end = Some(End::Lost),
        }
    }

    fn frame(&mut self, payload: Bytes, binary: bool) {
        let bytes = payload.len();
        match self.numbering.number(payload, binary) {
            Ok(frame) => {
                self.frames.push(frame);
                self.bytes = self.bytes.saturating_add(bytes);
            }
            Err(fault) => self.end = Some(End::Fault(fault)),
        }
    }

    /// Whether another message may join.
    pub fn has_room(&self) -> bool {
        self.end.is_none() && self.bytes < self.max_bytes && self.messages < self.max_frames
    }

    /// The group's frames in order.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The last ping that came, to be answered.
    pub fn take_ping(&mut self) -> Option<Bytes> {
        self.ping.take()
    }

    /// Why nothing follows this group, if so.
    pub fn take_end(&mut self) -> Option<End> {
        self.end.take()
    }

    /// Lets go of the frames; their numbers go on.
    pub fn clear(&mut self) {
        self.frames.clear();
        (self.bytes, self.messages) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};

    use super::*;

    fn gather(max_bytes: usize, max_frames: usize) -> Gather {
        Gather::new(Numbering::of_producer(0), max_bytes, max_frames)
    }

    fn text(text: &str) -> Option<Result<Message, WsError>> {
        Some(Ok(Message::text(text)))
    }

    #[test]
    fn a_group_ends_with_its_bytes_or_its_frames() {
        let mut group = gather(10, 3);
        group.add(text("12345"));
        assert!(group.has_room());
        group.add(text("123456789"));
        assert!(!group.has_room(), "a frame may go over the limit, none may follow");
        group.clear();
        for _ in 0..3 {
            assert!(group.has_room());
            group.add(text(""));
        }
        assert!(!group.has_room());
        assert_eq!(group.frames().iter().map(|frame| frame.number).collect::<Vec<_>>(), [3, 4, 5]);
    }

    #[test]
    fn pings_do_not_keep_a_group_open() {
        let mut group = gather(10, 3);
        for n in 0u8..3 {
            group.add(Some(Ok(Message::Ping(vec![n].into()))));
        }
        assert!(!group.has_room() && group.frames().is_empty());
        assert_eq!((group.take_ping(), group.take_ping()), (Some(vec![2].into()), None));
    }

    #[test]
    fn what_came_before_an_end_is_kept() {
        let mut group = gather(100, 10);
        group.add(text("#5\na"));
        group.add(text("#5\nb"));
        assert!(!group.has_room());
        assert_eq!(group.frames().len(), 1);
        let Some(End::Fault(fault)) = group.take_end() else { panic!("no fault") };
        assert_eq!(fault.kind, FaultKind::Protocol);
    }

    #[test]
    fn errors_of_the_socket_are_told_apart() {
        let kind = |error| match End::of_error(error) {
            End::Fault(fault) => Some(fault.kind),
            _ => None,
        };
        let too_long = CapacityError::MessageTooLong { size: 2, max_size: 1 };
        assert_eq!(kind(WsError::Capacity(too_long)), Some(FaultKind::FrameTooLarge));
        assert_eq!(
            kind(WsError::Protocol(ProtocolError::UnmaskedFrameFromClient)),
            Some(FaultKind::Protocol)
        );
        assert_eq!(kind(WsError::Utf8(String::new())), Some(FaultKind::InvalidText));
        assert_eq!(kind(WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake)), None);
        assert_eq!(kind(WsError::ConnectionClosed), None);
    }

    proptest! {
        #[test]
        fn groups_keep_every_frame_in_order_and_stay_within_limits(
            sizes in prop::collection::vec(0usize..40, 1..100),
            max_bytes in 1usize..100,
            max_frames in 1usize..10,
        ) {
            let mut group = gather(max_bytes, max_frames);
            let mut seen = Vec::new();
            for size in &sizes {
                if !group.has_room() {
                    seen.extend(group.frames().iter().map(|frame| (frame.number, frame.payload.len())));
                    group.clear();
                }
                group.add(text(&"x".repeat(*size)));
                prop_assert!(group.bytes() < max_bytes + 40 && group.frames().len() <= max_frames);
            }
            seen.extend(group.frames().iter().map(|frame| (frame.number, frame.payload.len())));
            let expected: Vec<_> = (1..).zip(sizes).collect();
            prop_assert_eq!(seen, expected);
        }
    }
}
