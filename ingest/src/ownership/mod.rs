//! Which streams this process has: it gives up what another one has taken, and takes what one that died has left.
//!
//! 1. A process registers under a lease, and claims the streams that it had before ([`Tenure`]).
//! 2. While it is registered it takes rows. When the registration lapses it takes and acknowledges none, since others may
//!    believe it dead, until it is registered again and has looked who has its streams.
//! 3. A process that is gone, and has not come back after a while, leaves its streams to those that are there. Who takes
//!    what, and when, is decided alike by all of them ([`Heirs`]), without a word between them; the claim is a transaction
//!    of which one takes place ([`polarway_storage::streams::Ownership::take_over`]).
//! 4. What the log of an owner before still holds is handed over by the process that has it ([`crate::handover`]).

mod heirs;
mod keeper;
mod tenure;

pub use heirs::{Group, Heirs, Stream, TakeOver};
pub use keeper::{Keeper, KeeperOptions};
pub use tenure::Tenure;
#[cfg(test)]
pub(crate) use tenure::tests::member as tenure_of_member;
