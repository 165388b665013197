//! Bytes in memory that grow without being copied.

use std::io::{self, Write};

const SMALLEST: usize = 4 << 10;
const LARGEST: usize = 1 << 20;

/// See the module's page.
#[derive(Debug, Default)]
pub struct Chunks {
    chunks: Vec<Vec<u8>>,
    allocated: usize,
    length: usize,
}

impl Chunks {
    /// Bytes of memory taken.
    pub fn allocated(&self) -> usize {
        self.allocated
    }

    /// Bytes written.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Takes what was written and starts over.
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    pub fn write_to(&self, target: &mut impl Write) -> io::Result<()> {
        self.chunks.iter().try_for_each(|chunk| target.write_all(chunk))
    }
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.chunks.last().map_or(0, |chunk| chunk.capacity() - chunk.len());
        if room == 0 {
            let chunk = Vec::with_capacity(self.allocated.clamp(SMALLEST, LARGEST));
            self.allocated += chunk.capacity();
            self.chunks.push(chunk);
        }
        let Some(chunk) = self.chunks.last_mut() else { return Ok(0) };
        let fitting = bytes.len().min(chunk.capacity() - chunk.len());
        chunk.extend_from_slice(&bytes[..fitting]);
        self.length += fitting;
        Ok(fitting)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        let mut chunks = Chunks::default();
        let written: Vec<u8> = (0..5_000_000u32).map(|number| number as u8).collect();
        for piece in written.chunks(77_777) {
            chunks.write_all(piece).unwrap();
        }
        assert_eq!(chunks.len(), written.len());
        assert!(chunks.allocated() < written.len() + 2 * LARGEST);
        let taken = chunks.take();
        let mut read = vec![];
        taken.write_to(&mut read).unwrap();
        assert!(read == written);
        assert_eq!((chunks.len(), chunks.allocated()), (0, 0));
    }
}
