//! The processes that take rows of streams.

use polarway_metastore::{Key, KeyPrefix, MetaStore, Txn};
use serde::{Deserialize, Serialize};

use super::owner::{StreamError, read, write};

/// A process that takes rows of streams. It says so when it starts, and takes it back when it ends in order; one that died
/// stays in the list until it starts again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Kept over restarts: it goes with the directory of logs.
    pub name: String,
    /// Where it answers by gRPC, `host:port`.
    pub address: String,
    /// Where WebSocket clients connect, `host:port`.
    pub ws: String,
}

impl Node {
    fn key(&self) -> String {
        Key::StreamNode { name: self.name.clone() }.encode()
    }

    /// # Errors
    /// [`StreamError::Meta`].
    pub async fn enter(&self, meta: &dyn MetaStore) -> Result<(), StreamError> {
        meta.txn(Txn::new().put(self.key(), write(self)?)).await?;
        Ok(())
    }

    /// # Errors
    /// [`StreamError::Meta`].
    pub async fn leave(&self, meta: &dyn MetaStore) -> Result<(), StreamError> {
        meta.txn(Txn::new().delete(self.key())).await?;
        Ok(())
    }

    /// The process of this name, if there is one.
    ///
    /// # Errors
    /// [`StreamError::Meta`], [`StreamError::Damaged`].
    pub async fn named(meta: &dyn MetaStore, name: &str) -> Result<Option<Self>, StreamError> {
        let found = meta.get(&Key::StreamNode { name: name.to_owned() }.encode()).await?;
        found.map(|found| read(&found.value)).transpose()
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// [`StreamError::Meta`], [`StreamError::Damaged`].
    pub async fn all(meta: &dyn MetaStore) -> Result<Vec<Self>, StreamError> {
        let listed = meta.list(&KeyPrefix::StreamNodes.encode()).await?;
        listed.entries.iter().map(|(_, found)| read(&found.value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use polarway_metastore::EmbeddedMetaStore;

    use super::*;

    #[tokio::test]
    async fn a_node_comes_and_goes() {
        let directory = tempfile::tempdir().unwrap();
        let meta = EmbeddedMetaStore::open(directory.path().join("meta.redb")).await.unwrap();
        let node = |name: &str, port: u16| Node {
            name: name.to_owned(),
            address: format!("127.0.0.1:{port}"),
            ws: format!("127.0.0.1:{}", port + 1),
        };
        node("b", 1).enter(&meta).await.unwrap();
        node("a/1", 3).enter(&meta).await.unwrap();
        node("b", 5).enter(&meta).await.unwrap();
        assert_eq!(Node::all(&meta).await.unwrap(), [node("a/1", 3), node("b", 5)]);
        assert_eq!(Node::named(&meta, "b").await.unwrap(), Some(node("b", 5)));
        node("b", 5).leave(&meta).await.unwrap();
        assert_eq!(Node::named(&meta, "b").await.unwrap(), None);
    }
}
