//! What a client proves with who it is.

use std::fmt;
use std::path::{Path, PathBuf};

use polarway_common::config::Secret;
use polarway_common::{Error, ErrorKind};
use tonic::metadata::{Ascii, MetadataValue};

/// The longest token, in bytes: a path that leads to something else than a token is not read into memory.
const LONGEST: usize = 4 << 10;

/// What stands for a token wherever one would be shown.
const REDACTED: &str = "***";

/// The value of the header `authorization`.
pub(crate) type Header = MetadataValue<Ascii>;

/// Proves to the servers who calls them, as the header `authorization: Bearer …`. It prints as `***`.
#[derive(Clone)]
pub struct Token(Source);

#[derive(Clone)]
enum Source {
    Text(Secret),
    File(PathBuf),
}

impl Token {
    /// The token that `text` is.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for an empty one, one of more than 4 KiB, and one with other signs than letters, digits and
    /// punctuation of ASCII. The error does not show it.
    pub fn new(text: impl Into<String>) -> Result<Self, Error> {
        let text = Secret::new(text);
        header_of(text.expose().as_bytes(), "the token")?;
        Ok(Self(Source::Text(text)))
    }

    /// The token that stands in a file, without white space at the file's end. It is read when the client connects, again for
    /// each new connection, and when a server does not take it: so another token can be put in its place while the client
    /// runs. What cannot be read later leaves the one that was read before.
    #[must_use]
    pub fn of_file(path: impl Into<PathBuf>) -> Self {
        Self(Source::File(path.into()))
    }

    /// Whether another one can take its place.
    pub(crate) fn may_change(&self) -> bool {
        matches!(self.0, Source::File(_))
    }

    /// What is sent, as it is now.
    pub(crate) async fn header(&self) -> Result<Header, Error> {
        let path = match &self.0 {
            Source::Text(text) => return header_of(text.expose().as_bytes(), "the token"),
            Source::File(path) => path.clone(),
        };
        let reading = tokio::task::spawn_blocking(move || read(&path));
        reading.await.map_err(|error| Error::internal(format!("a token was not read: {error}")))?
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

fn read(path: &Path) -> Result<Header, Error> {
    let name = path.display();
    let fault = |error: std::io::Error| invalid(format!("the token file {name} cannot be read: {error}"));
    // Before it is opened: to open a pipe is to wait for its writer.
    let about = std::fs::metadata(path).map_err(fault)?;
    if !about.is_file() {
        return Err(invalid(format!("the token file {name} is no regular file")));
    }
    if about.len() > LONGEST as u64 {
        return Err(too_long(&format!("the token file {name}")));
    }
    let bytes = std::fs::read(path).map_err(fault)?;
    header_of(bytes.trim_ascii_end(), &format!("the token in {name}"))
}

/// `what` names the token in errors, which must not show it.
fn header_of(token: &[u8], what: &str) -> Result<Header, Error> {
    if token.is_empty() {
        return Err(invalid(format!("{what} is empty")));
    }
    if token.len() > LONGEST {
        return Err(too_long(what));
    }
    let unfit = || invalid(format!("{what} has a sign that cannot be in a header"));
    if !token.iter().all(u8::is_ascii_graphic) {
        return Err(unfit());
    }
    let value = [b"Bearer ".as_slice(), token].concat();
    let mut header = Header::try_from(value.as_slice()).map_err(|_| unfit())?;
    // Logs of the libraries below do not show it, and HTTP/2 keeps it out of its tables.
    header.set_sensitive(true);
    Ok(header)
}

fn too_long(what: &str) -> Error {
    invalid(format!("{what} has more than {LONGEST} bytes"))
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::Configuration, message)
        .with_hint("a token is one word of letters, digits and punctuation; its file has it on one line and nothing else")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::session::random_uuid;

    /// A file that goes with this value.
    pub(crate) struct Scratch(pub PathBuf);

    impl Scratch {
        pub(crate) fn new(content: &[u8]) -> Self {
            let path = std::env::temp_dir().join(format!("polarway-token-{}", random_uuid()));
            std::fs::write(&path, content).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    async fn of_file(content: &[u8]) -> Result<Header, Error> {
        let file = Scratch::new(content);
        Token::of_file(&file.0).header().await
    }

    #[tokio::test]
    async fn a_token_becomes_a_header_that_is_marked() {
        let header = Token::new("aZ09-._~+/=").unwrap().header().await.unwrap();
        assert_eq!(header, "Bearer aZ09-._~+/=");
        assert!(header.is_sensitive());
        assert!(!format!("{header:?}").contains("aZ09"));
    }

    #[test]
    fn a_token_is_not_shown() {
        for token in [Token::new("s3cret").unwrap(), Token::of_file("s3cret")] {
            assert_eq!(format!("{token} {token:?}"), "*** ***");
        }
    }

    #[test]
    fn what_cannot_be_sent_is_refused_and_not_shown() {
        let long = "s3cret".repeat(1000);
        for text in ["", " ", "s3cret ", "s3 cret", "s3cret\n", "s3cret\u{e9}", "s3cret\0", "\ts3cret", &long]
        {
            let error = Token::new(text).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Configuration, "{text:?}");
            assert!(error.hint.is_some());
            assert!(!format!("{error} {error:?}").contains("s3"), "{error}");
        }
    }

    #[tokio::test]
    async fn white_space_at_the_end_of_a_file_is_no_part_of_its_token() {
        for content in ["s3cret", "s3cret\n", "s3cret\r\n", "s3cret \t\n\n"] {
            assert_eq!(of_file(content.as_bytes()).await.unwrap(), "Bearer s3cret", "{content:?}");
        }
    }

    #[tokio::test]
    async fn a_file_without_a_token_is_named_and_not_shown() {
        let long = b"s3cret".repeat(1000);
        let contents: [&[u8]; 6] = [b"", b"\n \n", b"s3cret\ns3cret\n", b" s3cret", b"s3cret\xff", &long];
        for content in contents {
            let error = of_file(content).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Configuration, "{content:?}");
            assert!(error.message.contains("polarway-token-"), "{error}");
            assert!(!error.message.contains("s3cret"), "{error}");
        }
        let gone = Token::of_file("/no/such/file").header().await.unwrap_err();
        assert!(gone.message.starts_with("the token file /no/such/file cannot be read: "), "{gone}");
        let directory = Token::of_file(std::env::temp_dir()).header().await.unwrap_err();
        assert!(directory.message.ends_with("is no regular file"), "{directory}");
    }
}
