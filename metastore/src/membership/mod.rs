//! Who is in the cluster: processes that register under a lease, and a view of them that everyone follows.
//!
//! A process registers by [`Registration`], which keeps a key of its name only as long as it is alive, and follows the
//! others by [`Members`]. What is known of them is a [`View`]: plain data that takes events and tells changes.

mod error;
mod member;
mod members;
mod presence;
mod registration;
mod version;
mod view;

#[cfg(test)]
pub(crate) mod tests;

pub use error::MembershipError;
pub use member::{Member, MemberState, Role};
pub use members::Members;
pub use presence::Presence;
pub use registration::{Registration, Standing};
pub use version::{VersionSkew, check_versions};
pub use view::{Change, Observed, View};
