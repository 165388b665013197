//! Whether a store can be used.

use std::time::Duration;

use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tokio::time::timeout;
use uuid::Uuid;

use super::backoff::Retry;
use super::error::ShuffleError;
use super::fault::Fault;
use super::store::ShuffleStore;

/// How long a check of the store takes at most.
const CHECK_WITHIN: Duration = Duration::from_secs(10);

/// What requests for probes count as.
const PROBES: &str = "probe";
/// How often the probe is written at most, each time.
const ATTEMPTS: u32 = 4;

/// The part of it that is left to remove the probe.
const CLEAN_UP_SHARE: f64 = 0.1;

impl ShuffleStore {
    /// Finds out by a small object whether the store can be used; it takes 10 s at most.
    ///
    /// # Errors
    /// [`ShuffleError::Configuration`] if it does not refuse to write an object a second time,
    /// [`ShuffleError::Refused`] if it does not let us write, [`ShuffleError::Unavailable`] if it does not answer.
    pub async fn check(&self) -> Result<(), ShuffleError> {
        self.check_within(CHECK_WITHIN).await
    }

    pub(super) async fn check_within(&self, limit: Duration) -> Result<(), ShuffleError> {
        let name = format!("probe-{}", Uuid::new_v4().simple());
        let path = self.path(&name);
        let limit = limit.mul_f64(1.0 - CLEAN_UP_SHARE);
        let checked = match timeout(limit, self.probe(&name, &path)).await {
            Ok(checked) => checked,
            Err(_) => Err(ShuffleError::Unavailable {
                operation: "write",
                object: self.full_name(&name),
                attempts: 1,
                detail: format!("no answer came within {limit:?}"),
            }),
        };
        // A store that forbids writing has nothing to remove, and one that does not answer will not do so now.
        self.counters.count(PROBES, |requests| requests.deletes += 1);
        let _ = timeout(limit.mul_f64(CLEAN_UP_SHARE), self.store.delete(&path)).await;
        checked
    }

    async fn probe(&self, name: &str, path: &Path) -> Result<(), ShuffleError> {
        let needed = |detail: &str| ShuffleError::Configuration {
            place: self.place.clone(),
            detail: format!(
                "{detail}; shuffle output needs a store that knows conditional writes (`If-None-Match: *` of S3, \
                 `x-goog-if-generation-match: 0` of Google Cloud Storage): use one that does, or keep shuffle \
                 output on the executors"
            ),
        };
        let content = Bytes::from_static(b"probe");
        // Few attempts, so that the time suffices to say what is wrong.
        let retry = Retry { attempts: self.retry.attempts.min(ATTEMPTS), ..self.retry };
        // First it is written, then it must not be written again.
        for second in [false, true] {
            let written = self
                .repeat_within(retry, "write", name, || async {
                    self.counters.count(PROBES, |requests| requests.puts += 1);
                    self.put_once(path, content.clone()).await
                })
                .await;
            match written {
                Ok(()) if second => {
                    return Err(needed("it ignores the condition that an object must not exist"));
                }
                Ok(()) => {}
                Err((Fault::Exists, _)) => {}
                Err((Fault::Unsupported, error)) => {
                    return Err(needed(&format!(
                        "it does not know the condition that an object must not exist ({error})"
                    )));
                }
                Err((_, error)) => return Err(error),
            }
        }
        Ok(())
    }
}
