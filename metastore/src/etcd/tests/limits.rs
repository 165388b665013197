use super::*;

#[tokio::test]
async fn long_lists_are_paged_at_one_revision() {
    let cluster = Cluster::start(1).await;
    let store = Arc::new(connect(&cluster.urls()).await);
    let mut keys = Vec::new();
    for batch in 0..12 {
        let names = (0..100).map(|index| format!("k/{batch:02}/{index:02}"));
        let txn = names.clone().fold(Txn::new(), |txn, key| txn.put(key, "0"));
        store.txn(txn).await.unwrap();
        keys.extend(names);
    }
    // More than fits into what is asked for after the first page.
    for large in 0..8 {
        put(&*store, &format!("k/large/{large}"), vec![0; 1 << 20]).await;
        keys.push(format!("k/large/{large}"));
    }
    put(&*store, "l", "another").await;
    let writer = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for round in 0..200 {
                let txn = ["k/00/00", "k/11/99"].iter();
                let txn = txn.fold(Txn::new(), |txn, key| txn.put(*key, round.to_string()));
                store.txn(txn).await.unwrap();
            }
        }
    });
    while !writer.is_finished() {
        let snapshot = store.list("k/").await.unwrap();
        assert!(snapshot.entries.iter().map(|(key, _)| key).eq(&keys));
        let value =
            |name: &str| snapshot.entries.iter().find(|(key, _)| key == name).unwrap().1.value.clone();
        // They have been written together since the writer's first round, and are equal before it.
        assert_eq!(value("k/00/00"), value("k/11/99"));
    }
    writer.await.unwrap();
}

#[tokio::test]
async fn as_many_operations_as_etcd_takes_are_taken() {
    let cluster = Cluster::start(1).await;
    let store = connect(&cluster.urls()).await;
    let limit = EtcdLimits::default().operations;
    let full = (0..limit).fold(Txn::new(), |txn, key| {
        txn.expect(format!("k{key}"), Expect::Absent).put(format!("k{key}"), "1")
    });
    store.txn(full.clone()).await.unwrap().committed().unwrap();
    let again = store.txn(full.clone()).await.unwrap();
    assert_eq!(again, TxnOutcome::Conflict { key: "k0".into() });
    let error = store.txn(full.put("more", "")).await.unwrap_err();
    assert!(matches!(error, MetaStoreError::TooManyOperations { count: 129, limit: 128 }), "{error}");
}

#[tokio::test]
async fn what_is_too_large_is_refused_by_its_size() {
    let cluster = Cluster::start(1).await;
    let store = connect(&cluster.urls()).await;
    let limit = EtcdLimits::default().request_bytes;
    put(&store, "a", vec![0; limit - 400]).await;
    let before = store.revision().await.unwrap();
    let error = store.txn(Txn::new().put("a", vec![0; limit])).await.unwrap_err();
    assert!(matches!(error, MetaStoreError::TooLarge { bytes, limit } if bytes > limit), "{error}");
    assert_eq!(store.revision().await.unwrap(), before);
}

#[tokio::test]
async fn what_etcd_refuses_is_told_as_such() {
    let flags = Options::flags(["--max-txn-ops", "4", "--max-request-bytes", "10000"]);
    let cluster = Cluster::start_with(1, flags).await;
    let store = connect(&cluster.urls()).await;
    let error = store.txn(Txn::new().put("a", vec![0; 100_000])).await.unwrap_err();
    assert!(matches!(error, MetaStoreError::TooLarge { bytes, limit } if bytes > limit), "{error}");
    let error = store.txn(Txn::new().put("a", vec![0; 1_000_000])).await.unwrap_err();
    assert!(matches!(error, MetaStoreError::TooLarge { bytes, limit } if bytes > limit), "{error}");
    let txn = (0..5).fold(Txn::new(), |txn, key| txn.put(format!("k{key}"), ""));
    let error = store.txn(txn).await.unwrap_err();
    assert!(matches!(error, MetaStoreError::TooManyOperations { count: 5, .. }), "{error}");
    assert!(store.list("").await.unwrap().entries.is_empty());
}

#[tokio::test]
async fn a_full_database_is_no_outage() {
    let cluster = Cluster::start_with(1, Options::flags(["--quota-backend-bytes", "1000000"])).await;
    let store = connect(&cluster.urls()).await;
    let error = loop {
        match store.txn(Txn::new().put("a", vec![0; 300_000])).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(
        matches!(&error, MetaStoreError::Io { source, .. }
        if source.kind() == std::io::ErrorKind::StorageFull),
        "{error}"
    );
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn stores_with_different_prefixes_do_not_see_each_other() {
    let cluster = Cluster::start(1).await;
    let other = EtcdConfig { prefix: "polarway0/".into(), ..config(&cluster.urls()) };
    let other = EtcdMetaStore::connect(&other).await.unwrap();
    let store = connect(&cluster.urls()).await;
    let start = store.revision().await.unwrap();
    let mut events = store.watch("", start).await.unwrap();
    put(&other, "a", "theirs").await;
    let revision = put(&store, "a", "ours").await;
    // Revisions are shared, and so have gaps.
    assert_eq!(revision, start + 2);
    assert_eq!(next(&mut events).await.unwrap().unwrap().revision, revision);
    assert_eq!(store.list("").await.unwrap().entries.len(), 1);
    assert_eq!(other.get("a").await.unwrap().unwrap().value, "theirs");
}
