//! The little of RFC 6455 that the harness needs: frames as a client sends them, and as a server answers.

pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;

/// Every frame has the same key: the server unmasks it as any other, and nothing here hides from a proxy.
const KEY: [u8; 4] = [0x5a, 0xc3, 0x17, 0x8e];

/// The head of a whole masked frame whose payload has `size` bytes.
pub fn head(kind: u8, size: u64) -> Vec<u8> {
    let mut head = vec![0x80 | kind];
    match size {
        0..126 => head.push(0x80 | size as u8),
        126..0x1_0000 => {
            head.push(0x80 | 126);
            head.extend((size as u16).to_be_bytes());
        }
        _ => {
            head.push(0x80 | 127);
            head.extend(size.to_be_bytes());
        }
    }
    head.extend(KEY);
    head
}

/// A whole masked frame.
pub fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(kind, payload.len() as u64);
    frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// Cuts what a server sends into messages. Servers mask nothing, and ours and the peers send every message in one frame.
#[derive(Debug, Default)]
pub struct Messages {
    bytes: Vec<u8>,
    begin: usize,
}

impl Messages {
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.begin);
        self.begin = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Kind and payload of the next message that has come whole.
    pub fn take(&mut self) -> Option<(u8, &[u8])> {
        let rest = self.bytes.get(self.begin..)?;
        let (first, second) = (*rest.first()?, *rest.get(1)?);
        let (head, size) = match second & 0x7f {
            126 => (4, u64::from(u16::from_be_bytes(rest.get(2..4)?.try_into().ok()?))),
            127 => (10, u64::from_be_bytes(rest.get(2..10)?.try_into().ok()?)),
            small => (2, u64::from(small)),
        };
        let end = head + usize::try_from(size).ok()?;
        let payload = rest.get(head..end)?;
        self.begin += end;
        Some((first & 0x0f, payload))
    }
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket};

    use super::*;

    #[test]
    fn a_server_reads_frames_of_every_size() {
        for size in [0, 1, 125, 126, 65_535, 65_536, 200_000] {
            let text = "x".repeat(size);
            let bytes = std::io::Cursor::new(frame(TEXT, text.as_bytes()));
            let mut server = WebSocket::from_raw_socket(bytes, Role::Server, None);
            assert_eq!(server.read().unwrap(), Message::text(text));
        }
    }

    #[test]
    fn messages_are_cut_wherever_the_bytes_break() {
        let mut bytes = vec![0x81, 2, b'o', b'k', 0x8a, 0, 0x81, 126, 0, 200];
        bytes.extend([b'y'; 200]);
        bytes.extend([0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        bytes.extend([7; 65_536]);
        for step in [1, 3, 70_000] {
            let (mut messages, mut seen) = (Messages::default(), Vec::new());
            for part in bytes.chunks(step) {
                messages.extend(part);
                while let Some((kind, payload)) = messages.take() {
                    seen.push((kind, payload.len()));
                }
            }
            assert_eq!(seen, [(TEXT, 2), (0xa, 0), (TEXT, 200), (BINARY, 65_536)]);
        }
    }
}
