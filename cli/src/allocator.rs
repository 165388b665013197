//! How soon freed memory goes back to the system.
//!
//! mimalloc keeps what was freed for a second, which saves page faults. Under a small memory limit that is a large part of
//! what the process holds: sorting a gigabyte under a limit of 256 MiB took 547 MiB with it and 328 MiB without. So it is
//! where rows come in by the hundred megabytes a second, each in a buffer of its own: what a second's rows took before
//! they were decoded, logged and sealed is more than what is kept of them. Huge pages make it worse, since one that holds
//! a little is held as a whole, and gain nothing there. mimalloc reads its options from the environment when the process
//! starts, so the process starts once more.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

use polarway_common::ByteSize;
use polarway_engine::memory::SMALL;

/// mimalloc's own variable, in milliseconds. Whoever sets it has decided.
const PURGE_DELAY: &str = "MIMALLOC_PURGE_DELAY";
/// mimalloc's own variable, 0 or 1.
const HUGE_PAGES: &str = "MIMALLOC_ALLOW_THP";

type Options = &'static [(&'static str, &'static str)];

const SMALL_LIMIT: Options = &[(PURGE_DELAY, "0")];
/// Buffers that are used again and again come back sooner than this; those of a seal do not.
const STREAMS: Options = &[(PURGE_DELAY, "50"), (HUGE_PAGES, "0")];

/// Replaces this process by itself (the process id stays) with memory given back sooner, if `limit` is small or the
/// process takes rows of streams. To be called before anything is opened.
pub fn suit(limit: ByteSize, streams: bool) {
    let options = if limit < SMALL {
        SMALL_LIMIT
    } else if streams {
        STREAMS
    } else {
        return;
    };
    if env::var_os(PURGE_DELAY).is_some() {
        return;
    }
    let Ok(program) = env::current_exe() else { return };
    let mut again = Command::new(program);
    again.args(env::args_os().skip(1));
    // What is set already stays: it was decided on.
    again.envs(options.iter().filter(|(name, _)| env::var_os(name).is_none()).copied());
    let error = again.exec();
    tracing::warn!(%error, "cannot start again with {options:?}; freed memory is given back late");
}
