//! Logs that have reached their limit, or the end of their disk.

use std::time::Duration;

use polarway_tests::feed::Feed;
use polarway_tests::small_disk::SmallDisk;
use polarway_tests::wait::within;
use polarway_tests::{Sender, Setup, ports, until};

use super::numbered::{counts, frame, table};

const CEILING: Duration = Duration::from_secs(120);
const ROWS: u64 = 100;
/// So many fill a log of 1 MiB with a few frames: before its rows are sealed, however long a sync takes.
const MANY: u64 = 2000;

/// Sends frames of producer 1, of `rows` rows each, after `from` until the server closes the connection; gives the kind of
/// its error, the close code and the last frame that it acknowledged.
async fn send_until_closed(sender: &mut Sender, from: u64, rows: u64) -> (String, u16, u64) {
    let mut number = from;
    while sender.try_send(frame(1, number + 1, rows)).await.is_ok() {
        number += 1;
        if number.is_multiple_of(8) && sender.try_acknowledged(number).await.is_err() {
            break;
        }
    }
    let (kind, code) = sender.closed().await;
    (kind, code, sender.acknowledged)
}

#[tokio::test(flavor = "multi_thread")]
async fn row_29_a_full_log_is_told_and_empties_as_rows_are_sealed() {
    let address = ports::free();
    let mut cluster = Setup::up().set("ingest.listen", address).set("ingest.log_limit", "1MiB").start().await;
    let session = cluster.session().await;
    session.ok(&table("seal_age = '3s'")).await;
    let mut sender = Sender::connect(address, "numbered?producer=p").await;
    let (kind, code, acknowledged) = send_until_closed(&mut sender, 0, MANY).await;
    assert_eq!((kind.as_str(), code), ("log_full", 1013));
    assert!(acknowledged > 0);
    let message = sender.error.unwrap()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("1048576"), "{message}");
    assert!(counts(&session).await[&1] >= acknowledged * MANY);

    // It dies with a full log, and comes back with it.
    cluster.front.kill();
    cluster.start_front_again();
    let session = cluster.session().await;
    assert!(counts(&session).await[&1] >= acknowledged * MANY);
    // The same again: senders are refused, come back and go on where the stream is.
    let feed = Feed::start(address, "numbered?producer=feed-2".into(), 75, |n| frame(2, n, MANY));
    until("the sender is refused", CEILING, || async { (feed.refusals() > 0).then_some(()) }).await;
    assert_eq!(feed.finish().await, 75);
    assert_eq!(counts(&session).await[&2], 75 * MANY);
}

/// They leave no rows behind that could be sealed, but records with the numbers of their frames.
#[tokio::test(flavor = "multi_thread")]
async fn row_29_refused_frames_do_not_fill_the_log_for_ever() {
    let address = ports::free();
    let cluster = Setup::up().set("ingest.listen", address).set("ingest.log_limit", "1MiB").start().await;
    let session = cluster.session().await;
    session.ok(&table("seal_age = '500ms'")).await;
    let stream = "numbered?producer=p";
    let mut sender = Sender::connect(address, stream).await;
    for number in 1..=8000u64 {
        // Seals are half a second apart.
        within(format!("frame {number}"), Duration::from_secs(30), async {
            while !(sender.try_send(format!("#{number}\nno row")).await.is_ok()
                && sender.try_acknowledged(number).await.is_ok())
            {
                // Refused for now: it comes back.
                assert_eq!(sender.closed().await, ("log_full".into(), 1013));
                println!("frame {number}: {}", sender.error.take().unwrap()["message"]);
                tokio::time::sleep(Duration::from_millis(50)).await;
                sender = Sender::connect(address, stream).await;
            }
        })
        .await;
    }
    assert_eq!(session.value("SELECT count(*) FROM numbered_dead_letters").await, "8000");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_29_a_full_disk_is_told_and_rows_go_on_when_there_is_room_again() {
    let Some(disk) = SmallDisk::of_mebibytes(24) else {
        println!("nothing is shown: this process may not mount a file system");
        return;
    };
    let mut cluster = Setup::up()
        .set("ingest.listen", "127.0.0.1:0")
        .set("ingest.log_directory", disk.path().join("logs").display())
        .start()
        .await;
    let session = cluster.session().await;
    session.ok(&table("seal_age = '1h'")).await;
    let mut sender = Sender::connect(cluster.front.ws(), "numbered?producer=p").await;
    for number in 1..=10 {
        sender.send(frame(1, number, ROWS)).await;
    }
    sender.acknowledged(10).await;
    let filling = disk.fill();
    let (kind, code, acknowledged) = send_until_closed(&mut sender, 10, ROWS).await;
    let told = sender.error.take();
    // What was not acknowledged may have been taken back, the rest may not.
    let held = counts(&session).await[&1];
    assert!(held >= acknowledged * ROWS, "{held} rows, {acknowledged} frames were acknowledged");
    let mut again = Sender::connect(cluster.front.ws(), "numbered?producer=p").await;
    assert!(again.last >= acknowledged);
    let last = again.last;
    let (_, _, more) = send_until_closed(&mut again, last, ROWS).await;
    assert!(more <= last + 40, "frames are acknowledged though the disk is full: {last}, {more}");

    drop(filling);
    let mut sender = Sender::connect(cluster.front.ws(), "numbered?producer=p").await;
    let last = sender.last;
    for number in last + 1..=last + 10 {
        sender.send(frame(1, number, ROWS)).await;
    }
    sender.acknowledged(last + 10).await;
    assert_eq!(counts(&session).await, [(1, (last + 10) * ROWS)].into());
    cluster.restart_front().await;
    assert_eq!(counts(&cluster.session().await).await, [(1, (last + 10) * ROWS)].into());
    assert_eq!((kind.as_str(), code), ("disk_full", 1013), "{told:?}");
}

/// A frame counts as arrived when its good and its refused rows have: a sender that comes back goes on after it.
#[tokio::test(flavor = "multi_thread")]
async fn row_22_a_refused_row_that_was_not_written_is_asked_for_again() {
    let Some(disk) = SmallDisk::of_mebibytes(4) else {
        println!("nothing is shown: this process may not mount a file system");
        return;
    };
    let mut cluster = Setup::up().set("ingest.listen", "127.0.0.1:0").start().await;
    cluster.session().await.ok(&table("seal_age = '1h'")).await;
    // The log of the dead letters, which were made after the stream, moves to the small disk.
    assert!(cluster.front.stop().await.success());
    let logs = std::fs::read_dir(cluster.dir().join("front/wal")).unwrap();
    let log = logs.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).max().unwrap();
    let moved = disk.path().join("log");
    std::fs::create_dir(&moved).unwrap();
    for file in std::fs::read_dir(&log).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), moved.join(file.file_name())).unwrap();
    }
    std::fs::remove_dir_all(&log).unwrap();
    std::os::unix::fs::symlink(&moved, &log).unwrap();
    cluster.start_front_again();
    let session = cluster.session().await;

    let filling = disk.fill();
    let stream = "numbered?producer=p";
    // Rows that are refused, until they do not fit what the file system had set aside for the log.
    let mut sender = Sender::connect(cluster.front.ws(), stream).await;
    let mut number = 0;
    while sender.error.is_none() {
        number += 1;
        let bad = format!("{{\"p\": 1, \"id\": \"{}\"}}", "x".repeat(500));
        let _ = sender.try_send(format!("{bad}\n{}", frame(1, number, 1))).await;
        if sender.try_acknowledged(number).await.is_err() {
            break;
        }
    }
    assert_eq!(sender.closed().await.1, 1013);
    drop(filling);
    let letters = "SELECT count(DISTINCT frame) FROM numbered_dead_letters";
    let held: u64 = session.value(letters).await.parse().unwrap();
    let last = Sender::connect(cluster.front.ws(), stream).await.last;
    assert_eq!(held, last, "frames of refused rows, and the last number that the stream has");
}
