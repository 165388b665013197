//! Statements' options, read whole.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use polarway_common::{Error, ErrorKind, HumanDuration};
use serde_json::json;

use super::*;

fn parse(options: &[(&str, &str)]) -> Result<FeedSpec, Error> {
    let schema = Schema::new(vec![
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), false),
        Field::new("symbol", DataType::Utf8, false),
        Field::new("price", DataType::Decimal128(18, 8), true),
        Field::new("id", DataType::Int64, true),
    ]);
    let mut all: BTreeMap<String, String> = [("url".to_owned(), "wss://host/ws".to_owned())].into();
    all.extend(options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    FeedSpec::parse(&all, &schema)
}

#[test]
fn a_whole_feed_is_read_and_stored() {
    let spec = parse(&[
        ("headers", r#"{"X-Key": {"secret": "exchange.key"}, "User-Agent": "polarway"}"#),
        ("subscribe", r#"[{"method": "auth", "token": {"secret": "token"}}, "SUB trades"]"#),
        ("subscribe_ack", r#"{"/result": null, "/id": 1}"#),
        ("subscribe_error", r#"[{"/error": {"exists": true}}, {"/success": false}]"#),
        ("filter", r#"{"/channel": ["trade", "ticker"]}"#),
        ("rows", "/data"),
        (
            "mapping",
            r#"{"at": {"pointer": "/T", "unit": "ms"}, "symbol": {"pointer": "/s", "of": "message"},
                "id": {"pointer": "/t", "text": true}, "price": {"value": "1.5"}}"#,
        ),
        ("sequence", "/t"),
        ("sequence_by", r#"{"pointer": "/s", "of": "message"}"#),
        ("heartbeat", "ping"),
        ("dead_after", "1m"),
        ("ca", "exchange.pem"),
    ])
    .unwrap();
    assert_eq!(spec.headers["X-Key"], HeaderText::Secret("exchange.key".into()));
    assert_eq!((spec.subscribe.len(), &spec.subscribe[1]), (2, &json!("SUB trades")));
    assert_eq!(spec.subscribe_error.len(), 2);
    assert_eq!(spec.dead_after, HumanDuration::from_secs(60));
    assert_eq!(spec.rule("at").unit, Some(EpochUnit::Milliseconds));
    assert_eq!(spec.sequence_by.as_ref().unwrap().of, Of::Message);
    let stored = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<FeedSpec>(&stored).unwrap(), spec);
    let wrong = stored.replacen('{', r#"{"retries": 1,"#, 1);
    assert!(serde_json::from_str::<FeedSpec>(&wrong).is_err());
}

#[test]
fn defaults_are_those_of_new_and_columns_map_to_their_names() {
    let spec = parse(&[]).unwrap();
    assert_eq!(spec, FeedSpec::new("wss://host/ws"));
    assert_eq!(spec.rule("a/b"), ColumnRule::of(Source::Row("/a~1b".parse().unwrap())));
}

#[test]
fn what_is_wrong_is_named() {
    let error = |name: &str, value: &str| {
        let error = parse(&[(name, value)]).unwrap_err();
        (error.kind, format!("{} / {}", error.message, error.hint.unwrap_or_default()))
    };
    assert_eq!(error("subscibe", "x").1, "a feed has no option `subscibe` / did you mean `subscribe`?");
    assert_eq!(
        error("dead_after", "5").1,
        "`dead_after` cannot be '5' / write a duration such as '5s' or '250ms'"
    );
    for (name, value, part) in [
        ("url", "https://host", "does not begin with wss:// or ws://"),
        ("url", "wss://", "names no host"),
        ("url", "wss://a:b@host/", "user or a password"),
        ("url", "wss://host/#x", "fragment"),
        ("headers", r#"{"Host": "x"}"#, "`Host` is set by the handshake"),
        ("headers", r#"{"A B": "x"}"#, "cannot be a header's name"),
        ("headers", r#"{"A": "x\r\nB: y"}"#, "control characters"),
        ("headers", r#"{"A": {"secret": "../key"}}"#, "cannot name a secret"),
        ("subscribe", "{", "`subscribe` is not valid"),
        ("subscribe", r#"{"a": [{"secret": ".hidden"}]}"#, "cannot name a secret"),
        ("subscribe_ack", "{}", "every message fulfils"),
        ("filter", r#"{"channel": 1}"#, "has to begin with `/`"),
        ("filter", r#"{"/a": []}"#, "matches nothing"),
        ("filter", r#"{"/a": {"b": 1}}"#, "exists"),
        ("rows", "data", "has to begin with `/`"),
        ("mapping", r#"{"at": {"pointer": "/T", "unit": "min"}}"#, "unknown variant `min`"),
        ("mapping", r#"{"at": {"path": "/T"}}"#, "unknown field `path`"),
        ("mapping", r#"{"at": {"pointer": "/T", "value": 1}}"#, "not both"),
        ("sequence", r#"{"value": 1}"#, "give a pointer"),
        ("sequence_by", "/s", "there is no `sequence`"),
        ("heartbeat_interval", "5s", "there is no `heartbeat`"),
        ("dead_after", "5s", "asked only every 15s"),
        ("backoff_min", "2m", "above `backoff_max`"),
        ("backoff_min", "0s", "it is zero"),
        ("ca", "../ca.pem", "no plain file name"),
    ] {
        let (kind, text) = error(name, value);
        assert_eq!(kind, ErrorKind::InvalidSetting, "{text}");
        assert!(text.contains(part) && text.contains(name), "{name} = {value}: {text}");
    }
    assert!(parse(&[("ping_interval", "0s")]).unwrap_err().message.contains("nothing is sent"));
    assert!(parse(&[("ping_interval", "0s"), ("dead_after", "0s")]).is_ok());
    assert!(parse(&[("url", "ws://host"), ("ca", "a.pem")]).unwrap_err().message.contains("no TLS"));
    let message = ("sequence", r#"{"pointer": "/n", "of": "message"}"#);
    assert!(parse(&[message, ("sequence_by", "/s")]).unwrap_err().message.contains("a key of its rows"));
    let no_url = FeedSpec::parse(&BTreeMap::new(), &Schema::empty()).unwrap_err();
    assert!(no_url.message.contains("need a `url`"));
}

#[test]
fn columns_of_the_mapping_are_held_against_the_schema() {
    let kind = |mapping: &str| parse(&[("mapping", mapping)]).map_err(|error| error.kind).map(|_| ());
    assert_eq!(kind(r#"{"prise": "/p"}"#), Err(ErrorKind::ColumnNotFound));
    assert_eq!(kind(r#"{"id": {"pointer": "/p", "unit": "ms"}}"#), Err(ErrorKind::TypeMismatch));
    assert_eq!(kind(r#"{"symbol": {"pointer": "/p", "text": true}}"#), Err(ErrorKind::TypeMismatch));
    assert_eq!(kind(r#"{"id": {"value": "1"}}"#), Err(ErrorKind::TypeMismatch));
    assert_eq!(kind(r#"{"id": {"value": 1}, "price": {"pointer": "/p", "text": true}}"#), Ok(()));
}

#[test]
fn options_are_told_apart_from_those_of_a_stream() {
    let options = ["url", "seal_rows", "rows"].map(|name| (name.to_owned(), String::new()));
    let (feed, stream) = FeedSpec::split(options.into());
    assert_eq!(feed.into_keys().collect::<Vec<_>>(), ["rows", "url"]);
    assert_eq!(stream.into_keys().collect::<Vec<_>>(), ["seal_rows"]);
}
