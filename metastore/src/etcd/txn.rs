//! Transactions as etcd has them.
//!
//! etcd says that a comparison failed, not which. So the other branch reads the compared keys, at the same revision,
//! and the first that is not as expected is named.

use etcd_client::{Compare, CompareOp, GetOptions, PutOptions, TxnOp, TxnOpResponse, TxnResponse};

use super::config::EtcdLimits;
use super::space::{KeySpace, revision};
use crate::error::{MetaStoreError, Result};
use crate::txn::{Expect, Precondition, Txn, TxnOutcome, Write};

/// More than any operation takes beside its key and value: tags and lengths, and comparisons' targets.
const OPERATION_BYTES: usize = 48;
/// The same of a whole request, with what members add when they pass it on.
const REQUEST_BYTES: usize = 256;

/// # Errors
/// [`MetaStoreError::TooManyOperations`] or [`MetaStoreError::TooLarge`] for what etcd would refuse.
pub(super) fn check(space: &KeySpace, limits: EtcdLimits, txn: &Txn) -> Result<()> {
    // Of each kind etcd takes so many.
    let count = txn.preconditions.len().max(txn.writes.len());
    if count > limits.operations {
        return Err(MetaStoreError::TooManyOperations {
            count: count as u64,
            limit: limits.operations as u64,
        });
    }
    let bytes = request_bytes(space, txn);
    match bytes <= limits.request_bytes {
        true => Ok(()),
        false => Err(MetaStoreError::TooLarge { bytes: bytes as u64, limit: limits.request_bytes as u64 }),
    }
}

/// The size of the request, or a little more.
pub(super) fn request_bytes(space: &KeySpace, txn: &Txn) -> usize {
    let operation = |key: &str| space.encoded_len(key) + OPERATION_BYTES;
    let compared: usize = txn.preconditions.iter().map(|it| 2 * operation(&it.key)).sum();
    let written = txn.writes.iter().map(|write| match write {
        Write::Put { key, value } | Write::PutLeased { key, value, .. } => operation(key) + value.len(),
        Write::Delete { key } => operation(key),
    });
    REQUEST_BYTES + compared + written.sum::<usize>()
}

pub(super) fn request(space: &KeySpace, txn: &Txn) -> etcd_client::Txn {
    let keys_only = Some(GetOptions::new().with_keys_only());
    let compares: Vec<_> = txn.preconditions.iter().map(|it| compare(space, it)).collect();
    let writes: Vec<_> = txn.writes.iter().map(|write| operation(space, write)).collect();
    let seen = txn.preconditions.iter().map(|it| TxnOp::get(space.encode(&it.key), keys_only.clone()));
    // Reads that wait for the leader, without which a transaction that writes nothing may see the past.
    etcd_client::Txn::new().when(compares).and_then(writes).or_else(seen.collect::<Vec<_>>())
}

fn compare(space: &KeySpace, precondition: &Precondition) -> Compare {
    let key = space.encode(&precondition.key);
    match precondition.expect {
        Expect::Absent => Compare::create_revision(key, CompareOp::Equal, 0),
        Expect::Exists => Compare::create_revision(key, CompareOp::Greater, 0),
        // To etcd a key that is absent has revision zero.
        Expect::Revision(revision) => match i64::try_from(revision) {
            Ok(revision) if revision > 0 => Compare::mod_revision(key, CompareOp::Equal, revision),
            _ => Compare::create_revision(key, CompareOp::Less, 0),
        },
    }
}

fn operation(space: &KeySpace, write: &Write) -> TxnOp {
    let key = space.encode(write.key());
    match write {
        Write::Put { value, .. } => TxnOp::put(key, value.to_vec(), None),
        Write::PutLeased { value, lease, .. } => {
            let options = PutOptions::new().with_lease(lease.get().cast_signed());
            TxnOp::put(key, value.to_vec(), Some(options))
        }
        Write::Delete { .. } => TxnOp::delete(key, None),
    }
}

/// # Errors
/// [`MetaStoreError::Engine`] if the answer does not fit the transaction.
pub(super) fn outcome(place: &str, txn: Txn, answer: &TxnResponse) -> Result<TxnOutcome> {
    let strange =
        |detail: &str| MetaStoreError::Engine { place: place.to_owned(), detail: detail.to_owned() };
    if answer.succeeded() {
        let header = answer.header().ok_or_else(|| strange("an answer has no revision"))?;
        return Ok(TxnOutcome::Committed { revision: revision(header.revision()) });
    }
    let seen = answer.op_responses().into_iter().map(|response| match response {
        TxnOpResponse::Get(found) => found.kvs().first().map(|found| revision(found.mod_revision())),
        _ => None,
    });
    let mut compared = txn.preconditions.into_iter().zip(seen);
    let failed = compared.find(|(precondition, seen)| !precondition.expect.holds(*seen));
    let (Precondition { key, .. }, _) =
        failed.ok_or_else(|| strange("a transaction failed for no reason"))?;
    Ok(TxnOutcome::Conflict { key })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: EtcdLimits = EtcdLimits { operations: 3, request_bytes: 2_000 };

    fn checked(txn: &Txn) -> Result<()> {
        check(&KeySpace::new("p/"), LIMITS, txn)
    }

    #[test]
    fn operations_are_counted_by_kind() {
        let mut txn = Txn::new();
        for key in ["a", "b", "c"] {
            txn = txn.expect(key, Expect::Absent).put(key, "");
        }
        checked(&txn).unwrap();
        for txn in [txn.clone().delete("d"), txn.expect("d", Expect::Exists)] {
            let error = checked(&txn).unwrap_err();
            assert!(matches!(error, MetaStoreError::TooManyOperations { count: 4, limit: 3 }), "{error}");
        }
    }

    #[test]
    fn keys_values_and_what_surrounds_them_are_counted() {
        checked(&Txn::new().put("a", vec![0; 1_600])).unwrap();
        for txn in [
            Txn::new().put("a", vec![0; 2_000]),
            Txn::new().put("a".repeat(2_000), ""),
            Txn::new().delete("a".repeat(2_000)),
            Txn::new().expect("a".repeat(1_000), Expect::Absent),
        ] {
            let error = checked(&txn).unwrap_err();
            assert!(matches!(error, MetaStoreError::TooLarge { limit: 2_000, .. }), "{error}");
        }
    }
}
