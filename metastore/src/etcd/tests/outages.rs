use super::*;

const BRIEF: Patience = Patience { deadline: Duration::from_secs(2), retry_for: Duration::from_millis(300) };

fn is_unavailable<T>(result: Result<T>) {
    let error = result.err().unwrap();
    assert!(matches!(error, MetaStoreError::Unavailable { .. }) && error.is_retryable(), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_leader_dies_under_contention() -> Outcome {
    let mut cluster = Cluster::start(3).await;
    let store = Arc::new(connect(&cluster.urls()).await);
    let contending = tokio::spawn(contention::what_is_tried_again_counts_once(Arc::clone(&store) as _));
    while store.list("mark/").await?.entries.len() < 20 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!contending.is_finished());
    cluster.kill_leader().await;
    contending.await?
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_follower_across_the_leaders_death_misses_nothing() -> Outcome {
    let cluster = Arc::new(tokio::sync::Mutex::new(Cluster::start(3).await));
    let urls = cluster.lock().await.urls();
    let (store, direct) = (Arc::new(connect(&urls).await), Arc::new(connect(&urls).await));
    let start = store.revision().await?;
    let mut events = store.watch("k", start).await?;
    let mut expected = Vec::new();
    for round in 0..30 {
        if round == 10 {
            cluster.lock().await.kill_leader().await;
        }
        // Each round has its key, so that it can be sent until it is known to have taken place.
        let (key, txn) =
            (format!("k{round:02}"), |key: &str| Txn::new().expect(key, Expect::Absent).put(key, ""));
        loop {
            match direct.txn(txn(&key)).await {
                Ok(_) => break,
                Err(MetaStoreError::OutcomeUnknown { .. } | MetaStoreError::Unavailable { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        expected.push(key);
    }
    let mut seen = Vec::new();
    while seen.len() < expected.len() {
        seen.push(next(&mut events).await.ok_or("the watch ended")??.key);
    }
    assert_eq!(seen, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn leases_and_watches_hold_in_three_members() -> Outcome {
    let cluster = Cluster::start(3).await;
    let store = Arc::new(connect(&cluster.urls()).await);
    leases::a_watch_sees_the_end_of_a_lease(Arc::clone(&store) as _).await?;
    leases::a_lease_that_is_kept_alive_keeps_its_keys(store).await?;
    let store = EtcdConfig { prefix: "other/".into(), ..config(&cluster.urls()) };
    watch_cases::events_come_in_order_without_gaps(Arc::new(EtcdMetaStore::connect(&store).await?)).await
}

#[tokio::test]
async fn a_holder_keeps_its_lease_while_the_leader_changes() {
    let mut cluster = Cluster::start(3).await;
    let store = connect(&cluster.urls()).await;
    let lease = store.grant(Duration::from_secs(60)).await.unwrap().id;
    store.txn(Txn::new().put_leased("a", "1", lease)).await.unwrap();
    cluster.kill_leader().await;
    store.keep_alive(lease).await.unwrap();
    assert!(store.get("a").await.unwrap().is_some());
    store.revoke(lease).await.unwrap();
    assert!(store.get("a").await.unwrap().is_none());
}

#[tokio::test]
async fn without_a_majority_nothing_is_told_as_done() {
    let mut cluster = Cluster::start(3).await;
    put(&connect(&cluster.urls()).await, "a", "1").await;
    let config = EtcdConfig { patience: BRIEF, ..config(&cluster.urls()) };
    let store = EtcdMetaStore { connection: Arc::new(Connection::new(&config).unwrap()) };
    cluster.members[0].kill();
    cluster.members[1].kill();
    for error in [
        store.get("a").await.err(),
        store.txn(Txn::new().put("a", "2")).await.err(),
        store.txn(Txn::new().expect("a", Expect::Exists)).await.err(),
    ] {
        let error = error.unwrap();
        let known =
            matches!(error, MetaStoreError::Unavailable { .. } | MetaStoreError::OutcomeUnknown { .. });
        assert!(known, "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_gone_is_passed_over() {
    let cluster = Cluster::start(1).await;
    let nobody = Proxy::to(&cluster.members[0].url).await;
    let gone = nobody.url.clone();
    nobody.close();
    let proxy = Proxy::to(&cluster.members[0].url).await;
    let store = connect(&[gone, proxy.url.clone()]).await;
    put(&store, "a", "1").await;
    // And back: the first one lives now, and the second one does not.
    nobody.open();
    proxy.close();
    assert!(store.get("a").await.unwrap().is_some());
    put(&store, "a", "2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_says_nothing_is_passed_over() {
    let cluster = Cluster::start(1).await;
    let silent = Proxy::to(&cluster.members[0].url).await;
    let store = connect(&[silent.url.clone(), cluster.members[0].url.clone()]).await;
    put(&store, "a", "1").await;
    silent.silence();
    assert!(store.get("a").await.unwrap().is_some());
    put(&store, "a", "2").await;
}

/// Its patience with a member is shorter than ours, so that the next one has to have its turn when it gives up on one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_keeps_its_lease_when_its_member_says_nothing() {
    let cluster = Cluster::start(1).await;
    let supervisor = polarway_common::Supervisor::new();
    let started = std::time::Instant::now();
    loop {
        let silent = Proxy::to(&cluster.members[0].url).await;
        let store = connect(&[silent.url.clone(), cluster.members[0].url.clone()]).await;
        let clock = Arc::new(polarway_common::SystemClock);
        let ttl = Duration::from_secs(6);
        let keeper =
            crate::LeaseKeeper::start(Arc::new(store), ttl, clock, &supervisor, "lease").await.unwrap();
        silent.silence();
        if tokio::time::timeout(2 * ttl, keeper.lost()).await.is_err() && keeper.is_held() {
            return;
        }
        // Unless the machine stands still.
        assert!(started.elapsed() < 2 * PATIENCE, "the lease is lost again and again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_sent_is_certain_and_what_was_is_not() {
    let cluster = Cluster::start(1).await;
    let proxy = Proxy::to(&cluster.members[0].url).await;
    let config = EtcdConfig { patience: BRIEF, ..config(from_ref(&proxy.url)) };
    connect(&cluster.urls()).await;
    let store = EtcdMetaStore { connection: Arc::new(Connection::new(&config).unwrap()) };
    let revision = put(&store, "a", "1").await;
    let mut events = store.watch("", revision).await.unwrap();
    proxy.silence();
    let error = store.txn(Txn::new().put("a", "2")).await.unwrap_err();
    assert!(matches!(error, MetaStoreError::OutcomeUnknown { .. }) && !error.is_retryable(), "{error:?}");
    // A watch whose patience is over says so, too.
    is_unavailable(next(&mut events).await.unwrap());
    assert!(next(&mut events).await.is_none());

    // Nobody listens: it was not sent.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = EtcdConfig { endpoints: vec![format!("http://{address}")], ..config };
    let error = EtcdMetaStore::connect(&config).await.unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    is_unavailable(Err::<(), _>(error));
    let store = EtcdMetaStore { connection: Arc::new(Connection::new(&config).unwrap()) };
    is_unavailable(store.txn(Txn::new().put("a", "3")).await);
    is_unavailable(store.grant(PATIENCE).await);
}
