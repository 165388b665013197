//! Many senders at once, good and bad ones. What is not shown is a sender without rights, since senders are not asked who
//! they are yet.

use std::net::SocketAddr;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array};
use polarway_tests::arrow_frame::{frame, integers};
use polarway_tests::{Cluster, Sender, Session, Setup};
use tokio::sync::Barrier;
use tokio_tungstenite::tungstenite::Error;

use super::numbered::{counts, table};

const SENDERS: u64 = 50;
/// Good rows of each sender.
const ROWS: u64 = 120;
/// Rows of one frame.
const FRAME: u64 = 12;
const FRAMES: u64 = ROWS / FRAME;
const GARBAGE: [u8; 5] = [0xff, 0x00, 0xfe, 0x01, 0x80];

async fn start() -> (Cluster, Session) {
    let cluster = Setup::up().set("ingest.listen", "127.0.0.1:0").start().await;
    let session = cluster.session().await;
    session.ok(&table("seal_rows = 1000")).await;
    (cluster, session)
}

fn row(p: u64, id: u64) -> String {
    format!(r#"{{"p": {p}, "id": {id}}}"#)
}

fn ids(frame: u64) -> std::ops::RangeInclusive<u64> {
    frame * FRAME + 1..=(frame + 1) * FRAME
}

fn rows(p: u64, frame: u64) -> Vec<String> {
    ids(frame).map(|id| row(p, id)).collect()
}

fn array(p: u64, frame: u64) -> String {
    format!("[{}]", rows(p, frame).join(","))
}

fn lines(p: u64, frame: u64) -> String {
    rows(p, frame).join("\n")
}

fn arrow(p: u64, of: u64) -> Vec<u8> {
    frame(vec![("p", integers(ids(of).map(|_| p))), ("id", integers(ids(of)))])
}

/// The columns are there, one with another type.
fn wrong_arrow(p: u64) -> Vec<u8> {
    let id: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 2.0]));
    frame(vec![("p", integers([p, p])), ("id", id)])
}

/// Sends its good rows, and what its kind sends beside them.
async fn talk(server: SocketAddr, p: u64, all: Arc<Barrier>) {
    let stream = format!("numbered?producer=feed-{p}");
    let mut sender = Sender::connect(server, &stream).await;
    all.wait().await;
    let mut bad = 0;
    let mut sent = 0;
    for frame in 0..FRAMES {
        match p % 10 {
            0 => {
                for id in ids(frame) {
                    sender.send(row(p, id)).await;
                }
                sent += FRAME - 1;
            }
            1 | 7 | 8 => sender.send(array(p, frame)).await,
            2 => sender.send(lines(p, frame)).await,
            3 => sender.send_bytes(arrow(p, frame)).await,
            4 => {
                let (bad_row, more) = (format!(r#"{{"p": {p}, "id": "{frame}x"}}"#), r#"{"id": 1}"#);
                sender.send(format!("{bad_row}\n{}\n{more}", lines(p, frame))).await;
                bad += 2;
            }
            5 => {
                sender.send_bytes(GARBAGE.to_vec()).await;
                sender.send(lines(p, frame)).await;
                (bad, sent) = (bad + 1, sent + 1);
            }
            6 => {
                sender.send_bytes(arrow(p, frame)).await;
                sender.send_bytes(wrong_arrow(p)).await;
                (bad, sent) = (bad + 1, sent + 1);
            }
            _ => {
                sender.send(format!("#{}\n{}", (frame + 1) * 10, lines(p, frame))).await;
                sent = (frame + 1) * 10 - 1;
                if frame == FRAMES / 2 {
                    // Goes away without a word, comes back, and sends from the beginning: what is there is not taken again.
                    sender.acknowledged(sent + 1).await;
                    drop(sender);
                    sender = Sender::connect(server, &stream).await;
                    assert_eq!(sender.last, sent + 1);
                    for again in 0..=frame {
                        sender.send(format!("#{}\n{}", (again + 1) * 10, lines(p, again))).await;
                    }
                    sender.acknowledged(sent + 1).await;
                    assert_eq!(sender.rows, 0, "sender {p}");
                    sender.rows = (frame + 1) * FRAME;
                }
            }
        }
        sent += 1;
    }
    sender.acknowledged(sent).await;
    assert_eq!((sender.rows, sender.bad), (ROWS, bad), "sender {p}");
    match p % 10 {
        7 => {
            sender.send_raw(&header(0x81, (16 << 20) + 1)).await;
            assert_eq!(sender.closed().await, ("frame_too_large".into(), 1009), "sender {p}");
        }
        8 => {
            sender.send(format!("#{sent}\n{}", row(p, 1))).await;
            assert_eq!(sender.closed().await, ("protocol".into(), 1002), "sender {p}");
        }
        _ => {}
    }
}

/// Head of a frame with so many bytes, and a mask of zeros.
fn header(first: u8, length: u64) -> Vec<u8> {
    [&[first, 0xff], &length.to_be_bytes()[..], &[0; 4]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn row_22_fifty_senders_keep_their_rows_whatever_the_others_send() {
    let (cluster, session) = start().await;
    let all = Arc::new(Barrier::new(SENDERS as usize));
    let senders: Vec<_> =
        (0..SENDERS).map(|p| tokio::spawn(talk(cluster.front.ws(), p, Arc::clone(&all)))).collect();
    for sender in senders {
        sender.await.unwrap();
    }
    assert_eq!(counts(&session).await, (0..SENDERS).map(|p| (p, ROWS)).collect());

    let letters = session
        .ok("SELECT producer, column_name, reason, encode(bytes, 'hex'), frame FROM numbered_dead_letters
            ORDER BY producer, frame, column_name")
        .await
        .cells();
    assert_eq!(letters.len() as u64, SENDERS / 10 * FRAMES * 4);
    let of = |p: u64| {
        let name = format!("feed-{p}");
        letters.iter().filter(move |letter| letter[0] == name)
    };
    for p in (0..SENDERS).filter(|p| !(4..=6).contains(&(p % 10))) {
        assert_eq!(of(p).count(), 0, "sender {p}");
    }
    for tens in (0..SENDERS).step_by(10) {
        for (frame, pair) in of(tens + 4).collect::<Vec<_>>().chunks(2).enumerate() {
            let bytes = hex(format!(r#"{{"p": {}, "id": "{frame}x"}}"#, tens + 4).as_bytes());
            assert_eq!((pair[0][1].as_str(), pair[0][3].as_str()), ("id", bytes.as_str()));
            let reason = format!(r#"found "{frame}x", expected an integer"#);
            assert!(pair[0][2].contains(&reason), "{}", pair[0][2]);
            assert_eq!((pair[1][1].as_str(), pair[1][3].clone()), ("p", hex(br#"{"id": 1}"#)));
        }
        for letter in of(tens + 5) {
            assert_eq!((letter[1].as_str(), letter[3].clone()), ("NULL", hex(&GARBAGE)));
            assert!(!letter[2].is_empty());
        }
        for letter in of(tens + 6) {
            assert_eq!((letter[1].as_str(), letter[3].clone()), ("id", hex(&wrong_arrow(tens + 6))));
            assert!(letter[2].contains("Float64") && letter[2].contains("Int64"), "{}", letter[2]);
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn row_22_who_breaks_the_protocol_is_told_and_closed() {
    let (cluster, session) = start().await;
    let mut good = Sender::connect(cluster.front.ws(), "numbered?producer=good").await;
    let text = |text: &str| {
        assert!(text.len() < 126);
        [&[0x81, 0x80 | text.len() as u8], &[0; 4][..], text.as_bytes()].concat()
    };
    let cases: [(&str, &str, Vec<u8>, &str, u16); 12] = [
        ("a large text", "?producer=b", header(0x81, (16 << 20) + 1), "frame_too_large", 1009),
        ("a large binary frame", "", header(0x82, 1 << 40), "frame_too_large", 1009),
        ("the largest length there is", "", header(0x82, u64::MAX >> 1), "frame_too_large", 1009),
        ("a number without a producer", "", text("#1\n{}"), "protocol", 1002),
        ("number zero", "?producer=b", text("#0\n{}"), "protocol", 1002),
        ("no number", "?producer=b", text("#one\n{}"), "protocol", 1002),
        ("a number beyond all", "?producer=b", text("#99999999999999999999\n{}"), "protocol", 1002),
        ("a number alone", "?producer=b", text("#1"), "protocol", 1002),
        ("no UTF-8", "", [&[0x81, 0x82], &[0; 4][..], &[0xff, 0xfe]].concat(), "invalid_text", 1007),
        ("no mask", "", vec![0x81, 0x02, b'{', b'}'], "protocol", 1002),
        ("an unknown kind of frame", "", vec![0x83, 0x80, 0, 0, 0, 0], "protocol", 1002),
        ("a reserved bit", "", vec![0xf1, 0x80, 0, 0, 0, 0], "protocol", 1002),
    ];
    // As large as a frame may be.
    let mut largest = row(1, 1);
    largest.push_str(&" ".repeat((16 << 20) - largest.len()));
    good.send(largest).await;
    let mut sent = 1;
    for (what, query, bytes, kind, code) in cases {
        sent += 1;
        good.send(row(1, sent)).await;
        let mut bad = Sender::connect(cluster.front.ws(), &format!("numbered{query}")).await;
        bad.send_raw(&bytes).await;
        assert_eq!(bad.closed().await, (kind.into(), code), "{what}");
        let error = bad.error.unwrap();
        assert!(
            error["message"].as_str().unwrap().len() > 10 && error["hint"].is_string(),
            "{what}: {error}"
        );
    }
    good.acknowledged(sent).await;
    assert_eq!(counts(&session).await, [(1, sent)].into());
    assert_eq!(session.value("SELECT count(*) FROM numbered_dead_letters").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_22_a_number_does_not_go_back_in_a_connection() {
    let (cluster, session) = start().await;
    let mut sender = Sender::connect(cluster.front.ws(), "numbered?producer=p").await;
    sender.send(format!("#5\n{}", row(1, 1))).await;
    // Without a number it is the next one.
    sender.send(row(1, 2)).await;
    sender.send(format!("#6\n{}", row(1, 3))).await;
    assert_eq!(sender.closed().await, ("protocol".into(), 1002));
    assert_eq!(sender.acknowledged, 6, "what came before is taken");
    assert_eq!(counts(&session).await, [(1, 2)].into());
    assert_eq!(Sender::connect(cluster.front.ws(), "numbered?producer=p").await.last, 6);
    assert_eq!(Sender::connect(cluster.front.ws(), "numbered?producer=other").await.last, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_22_what_is_no_stream_is_not_opened() {
    let (cluster, _session) = start().await;
    let refused = async |stream: &str| match Sender::try_connect(cluster.front.ws(), stream).await {
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(error) => panic!("{stream}: {error}"),
        Ok(_) => panic!("{stream} was opened"),
    };
    assert_eq!(refused("nothing").await, 404);
    assert_eq!(refused("nowhere.numbered").await, 404);
    assert_eq!(refused("numbered_dead_letters").await, 403);
    assert_eq!(refused("numbered?ack=soon").await, 400);
    assert_eq!(refused("numbered?producer=").await, 400);
    assert_eq!(refused(&format!("numbered?producer={}", "p".repeat(129))).await, 400);
    assert_eq!(refused("numbered?produce=p").await, 400);
    Sender::connect(cluster.front.ws(), &format!("numbered?producer={}", "p".repeat(128))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_22_who_is_connected_when_the_server_stops_is_told() {
    let (mut cluster, _session) = start().await;
    let mut sender = Sender::connect(cluster.front.ws(), "numbered?producer=p").await;
    for id in 1..=100 {
        sender.send(row(1, id)).await;
    }
    sender.acknowledged(1).await;
    let (status, closed) = tokio::join!(cluster.front.stop(), sender.closed());
    assert!(status.success());
    assert_eq!(closed, ("draining".into(), 1012));
    cluster.start_front_again();
    let rows = counts(&cluster.session().await).await[&1];
    assert!((sender.acknowledged..=100).contains(&rows), "{rows} rows, {} acknowledged", sender.acknowledged);
    assert_eq!(Sender::connect(cluster.front.ws(), "numbered?producer=p").await.last, rows);
}
