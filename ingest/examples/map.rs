//! How fast messages become rows. Prints microseconds a message and megabytes a second.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use polarway_ingest::decode::BadRow;
use polarway_ingest::pull::Mapper;
use polarway_storage::catalog::feed::FeedSpec;

fn main() {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    let schema = Arc::new(Schema::new(vec![
        Field::new("at", micros, false),
        Field::new("symbol", DataType::Utf8, false),
        Field::new("price", DataType::Decimal128(18, 8), false),
        Field::new("size", DataType::Decimal128(18, 8), true),
    ]));
    let binance = [
        ("url", "wss://host"),
        ("filter", r#"{"/data/e": "trade"}"#),
        ("subscribe_ack", r#"{"/result": null, "/id": 1}"#),
        ("rows", "/data"),
        (
            "mapping",
            r#"{"at": {"pointer": "/T", "unit": "ms"}, "symbol": "/s", "price": "/p", "size": "/q"}"#,
        ),
        ("sequence", "/t"),
        ("sequence_by", "/s"),
    ];
    let one = r#"{"stream":"bnbbtc@trade","data":{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.00134500","q":"100.25000000","T":1672515782136,"m":true,"M":true}}"#.to_owned();
    let kraken = [
        ("url", "wss://host"),
        ("filter", r#"{"/channel": "trade"}"#),
        ("rows", "/data"),
        ("mapping", r#"{"at": "/timestamp", "size": "/qty"}"#),
        ("sequence", "/trade_id"),
        ("sequence_by", "/symbol"),
    ];
    let row = r#"{"symbol":"MATIC/USD","side":"buy","price":0.5117,"qty":40.0,"ord_type":"market","trade_id":4665906,"timestamp":"2023-09-25T07:49:37.708706Z"}"#;
    let fifty = format!(r#"{{"channel":"trade","type":"update","data":[{}]}}"#, vec![row; 50].join(","));
    for (name, options, message, rows) in
        [("binance", &binance[..], one, 1), ("kraken x50", &kraken, fifty, 50)]
    {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let spec = FeedSpec::parse(&options, &schema).unwrap();
        let mut mapper = Mapper::new(&spec, schema.clone()).unwrap();
        let count = 1_000_000 / rows;
        let started = Instant::now();
        for _ in 0..count {
            mapper.push(message.as_bytes(), &mut |bad: BadRow<'_>| println!("{bad:?}"), &mut |_, _| {});
            if mapper.len() >= 8192 {
                mapper.finish().unwrap();
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        let (rows, bytes) = ((count * rows) as f64, (count * message.len()) as f64);
        println!("{name}: {:.0} ns a row, {:.0} MB/s", seconds / rows * 1e9, bytes / seconds / 1e6);
    }
}
