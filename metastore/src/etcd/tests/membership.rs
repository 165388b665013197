use std::time::Instant;

use polarway_common::Supervisor;

use super::*;
use crate::membership::tests::{
    LONG, Process, held, is_held_anew, lapses, member, register, second, sees, until,
};
use crate::membership::{Change, Members};

const BRIEF: Patience = Patience { deadline: Duration::from_secs(10), retry_for: Duration::from_millis(300) };

async fn shared(endpoints: &[String]) -> Arc<dyn MetaStore> {
    Arc::new(connect(endpoints).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_joins_and_leaves_are_seen_at_once() {
    let cluster = Cluster::start(1).await;
    let supervisor = Supervisor::new();
    let members = Members::follow(shared(&cluster.urls()).await, &supervisor).await.unwrap();
    assert_eq!(members.current().members().count(), 0);
    let a = register(shared(&cluster.urls()).await, member("a"), LONG, &supervisor).await.unwrap();
    let before = sees(&members, &["a"]).await;
    let b = register(shared(&cluster.urls()).await, member("b"), LONG, &supervisor).await.unwrap();
    sees(&members, &["a", "b"]).await;
    a.leave().await;
    sees(&members, &["b"]).await;
    let again = register(shared(&cluster.urls()).await, second("a"), LONG, &supervisor).await.unwrap();
    let after = sees(&members, &["a", "b"]).await;
    assert_eq!(
        after.changes_since(&before),
        [
            Change::Left(member("a").into()),
            Change::Joined(second("a").into()),
            Change::Joined(member("b").into())
        ]
    );
    drop((again, b));
    sees(&members, &[]).await;
    supervisor.shutdown(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_a_process_that_dies_is_gone_after_its_lease() {
    const TTL: Duration = Duration::from_secs(3);
    let cluster = Cluster::start(1).await;
    let supervisor = Supervisor::new();
    let members = Members::follow(shared(&cluster.urls()).await, &supervisor).await.unwrap();
    // The time to live begins later, so that no delay makes it seem shorter.
    let started = Instant::now();
    let urls = cluster.urls();
    let mut process = Process::start(async move { shared(&urls).await }, member("a"), TTL).await;
    process.kill();
    sees(&members, &["a"]).await;
    sees(&members, &[]).await;
    assert!(started.elapsed() >= TTL, "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_12_nobody_leaves_when_etcd_loses_one_of_three_members() {
    const TTL: Duration = Duration::from_secs(10);
    const NAMES: [&str; 3] = ["a", "b", "c"];
    let mut cluster = Cluster::start(3).await;
    let (supervisor, mut urls) = (Supervisor::new(), cluster.urls());
    let members = Members::follow(shared(&urls).await, &supervisor).await.unwrap();
    let mut registrations = vec![];
    for name in NAMES {
        registrations.push(register(shared(&urls).await, member(name), TTL, &supervisor).await.unwrap());
        // Each asks another one first.
        urls.rotate_left(1);
    }
    let before = sees(&members, &NAMES).await;
    let mut views = members.watch();
    views.mark_unchanged();
    cluster.kill_leader().await;
    // Long enough for those whom the new leader does not hear of.
    let change = tokio::time::timeout(2 * TTL, views.changed()).await;
    assert!(change.is_err(), "{:?}", members.current().changes_since(&before));
    for registration in &registrations {
        assert!(registration.is_registered());
        assert!(!registration.status().has_changed().unwrap());
    }
    let d = register(shared(&urls).await, member("d"), TTL, &supervisor).await.unwrap();
    sees(&members, &["a", "b", "c", "d"]).await;
    d.leave().await;
    sees(&members, &NAMES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_a_watch_survives_compaction() {
    let cluster = Cluster::start(1).await;
    let (supervisor, direct) = (Supervisor::new(), shared(&cluster.urls()).await);
    let proxy = Proxy::to(&cluster.members[0].url).await;
    let cut_off = Members::follow(shared(from_ref(&proxy.url)).await, &supervisor).await.unwrap();
    let connected = Members::follow(Arc::clone(&direct), &supervisor).await.unwrap();
    let a = register(Arc::clone(&direct), member("a"), LONG, &supervisor).await.unwrap();
    let _b = register(Arc::clone(&direct), member("b"), LONG, &supervisor).await.unwrap();
    let before = sees(&cut_off, &["a", "b"]).await;
    sees(&connected, &["a", "b"]).await;

    // What happens now is forgotten before the one sees it.
    proxy.close();
    a.leave().await;
    let _c = register(Arc::clone(&direct), member("c"), LONG, &supervisor).await.unwrap();
    let revision = direct.revision().await.unwrap();
    compact(&cluster, revision).await;
    assert_eq!(*cut_off.current(), *before);
    proxy.open();
    let after = sees(&cut_off, &["b", "c"]).await;
    assert_eq!(
        after.changes_since(&before),
        [Change::Left(member("a").into()), Change::Joined(member("c").into())]
    );
    sees(&connected, &["b", "c"]).await;

    let _d = register(Arc::clone(&direct), member("d"), LONG, &supervisor).await.unwrap();
    for members in [&cut_off, &connected] {
        sees(members, &["b", "c", "d"]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_a_process_that_was_cut_off_keeps_its_view_and_registers_again() {
    const TTL: Duration = Duration::from_secs(4);
    let cluster = Cluster::start(1).await;
    let (supervisor, direct) = (Supervisor::new(), shared(&cluster.urls()).await);
    let proxy = Proxy::to(&cluster.members[0].url).await;
    let config = EtcdConfig { patience: BRIEF, ..config(from_ref(&proxy.url)) };
    let store: Arc<dyn MetaStore> =
        Arc::new(EtcdMetaStore { connection: Arc::new(Connection::new(&config).unwrap()) });
    let far = Members::follow(Arc::clone(&direct), &supervisor).await.unwrap();
    let near = Members::follow(Arc::clone(&store), &supervisor).await.unwrap();
    let _b = register(Arc::clone(&direct), member("b"), LONG, &supervisor).await.unwrap();
    let registration = register(store, member("a"), TTL, &supervisor).await.unwrap();
    for members in [&far, &near] {
        sees(members, &["a", "b"]).await;
    }
    let (before, fence) = (*registration.status().borrow(), registration.fence().unwrap());

    proxy.close();
    lapses(&mut registration.status()).await;
    assert_eq!((registration.is_registered(), registration.fence()), (false, None));
    sees(&far, &["b"]).await;
    let _c = register(Arc::clone(&direct), member("c"), LONG, &supervisor).await.unwrap();
    sees(&far, &["b", "c"]).await;
    sees(&near, &["a", "b"]).await;

    proxy.open();
    let (lease, _) = is_held_anew(&registration, before).await;
    assert_ne!(lease, held(before).0);
    for members in [&far, &near] {
        let view = sees(members, &["a", "b", "c"]).await;
        assert_eq!(view.get("a"), Some(&member("a")));
    }
    let txn = Txn { preconditions: vec![fence], ..Txn::new().put("work", "done") };
    assert_eq!(direct.txn(txn).await.unwrap().committed(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_a_lease_that_was_ended_is_replaced() {
    let cluster = Cluster::start(1).await;
    let (supervisor, store) = (Supervisor::new(), shared(&cluster.urls()).await);
    let members = Members::follow(Arc::clone(&store), &supervisor).await.unwrap();
    let registration = register(Arc::clone(&store), member("a"), LONG, &supervisor).await.unwrap();
    let before = *registration.status().borrow();
    store.revoke(held(before).0).await.unwrap();
    let (_, revision) = is_held_anew(&registration, before).await;
    assert_eq!(store.get("member/a").await.unwrap().unwrap().revision, revision);
    let slots = |view: &crate::membership::View| view.get("a").map(|member| member.slots);
    registration.update(|member| member.slots = 9).await.unwrap();
    until(&members, |view| slots(view) == Some(9)).await;
}
