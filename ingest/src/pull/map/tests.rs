//! Messages as exchanges send them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Decimal128Type, Field, Float64Type, Int64Type, Schema, SchemaRef, TimeUnit,
    TimestampMicrosecondType,
};
use proptest::prelude::*;

use super::super::batch::Refused;
use super::super::spec::FeedSpec;
use super::mapper::MOST_BAD;
use super::walk::ROWS_AT_ONCE;
use super::*;
use crate::decode::{Pushed, Reason};

fn schema(fields: &[(&str, DataType, bool)]) -> SchemaRef {
    Arc::new(Schema::new(
        fields
            .iter()
            .map(|(name, kind, nullable)| Field::new(*name, kind.clone(), *nullable))
            .collect::<Vec<_>>(),
    ))
}

fn micros() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn trades() -> SchemaRef {
    schema(&[
        ("at", micros(), false),
        ("symbol", DataType::Utf8, false),
        ("price", DataType::Decimal128(18, 8), false),
        ("size", DataType::Decimal128(18, 8), true),
        ("side", DataType::Utf8, true),
    ])
}

struct Feed {
    mapper: Mapper,
    refused: Refused,
    seen: Vec<(String, i64)>,
}

impl Feed {
    fn new(schema: SchemaRef, options: &[(&str, &str)]) -> Self {
        let mut all: BTreeMap<_, _> = [("url".to_owned(), "wss://host".to_owned())].into();
        all.extend(options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let spec = FeedSpec::parse(&all, &schema).unwrap();
        let mapper = Mapper::new(&spec, schema).unwrap();
        Self { mapper, refused: Refused::default(), seen: vec![] }
    }

    fn push(&mut self, message: &str) -> Mapped {
        let seen = &mut self.seen;
        self.mapper.push(message.as_bytes(), &mut self.refused, &mut |key, value| {
            seen.push((String::from_utf8(key.to_vec()).unwrap(), value));
        })
    }

    fn good(&mut self, message: &str) {
        let mapped = self.push(message);
        let reasons: Vec<_> = self.refused.rows.iter().map(|row| row.reason.to_string()).collect();
        assert!(matches!(mapped, Mapped::Rows(Pushed { bad: 0, .. })), "{mapped:?} {reasons:?}");
    }

    /// The only bad row of a message: why, and its bytes.
    fn bad(&mut self, message: &str) -> (String, String) {
        let held = self.mapper.len();
        let mapped = self.push(message);
        assert_eq!(mapped, Mapped::Rows(Pushed { rows: 0, bad: 1 }), "{message}");
        assert_eq!(self.mapper.len(), held);
        let row = self.refused.rows.pop().unwrap();
        (row.reason.to_string(), String::from_utf8_lossy(&row.bytes).into_owned())
    }

    fn finish(&mut self) -> RecordBatch {
        self.mapper.finish().unwrap()
    }
}

fn strings<'a>(batch: &'a RecordBatch, column: &str) -> Vec<Option<&'a str>> {
    batch.column_by_name(column).unwrap().as_string::<i32>().iter().collect()
}

fn decimals(batch: &RecordBatch, column: &str) -> Vec<Option<i128>> {
    batch.column_by_name(column).unwrap().as_primitive::<Decimal128Type>().iter().collect()
}

fn times(batch: &RecordBatch) -> Vec<Option<i64>> {
    batch.column_by_name("at").unwrap().as_primitive::<TimestampMicrosecondType>().iter().collect()
}

fn binance() -> Feed {
    Feed::new(
        trades(),
        &[
            ("filter", r#"{"/data/e": "trade"}"#),
            ("rows", "/data"),
            ("subscribe_ack", r#"{"/result": null, "/id": 1}"#),
            ("subscribe_error", r#"{"/error": {"exists": true}}"#),
            (
                "mapping",
                r#"{"at": {"pointer": "/T", "unit": "ms"}, "symbol": "/s", "price": "/p", "size": "/q",
                    "side": {"value": "?"}}"#,
            ),
            ("sequence", "/t"),
            ("sequence_by", "/s"),
        ],
    )
}

#[test]
fn binance_combined_streams() {
    let mut feed = binance();
    assert_eq!(feed.push(r#"{"result":null,"id":1}"#), Mapped::Acknowledged(1));
    assert_eq!(feed.push(r#"{"id":1}"#), Mapped::Skipped, "a missing result is not null");
    assert_eq!(feed.push(r#"{"error":{"code":2,"msg":"Invalid"},"id":1}"#), Mapped::Refused);
    feed.good(
        r#"{"stream":"bnbbtc@trade","data":{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":1672515782136,"m":true,"M":true}}"#,
    );
    assert_eq!(feed.push(r#"{"stream":"x","data":{"e":"kline","s":"BNBBTC"}}"#), Mapped::Skipped);
    let batch = feed.finish();
    assert_eq!(times(&batch), [Some(1_672_515_782_136_000)]);
    assert_eq!(decimals(&batch, "price"), [Some(100_000)]);
    assert_eq!(decimals(&batch, "size"), [Some(10_000_000_000)]);
    assert_eq!((strings(&batch, "symbol"), strings(&batch, "side")), (vec![Some("BNBBTC")], vec![Some("?")]));
    assert_eq!(feed.seen, [("BNBBTC".to_owned(), 12345)]);
}

#[test]
fn coinbase_matches() {
    let mut feed = Feed::new(
        trades(),
        &[
            ("filter", r#"{"/type": ["match", "last_match"]}"#),
            ("subscribe_ack", r#"{"/type": "subscriptions"}"#),
            ("mapping", r#"{"at": "/time", "symbol": "/product_id"}"#),
            ("sequence", "/sequence"),
            ("sequence_by", "/product_id"),
        ],
    );
    assert_eq!(feed.push(r#"{"type":"subscriptions","channels":[]}"#), Mapped::Acknowledged(1));
    assert_eq!(feed.push(r#"{"type":"heartbeat","sequence":90,"product_id":"BTC-USD"}"#), Mapped::Skipped);
    feed.good(
        r#"{"type":"match","trade_id":10,"sequence":50,"maker_order_id":"ac92","time":"2014-11-07T08:19:27.028459Z","product_id":"BTC-USD","size":"5.23512","price":"400.23","side":"sell"}"#,
    );
    let batch = feed.finish();
    assert_eq!(times(&batch), [Some(1_415_348_367_028_459)]);
    assert_eq!(decimals(&batch, "price"), [Some(40_023_000_000)]);
    assert_eq!(feed.seen, [("BTC-USD".to_owned(), 50)]);
}

#[test]
fn coinbase_advanced_counts_messages() {
    let mut feed = Feed::new(
        trades(),
        &[
            ("filter", r#"{"/channel": "market_trades"}"#),
            ("rows", "/events/0/trades"),
            ("mapping", r#"{"at": "/time", "symbol": "/product_id"}"#),
            ("sequence", r#"{"pointer": "/sequence_num", "of": "message"}"#),
        ],
    );
    feed.good(
        r#"{"channel":"market_trades","sequence_num":0,"events":[{"type":"update","trades":[{"trade_id":"1","product_id":"ETH-USD","price":"1260.01","size":"0.3","side":"BUY","time":"2019-08-14T20:42:27.265Z"},{"trade_id":"2","product_id":"ETH-USD","price":"1260.02","size":null,"side":"BUY","time":"2019-08-14T20:42:28.265Z"}]}]}"#,
    );
    assert_eq!(feed.push(r#"{"channel":"heartbeats","sequence_num":1,"events":[]}"#), Mapped::Skipped);
    assert_eq!(feed.seen, [(String::new(), 0), (String::new(), 1)], "skipped messages count too");
    let batch = feed.finish();
    assert_eq!(decimals(&batch, "size"), [Some(30_000_000), None], "null stays null");
}

#[test]
fn kraken_v2() {
    let mut feed = Feed::new(
        trades(),
        &[
            ("filter", r#"{"/channel": "trade", "/type": ["snapshot", "update"]}"#),
            ("rows", "/data"),
            ("subscribe_ack", r#"{"/method": "subscribe", "/success": true}"#),
            ("subscribe_error", r#"{"/method": "subscribe", "/success": false}"#),
            ("mapping", r#"{"at": "/timestamp", "size": "/qty"}"#),
        ],
    );
    assert_eq!(
        feed.push(r#"{"method":"subscribe","result":{"channel":"trade","symbol":"MATIC/USD"},"success":true,"time_in":"2023-09-25T09:04:31.742599Z"}"#),
        Mapped::Acknowledged(1)
    );
    assert_eq!(
        feed.push(r#"{"error":"Currency pair not supported","method":"subscribe","success":false}"#),
        Mapped::Refused
    );
    assert_eq!(feed.push(r#"{"channel":"heartbeat"}"#), Mapped::Skipped);
    feed.good(
        r#"{"channel":"trade","type":"update","data":[{"symbol":"MATIC/USD","side":"buy","price":0.5117,"qty":40.0,"ord_type":"market","trade_id":4665906,"timestamp":"2023-09-25T07:49:37.708706Z"},{"symbol":"MATIC/USD","side":"sell","price":0.5118,"qty":1e-8,"ord_type":"limit","trade_id":4665907,"timestamp":"2023-09-25T07:49:38Z"}]}"#,
    );
    let batch = feed.finish();
    assert_eq!(decimals(&batch, "price"), [Some(51_170_000), Some(51_180_000)]);
    assert_eq!(decimals(&batch, "size"), [Some(4_000_000_000), Some(1)]);
    assert_eq!(times(&batch), [Some(1_695_628_177_708_706), Some(1_695_628_178_000_000)]);
}

#[test]
fn kraken_v1_arrays() {
    let mut feed = Feed::new(
        trades(),
        &[
            ("filter", r#"{"/2": "trade"}"#),
            ("rows", "/1"),
            (
                "mapping",
                r#"{"at": {"pointer": "/2", "unit": "s"}, "price": "/0", "size": "/1", "side": "/3",
                    "symbol": {"pointer": "/3", "of": "message"}}"#,
            ),
        ],
    );
    assert_eq!(feed.push(r#"{"event":"heartbeat"}"#), Mapped::Skipped);
    feed.good(
        r#"[0,[["5541.20000","0.15850568","1534614057.321597","s","l",""],["6060.00000","0.02455000","1534614057.324998","b","l",""]],"trade","XBT/USD"]"#,
    );
    let batch = feed.finish();
    assert_eq!(times(&batch), [Some(1_534_614_057_321_597), Some(1_534_614_057_324_998)]);
    assert_eq!(decimals(&batch, "size"), [Some(15_850_568), Some(2_455_000)]);
    assert_eq!(strings(&batch, "symbol"), [Some("XBT/USD"); 2]);
    assert_eq!(strings(&batch, "side"), [Some("s"), Some("b")]);
}

#[test]
fn bad_rows_are_told_with_their_bytes_and_their_neighbours_stay() {
    let mut feed =
        Feed::new(trades(), &[("rows", "/rows"), ("mapping", r#"{"at": {"pointer": "/at", "unit": "us"}}"#)]);
    let good = r#"{"at":1,"symbol":"a","price":"1","size":"2","side":"b"}"#;
    let bad = r#"{"at":1,"symbol":"a","price":"","size":"2","side":"b"}"#;
    let mapped = feed.push(&format!(r#"{{"rows":[{good},{bad},7,{good}]}}"#));
    assert_eq!(mapped, Mapped::Rows(Pushed { rows: 2, bad: 2 }));
    let [first, second] = &feed.refused.rows[..] else { panic!() };
    assert_eq!((first.as_bad_row().column, &first.bytes[..]), (Some("price"), bad.as_bytes()));
    assert_eq!(second.reason, Reason::NotARow { found: "7".into() });
    feed.refused.rows.clear();
    assert_eq!(feed.finish().num_rows(), 2);

    let row = |at: &str, price: &str| {
        format!(r#"{{"rows":{{"at":{at},"symbol":"a","price":{price},"side":null}}}}"#)
    };
    for (message, part) in [
        (row("null", "1"), "\"at\": found null"),
        (row("1.5", "1"), "\"at\": 1.5 is too fine, expected a number of microseconds since 1970"),
        (row("1e30", "1"), "\"at\": 1e30 is out of range"),
        (row("\"2024-01-01T00:00:00Z\"", "1"), "\"at\": found \"2024-01-01T00:00:00Z\", expected a number"),
        (row("[1]", "1"), "\"at\": found [1]"),
        (row("1", "0.000000001"), "\"price\": 0.000000001 is too fine"),
        (row("1", "null"), "\"price\": found null"),
        (row("1", "\"NaN\""), "\"price\": found \"NaN\""),
        (r#"{"rows":{"at":1,"symbol":"a"}}"#.into(), "\"price\": the field is missing"),
        (r#"{"rows":{"at":1,"at":2,"symbol":"a","price":1}}"#.into(), "\"at\": the key is given twice"),
    ] {
        let (reason, bytes) = feed.bad(&message);
        assert!(reason.contains(part), "{message}: {reason}");
        assert_eq!(format!("{{\"rows\":{bytes}}}"), message);
    }
    for (message, part) in [
        (r#"{"rows":[}"#, "not JSON at byte 9"),
        (r#"{"rows":[]} x"#, "expected the end of the message"),
        ("no json", "not JSON"),
        ("", "not JSON"),
        (r#"{"other":1}"#, "nothing at \"/rows\""),
        (r#"{"rows":null}"#, "expected a row"),
        (r#"{"rows":[],"rows":[]}"#, "\"/rows\" is given twice"),
    ] {
        let (reason, bytes) = feed.bad(message);
        assert!(reason.contains(part), "{message}: {reason}");
        assert_eq!(bytes, message);
    }
    let invalid = feed.mapper.push(b"{\"rows\":\"\xff\"}", &mut feed.refused, &mut |_, _| {});
    assert_eq!(invalid, Mapped::Rows(Pushed { rows: 0, bad: 1 }));
    assert_eq!(feed.refused.rows[0].reason, Reason::InvalidUtf8 { at: 9 });
    assert!(feed.mapper.is_empty());
}

#[test]
fn a_message_of_another_kind_is_no_row_of_nulls() {
    let mut feed = Feed::new(schema(&[("a", DataType::Int64, true), ("b", DataType::Int64, true)]), &[]);
    assert_eq!(feed.bad(r#"{"type":"heartbeat"}"#).0, "none of the mapped fields is there");
    feed.good(r#"{"b":null}"#);
    feed.good(r#"[{"a":1},{"b":2}]"#);
    let batch = feed.finish();
    let a: Vec<_> = batch.column(0).as_primitive::<Int64Type>().iter().collect();
    assert_eq!((a, batch.column(1).null_count()), (vec![None, Some(1), None], 2));
}

#[test]
fn texts_are_numbers_only_where_declared() {
    let columns = schema(&[("id", DataType::Int64, true), ("price", DataType::Float64, true)]);
    let mut strict = Feed::new(columns.clone(), &[]);
    assert!(strict.bad(r#"{"id":"1"}"#).0.contains("found \"1\""));
    assert!(strict.bad(r#"{"price":"1.5"}"#).0.contains("found \"1.5\""));
    let mapping = r#"{"id": {"pointer": "/id", "text": true}, "price": {"pointer": "/price", "text": true}}"#;
    let mut feed = Feed::new(columns, &[("mapping", mapping)]);
    feed.good(r#"{"id":"12","price":"1.5"}"#);
    feed.good(r#"{"id":13,"price":2}"#);
    feed.good(r#"{"id":null}"#);
    for (message, part) in [
        (r#"{"id":"1.5"}"#, "an integer of 64 bits or a string of one"),
        (r#"{"id":" 1"}"#, "found"),
        (r#"{"id":""}"#, "found"),
        (r#"{"id":"9223372036854775808"}"#, "out of range"),
        (r#"{"price":"NaN"}"#, "found"),
        (r#"{"price":"1e999"}"#, "out of range"),
        (r#"{"price":true}"#, "found true"),
    ] {
        assert!(feed.bad(message).0.contains(part), "{message}");
    }
    let batch = feed.finish();
    let prices: Vec<_> = batch.column(1).as_primitive::<Float64Type>().iter().collect();
    assert_eq!(prices, [Some(1.5), Some(2.0), None]);
}

#[test]
fn rows_beyond_those_noted_at_once_are_read_too() {
    let mut feed = Feed::new(
        schema(&[("n", DataType::Int64, false), ("symbol", DataType::Utf8, false)]),
        &[
            ("rows", "/rows"),
            ("mapping", r#"{"n": "", "symbol": {"pointer": "/symbol", "of": "message"}}"#),
            ("sequence", ""),
        ],
    );
    for count in [0, 1, ROWS_AT_ONCE - 1, ROWS_AT_ONCE, ROWS_AT_ONCE + 1, 3 * ROWS_AT_ONCE + 7] {
        let numbers: Vec<_> = (0..count).map(|n| n.to_string()).collect();
        // The symbol comes after the rows.
        let mapped = feed.push(&format!(r#"{{"rows":[{}],"symbol":"s"}}"#, numbers.join(" , ")));
        assert_eq!(mapped, Mapped::Rows(Pushed { rows: count, bad: 0 }));
        let batch = feed.finish();
        let read: Vec<_> = batch.column(0).as_primitive::<Int64Type>().values().to_vec();
        assert_eq!(read, (0..i64::try_from(count).unwrap()).collect::<Vec<_>>());
        assert_eq!(feed.seen.len(), count);
        feed.seen.clear();
    }
    let broken = format!(r#"{{"rows":[{}1"#, "1,".repeat(2 * ROWS_AT_ONCE));
    assert!(feed.bad(&broken).0.contains("not JSON"));
}

#[test]
fn a_message_of_bad_rows_takes_no_end_of_memory() {
    let mut feed = Feed::new(schema(&[("n", DataType::Int64, false)]), &[]);
    let mapped = feed.push(&format!("[{}0]", "1,".repeat(MOST_BAD + 5000)));
    assert_eq!(mapped, Mapped::Rows(Pushed { rows: 0, bad: MOST_BAD + 1 }));
    let last = feed.refused.rows.last().unwrap();
    assert_eq!(last.reason, Reason::TooManyBad { rows: MOST_BAD });
    assert_eq!(last.bytes.len(), 2 * 5000 + 2, "nothing is left out");
}

#[test]
fn a_constant_that_does_not_fit_is_refused_at_once() {
    let columns = schema(&[("n", DataType::Int8, false)]);
    let options = [("url", "wss://host"), ("mapping", r#"{"n": {"value": 1000}}"#)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let spec = FeedSpec::parse(&options.into(), &columns).unwrap();
    assert!(matches!(Mapper::new(&spec, columns), Err(MapError::Constant(_))));
}

#[test]
fn conditions_compare_values_and_not_their_text() {
    let columns = schema(&[("a", DataType::Int64, true)]);
    let filter = r#"{"/t": ["x\ny", 1, 2.50, true, null], "/gone": {"exists": false}}"#;
    let mut feed = Feed::new(columns, &[("filter", filter)]);
    for value in [r#""x\u000ay""#, "1", "1.0", "25e-1", "true", "null"] {
        feed.good(&format!(r#"{{"a":1,"t":{value}}}"#));
    }
    for value in ["\"x\"", "2", "false", "\"1\"", "[1]", "{}", "1e999"] {
        assert_eq!(feed.push(&format!(r#"{{"a":1,"t":{value}}}"#)), Mapped::Skipped, "{value}");
    }
    assert_eq!(feed.push(r#"{"a":1,"t":1,"gone":null}"#), Mapped::Skipped);
    assert_eq!(feed.push(r#"{"a":1}"#), Mapped::Skipped);
    assert_eq!(feed.bad(r#"{"a":1,"t":1,"t":2}"#).0, "\"/t\" is given twice in one message");
}

proptest! {
    /// A mapper never fails on any bytes, keeps what it counted, and accepts as JSON what `serde_json` accepts.
    #[test]
    fn damaged_messages_are_bad_rows(at in 0_usize..170, byte in 0_u8..128) {
        let mut message = br#"{"stream":"b@trade","data":{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":1672515782136,"m":true,"M":[1,{"a":null}]},"more":{"x":"\u00e9"}}"#.to_vec();
        message[at] = byte;
        let mut feed = binance();
        let mapped = feed.mapper.push(&message, &mut feed.refused, &mut |_, _| {});
        if let Mapped::Rows(pushed) = mapped {
            prop_assert_eq!((feed.mapper.len(), feed.refused.rows.len()), (pushed.rows, pushed.bad));
        }
        let syntax = feed.refused.rows.iter().any(|row| matches!(row.reason, Reason::Syntax { .. }));
        let json = match serde_json::from_slice::<serde_json::Value>(&message) {
            Ok(_) => true,
            Err(error) => error.to_string().starts_with("number out of range"),
        };
        prop_assert_eq!(!syntax, json);
    }

    /// Epochs in every unit are exact or refused.
    #[test]
    fn epochs_are_exact(micros: i64, unit in 0_usize..4) {
        let (name, per_micro) = [("s", -6_i32), ("ms", -3), ("us", 0), ("ns", 3)][unit];
        let text = format!("{micros}e{per_micro}");
        let mapping = format!(r#"{{"at": {{"pointer": "/at", "unit": "{name}"}}}}"#);
        let mut feed = Feed::new(schema(&[("at", self::micros(), false)]), &[("mapping", &mapping)]);
        feed.good(&format!(r#"{{"at":{text}}}"#));
        feed.good(&format!(r#"{{"at":"{text}"}}"#));
        prop_assert_eq!(times(&feed.finish()), [Some(micros); 2]);
    }
}
