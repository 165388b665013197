//! Certificates and authorities that are replaced while all goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow_flight::Empty;
use polarway_tests::dial::Called;
use polarway_tests::pki::{Authority, Material, NAMES, Pki};
use polarway_tests::{Dial, Sender, Setup, files, until};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::identity::{ADMIN, Known, WRITER};
use crate::tls::{CEILING, TICKS, is_final, nothing_shown, over, ports, try_with, until_executors};

/// Far more than is on its way at a time.
const ROWS: usize = 20_000_000;
const ANY_METHOD: &str = "/polarway.v1.MetaStore/Revision";
/// What the log says of files that do not do.
const KEPT: &str = "certificates stay as they were";

/// Sends one row after the other over one connection until it is told to stop; gives how many.
fn sink(mut sender: Sender, stop: Arc<AtomicBool>) -> JoinHandle<u64> {
    tokio::spawn(async move {
        let mut sent = 0;
        while !stop.load(Ordering::SeqCst) {
            sent += 1;
            sender.send(r#"{"price": 1.5}"#).await;
            sender.acknowledged(sent).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        sent
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn row_47_authority_certificate_and_key_are_replaced_while_all_goes_on() {
    let (known, pki, data) = (Known::write(), Pki::make(), TempDir::new().unwrap());
    let file = data.path().join("n.parquet");
    files::parquet(&file, "SELECT value AS n FROM generate_series(0, 99999)").await;
    let setup = Setup::cluster(2).ingest(1).set("identity.tokens", known.path().display());
    let setup = pki.material.on(setup).set("log.level", "debug").allow(data.path());
    let mut cluster = setup.start_without_waiting().await;
    let next = Authority::make("the next authority");
    let leaf = next.issue(&NAMES);
    // Users who trust one of the two.
    let before = Material::write(&pki.leaf, &[&pki.authority]);
    let after = Material::write(&leaf, &[&next]);
    let both = [&pki.authority, &next];
    let user = Dial::user(&both);
    until_executors(&cluster, &user, 2).await;
    let session = over(cluster.grpc(), &before.ca(), ADMIN).await;
    let staged = format!("SELECT sum(n) FROM '{}' GROUP BY n % 2 ORDER BY 1", file.display());
    let sums = [["2499950000"], ["2500000000"]];
    session.set_route("staged").await;
    assert_eq!(session.ok(&staged).await.cells(), sums);
    session.set_route("direct").await;

    // What is to go on.
    until("the stream is made", CEILING, || async { session.query(TICKS).await.ok() }).await;
    let stop = Arc::new(AtomicBool::new(false));
    let sender = Sender::connect_over(&user, cluster.ingest[0].ws(), "ticks", Some(WRITER)).await.unwrap();
    let sending = sink(sender, Arc::clone(&stop));
    let mut rows =
        session.client.execute(&format!("SELECT value FROM generate_series(1, {ROWS})")).await.unwrap();
    let mut read = rows.next_batch().await.unwrap().unwrap().num_rows();

    // The next authority is trusted beside the old one.
    let doors: Vec<_> = [&cluster.front]
        .into_iter()
        .chain(&cluster.executors)
        .chain(&cluster.ingest)
        .map(|at| at.grpc)
        .collect();
    let of_next = Dial::showing(&both, &leaf).at_processes();
    let of_last = Dial::showing(&both, &pki.leaf).at_processes();
    for &door in &doors {
        assert_eq!(of_next.call(door, ANY_METHOD, Empty {}, None).await, Called::CutOff, "{door}");
        assert_ne!(of_last.call(door, ANY_METHOD, Empty {}, None).await, Called::CutOff, "{door}");
    }
    pki.material.trust(&both);
    for &door in &doors {
        until(format!("{door} trusts the next authority"), CEILING, || async {
            (of_next.call(door, ANY_METHOD, Empty {}, None).await != Called::CutOff).then_some(())
        })
        .await;
    }

    // The certificate, and its key a while later: until then the old pair stays.
    pki.material.show_certificate(&leaf);
    for process in [&cluster.front].into_iter().chain(&cluster.executors).chain(&cluster.ingest) {
        until(format!("{} tells of the pair", process.name()), CEILING, || async {
            process.log().contains(KEPT).then_some(())
        })
        .await;
    }
    for (port, address) in ports(&cluster) {
        assert_eq!(user.shown_by(address).await.unwrap(), *pki.leaf.certificate(), "{port}");
    }
    pki.material.show_key(&leaf);
    for (port, address) in ports(&cluster) {
        until(format!("{port} shows the next certificate"), CEILING, || async {
            (user.shown_by(address).await.unwrap() == *leaf.certificate()).then_some(())
        })
        .await;
    }

    // The old authority goes.
    pki.material.trust(&[&next]);
    for &door in &doors {
        until(format!("{door} forgets the old authority"), CEILING, || async {
            (of_last.call(door, ANY_METHOD, Empty {}, None).await == Called::CutOff).then_some(())
        })
        .await;
    }
    let endpoint = format!("https://{}", cluster.grpc());
    let error = try_with(&endpoint, Some(&before.ca()), ADMIN, Duration::ZERO).await.err().unwrap();
    is_final(&error);
    let session = over(cluster.grpc(), &after.ca(), ADMIN).await;
    session.set_route("staged").await;
    assert_eq!(session.ok(&staged).await.cells(), sums);
    cluster.add_executor();
    until_executors(&cluster, &Dial::user(&[&next]), 3).await;
    assert_eq!(session.ok(&staged).await.cells(), sums);

    // What was begun with the old one.
    while let Some(batch) = rows.next_batch().await.unwrap() {
        read += batch.num_rows();
    }
    assert_eq!(read, ROWS);
    assert!(!sending.is_finished(), "the sink was cut off");
    stop.store(true, Ordering::SeqCst);
    let sent = sending.await.unwrap();
    assert_eq!(session.value("SELECT count(*) FROM ticks").await, sent.to_string());
    nothing_shown(&cluster, &pki);
    nothing_shown(&cluster, &Pki { authority: next, leaf, material: after });
}

/// Files that are gone or hold nothing change nothing, and what is right again is taken.
#[tokio::test(flavor = "multi_thread")]
async fn row_47_files_that_do_not_do_leave_what_was() {
    let (known, pki) = (Known::write(), Pki::make());
    let setup = Setup::up().set("identity.tokens", known.path().display());
    let cluster = pki.material.on(setup).start_without_waiting().await;
    let user = Dial::user(&[&pki.authority]);
    std::fs::remove_file(pki.material.key()).unwrap();
    std::fs::write(pki.material.ca(), "").unwrap();
    until("the fault is told", CEILING, || async { cluster.front.log().contains(KEPT).then_some(()) }).await;
    assert_eq!(user.shown_by(cluster.grpc()).await.unwrap(), *pki.leaf.certificate());
    let renewed = pki.authority.issue(&NAMES);
    pki.material.trust(&[&pki.authority]);
    pki.material.show(&renewed);
    until("the next certificate is shown", CEILING, || async {
        (user.shown_by(cluster.grpc()).await.unwrap() == *renewed.certificate()).then_some(())
    })
    .await;
    let session = over(cluster.grpc(), &pki.ca(), ADMIN).await;
    session.set_route("staged").await;
    assert_eq!(session.value("SELECT sum(value) FROM generate_series(1, 100)").await, "5050");
    nothing_shown(&cluster, &pki);
}
