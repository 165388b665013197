use std::time::Instant;

use super::*;
use crate::txn::Txn;

#[tokio::test]
async fn row_12_joins_changes_and_leaves_are_seen_at_once() {
    let (store, supervisor) = (embedded(), Supervisor::new());
    let a = register(Arc::clone(&store) as _, member("a"), LONG, &supervisor).await.unwrap();
    let members = Members::follow(Arc::clone(&store) as _, &supervisor).await.unwrap();
    let first = members.current();
    assert!(first.members().eq([&member("a")]));

    let b = register(Arc::clone(&store) as _, member("b"), LONG, &supervisor).await.unwrap();
    let second = sees(&members, &["a", "b"]).await;
    assert_eq!(second.changes_since(&first), [Change::Joined(member("b").into())]);

    b.update(|member| member.state = MemberState::Leaving).await.unwrap();
    let third = until(&members, |view| *view != *second).await;
    let leaving = Member { state: MemberState::Leaving, ..member("b") };
    assert_eq!(
        third.changes_since(&second),
        [Change::Updated { before: member("b").into(), after: leaving.clone().into() }]
    );

    b.leave().await;
    // It is waited for.
    assert_eq!(store.get("member/b").await.unwrap(), None);
    let fourth = sees(&members, &["a"]).await;
    assert_eq!(fourth.changes_since(&third), [Change::Left(leaving.into())]);
    drop(a);
    sees(&members, &[]).await;
    supervisor.shutdown(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn row_12_a_process_that_dies_is_gone_after_its_lease() {
    const TTL: Duration = Duration::from_secs(1);
    let (store, supervisor) = (embedded(), Supervisor::new());
    let members = Members::follow(Arc::clone(&store) as _, &supervisor).await.unwrap();
    // The time to live begins later, so that no delay makes it seem shorter.
    let started = Instant::now();
    let connected = Arc::clone(&store) as Arc<dyn MetaStore>;
    let mut process = Process::start(async { connected }, member("a"), TTL).await;
    process.kill();
    sees(&members, &["a"]).await;
    sees(&members, &[]).await;
    assert!(started.elapsed() >= TTL, "{:?}", started.elapsed());
}

#[tokio::test]
async fn what_cannot_be_read_is_left_out() {
    let (store, supervisor) = (embedded(), Supervisor::new());
    let put = async |key: &str, value: &[u8]| {
        store.txn(Txn::new().put(key, value.to_vec())).await.unwrap();
    };
    put("member/broken", b"{").await;
    put("member/a", &member("a").encode().unwrap()).await;
    let members = Members::follow(Arc::clone(&store) as _, &supervisor).await.unwrap();
    sees(&members, &["a"]).await;
    put("member/a/b", &member("a").encode().unwrap()).await;
    put("member/stranger", &member("b").encode().unwrap()).await;
    put("member/b", &member("b").encode().unwrap()).await;
    sees(&members, &["a", "b"]).await;
    // Whom we knew is somebody now with whom we cannot work.
    put("member/a", br#"{"name":"a","role":"oracle"}"#).await;
    sees(&members, &["b"]).await;
    put("member/broken", &member("broken").encode().unwrap()).await;
    sees(&members, &["b", "broken"]).await;
}

#[tokio::test]
async fn they_are_followed_as_long_as_somebody_asks() {
    let (store, supervisor) = (embedded(), Supervisor::new());
    let members = Members::follow(Arc::clone(&store) as _, &supervisor).await.unwrap();
    let mut views = members.watch();
    drop(members.clone());
    drop(members);
    let a = register(Arc::clone(&store) as _, member("a"), LONG, &supervisor).await.unwrap();
    timeout(PATIENCE, views.wait_for(|view| view.get("a").is_some())).await.unwrap().unwrap();
    drop(views);
    a.leave().await;
    timeout(PATIENCE, async {
        while !supervisor.running().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("still there: {:?}", supervisor.running()));
}
