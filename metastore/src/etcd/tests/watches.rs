use super::*;

#[tokio::test]
async fn what_is_compacted_is_told() -> Outcome {
    let cluster = Cluster::start(1).await;
    let store = Arc::new(connect(&cluster.urls()).await);
    let forget = async |revision| {
        compact(&cluster, revision).await;
        Ok::<_, Failure>(revision)
    };
    resumption::what_is_forgotten_is_told(store, forget).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_across_cut_connections_misses_nothing() -> Outcome {
    let cluster = Cluster::start(1).await;
    let direct = Arc::new(connect(&cluster.urls()).await);
    let proxy = Proxy::to(&cluster.members[0].url).await;
    let store = Arc::new(connect(from_ref(&proxy.url)).await);
    resumption::a_follower_misses_nothing(store, direct, async || proxy.cut()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_by_itself_when_its_connection_breaks() {
    let cluster = Cluster::start(1).await;
    let direct = connect(&cluster.urls()).await;
    let proxy = Proxy::to(&cluster.members[0].url).await;
    let store = connect(from_ref(&proxy.url)).await;
    let mut events = store.watch("a", store.revision().await.unwrap()).await.unwrap();
    for round in 0..10 {
        let revision = put(&direct, "a", round.to_string()).await;
        if round % 2 == 0 {
            proxy.cut();
        }
        let kind = EventKind::Put(round.to_string().into());
        assert_eq!(next(&mut events).await.unwrap().unwrap(), Event { revision, key: "a".into(), kind });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_whose_past_was_compacted_while_it_was_cut_off_is_told() {
    let cluster = Cluster::start(1).await;
    let direct = connect(&cluster.urls()).await;
    let proxy = Proxy::to(&cluster.members[0].url).await;
    let store = connect(from_ref(&proxy.url)).await;
    let first = put(&direct, "a", "1").await;
    let mut events = store.watch("a", first - 1).await.unwrap();
    assert_eq!(next(&mut events).await.unwrap().unwrap().revision, first);
    proxy.close();
    put(&direct, "a", "2").await;
    let compacted = put(&direct, "b", "3").await;
    compact(&cluster, compacted).await;
    proxy.open();
    let error = next(&mut events).await.unwrap().unwrap_err();
    assert!(matches!(error, MetaStoreError::Lagged { at } if at == compacted), "{error}");
    assert!(error.needs_relist());
    assert!(next(&mut events).await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_has_seen_everything_survives_compaction() {
    let cluster = Cluster::start(1).await;
    let direct = connect(&cluster.urls()).await;
    let proxy = Proxy::to(&cluster.members[0].url).await;
    let store = connect(from_ref(&proxy.url)).await;
    let mut events = store.watch("a", store.revision().await.unwrap()).await.unwrap();
    let seen = put(&direct, "a", "1").await;
    assert_eq!(next(&mut events).await.unwrap().unwrap().revision, seen);
    compact(&cluster, seen).await;
    proxy.cut();
    let revision = direct.txn(Txn::new().delete("a")).await.unwrap().committed().unwrap();
    let event = next(&mut events).await.unwrap().unwrap();
    assert_eq!(event, Event { revision, key: "a".into(), kind: EventKind::Delete });
}

#[tokio::test]
async fn a_revision_that_the_store_never_had_is_told() {
    let cluster = Cluster::start(1).await;
    let store = connect(&cluster.urls()).await;
    let error = store.watch("a", 1_000_000).await.err().unwrap();
    assert!(matches!(error, MetaStoreError::Compacted { .. }) && error.needs_relist(), "{error}");
}

/// A watch from the past gets many revisions in one message, which etcd then divides, also within revisions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_come_in_fragments_arrive_once() {
    const KEYS: [&str; 3] = ["ka", "kb", "kc"];
    let cluster = Cluster::start(1).await;
    let direct = connect(&cluster.urls()).await;
    let proxy = Proxy::to(&cluster.members[0].url).await;
    let store = connect(from_ref(&proxy.url)).await;
    let start = store.revision().await.unwrap();
    let mut revisions = Vec::new();
    for round in 0..12 {
        let txn = KEYS.iter().fold(Txn::new(), |txn, key| txn.put(*key, vec![round; 450 << 10]));
        revisions.push(direct.txn(txn).await.unwrap().committed().unwrap());
    }
    let mut events = store.watch("k", start).await.unwrap();
    for (round, revision) in (0u8..).zip(revisions) {
        for key in KEYS {
            let event = next(&mut events).await.unwrap().unwrap();
            assert_eq!((event.revision, event.key.as_str()), (revision, key));
            assert!(event.kind == EventKind::Put(vec![round; 450 << 10].into()));
            if key == "kb" && round % 3 == 0 {
                proxy.cut();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_that_are_not_read_leave_room_for_calls() {
    let cluster = Cluster::start(1).await;
    let store = connect(&cluster.urls()).await;
    let start = store.revision().await.unwrap();
    let mut unread = vec![];
    for _ in 0..16 {
        unread.push(store.watch("", start).await.unwrap());
    }
    for _ in 0..12 {
        put(&store, "a", vec![0; 1 << 20]).await;
    }
    assert_eq!(store.get("a").await.unwrap().unwrap().value.len(), 1 << 20);
    assert_eq!(next(&mut unread[15]).await.unwrap().unwrap().revision, start + 1);
}
