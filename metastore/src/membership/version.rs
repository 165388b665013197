//! Which versions work together.

use thiserror::Error;

/// Two processes whose versions do not work together.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VersionSkew {
    /// They differ in more than the last number.
    #[error(
        "this process has version {ours} and the other process version {theirs}, which do not work together; \
         upgrade the process of version {older} so that both have version {target}.x"
    )]
    Apart {
        ours: String,
        theirs: String,
        /// The lower one of the two.
        older: String,
        /// The first two numbers of the higher one.
        target: String,
    },
    /// A version without its first two numbers says nothing about what it works with.
    #[error(
        "this process has version {ours} and the other process version {theirs}, and `{unreadable}` is not a version \
         of the form 1.2.3; run the same release in both"
    )]
    Unreadable { ours: String, theirs: String, unreadable: String },
}

/// Whether a process of version `ours` works with one of version `theirs`, both of the form `1.2.3`, with or without a
/// suffix such as `-rc.1`. Those work together that have the first two numbers in common, for versions below 1.0 as for
/// those above.
///
/// # Errors
/// [`VersionSkew`] if they do not work together.
pub fn check_versions(ours: &str, theirs: &str) -> Result<(), VersionSkew> {
    let release = |version: &str| {
        release(version).ok_or_else(|| VersionSkew::Unreadable {
            ours: ours.to_owned(),
            theirs: theirs.to_owned(),
            unreadable: version.to_owned(),
        })
    };
    let (our_release, their_release) = (release(ours)?, release(theirs)?);
    if our_release == their_release {
        return Ok(());
    }
    let older = if our_release < their_release { ours } else { theirs };
    let (major, minor) = our_release.max(their_release);
    Err(VersionSkew::Apart {
        ours: ours.to_owned(),
        theirs: theirs.to_owned(),
        older: older.to_owned(),
        target: format!("{major}.{minor}"),
    })
}

/// The first two numbers of a version.
fn release(version: &str) -> Option<(u64, u64)> {
    let end = version.find(['-', '+']).unwrap_or(version.len());
    let mut numbers = version[..end].split('.').map(number);
    let (major, minor) = (numbers.next()??, numbers.next()??);
    numbers.all(|number| number.is_some()).then_some((major, minor))
}

/// Digits alone: a sign in front is no part of a version.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_major_and_minor_work_together() {
        for (ours, theirs) in [
            ("0.1.0", "0.1.0"),
            ("0.1.0", "0.1.9"),
            ("1.4.2", "1.4.0"),
            ("0.2.0-rc.1", "0.2.0+x.9"),
            ("1.2", "1.2.3"),
        ] {
            assert_eq!(check_versions(ours, theirs), Ok(()), "{ours} and {theirs}");
            assert_eq!(check_versions(theirs, ours), Ok(()), "{theirs} and {ours}");
        }
    }

    #[test]
    fn others_are_told_which_process_to_upgrade() {
        for (older, newer, target) in [
            ("0.1.9", "0.2.0", "0.2"),
            ("0.9.0", "0.10.0", "0.10"),
            ("1.4.0", "2.0.1", "2.0"),
            ("0.1.0", "1.1.0", "1.1"),
        ] {
            for (ours, theirs) in [(older, newer), (newer, older)] {
                let text = check_versions(ours, theirs).unwrap_err().to_string();
                for part in [
                    format!("this process has version {ours} "),
                    format!("the other process version {theirs},"),
                    format!("upgrade the process of version {older} "),
                    format!("version {target}.x"),
                ] {
                    assert!(text.contains(&part), "{text}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_version_works_with_nothing() {
        for unreadable in ["", "1", "latest", "1.x.0", "v1.2.3", "1.+2", "1.2.", "-1.2", "1..2"] {
            for (ours, theirs) in [("0.1.0", unreadable), (unreadable, "0.1.0")] {
                let error = check_versions(ours, theirs).unwrap_err();
                let VersionSkew::Unreadable { unreadable: named, .. } = &error else { panic!("{error}") };
                assert_eq!(named, unreadable);
            }
        }
    }
}
