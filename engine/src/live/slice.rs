//! A range of a stream's rows in the memory of its owner.

use std::fmt;
use std::str::FromStr;

use object_store::path::Path;
use polarway_common::{Error, ErrorKind};

/// What stands before a slice's parts in the path that stands for its file.
const ROOT: &str = "live";

/// Rows `from..to` of a stream, counted from the first row that it ever had.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HotSlice {
    /// Identity of the stream; another stream of the same name has another.
    pub stream: String,
    /// Where the owner answers, `host:port`.
    pub owner: String,
    pub from: u64,
    pub to: u64,
}

impl HotSlice {
    pub fn rows(&self) -> u64 {
        self.to.saturating_sub(self.from)
    }

    /// The path that stands for the slice where DataFusion wants a file.
    pub fn to_path(&self) -> Path {
        Path::from_iter([ROOT, &self.stream, &self.owner, &format!("{}-{}", self.from, self.to)])
    }

    /// # Errors
    /// `Internal` when the path is not one that [`to_path`](Self::to_path) made.
    pub fn of_path(path: &Path) -> Result<Self, Error> {
        let fault = || Error::new(ErrorKind::Internal, format!("`{path}` is no slice of a stream"));
        let parts: Vec<_> = path.parts().collect();
        let [root, stream, owner, range] = parts.as_slice() else { return Err(fault()) };
        let plain = |text: &str| {
            percent_encoding::percent_decode_str(text).decode_utf8().map(|text| text.into_owned()).ok()
        };
        let (from, to) = range.as_ref().split_once('-').ok_or_else(fault)?;
        let number = |text: &str| u64::from_str(text).map_err(|_| fault());
        let slice = Self {
            stream: plain(stream.as_ref()).ok_or_else(fault)?,
            owner: plain(owner.as_ref()).ok_or_else(fault)?,
            from: number(from)?,
            to: number(to)?,
        };
        if root.as_ref() == ROOT && slice.from <= slice.to { Ok(slice) } else { Err(fault()) }
    }
}

impl fmt::Display for HotSlice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rows {}..{} of {} at {}", self.from, self.to, self.stream, self.owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_survives_its_path() {
        for owner in ["127.0.0.1:50052", "[::1]:50052", "ingest-0.polarway.svc:50052", "a b/c%2F:1"] {
            let slice =
                HotSlice { stream: "public.ticks%7".into(), owner: owner.into(), from: 7, to: u64::MAX };
            assert_eq!(HotSlice::of_path(&slice.to_path()).unwrap(), slice);
        }
    }

    #[test]
    fn another_path_is_refused() {
        for path in ["live/a/b", "other/a/b/1-2", "live/a/b/1", "live/a/b/2-1", "live/a/b/x-2", ""] {
            assert!(HotSlice::of_path(&Path::from(path)).is_err(), "{path}");
        }
    }
}
