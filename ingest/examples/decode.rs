//! Rows per second of the decoder beside arrow-json on the same bytes: one core, several alternating runs, the
//! median. `cargo run --release --example decode -p polarway-ingest`

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use polarway_ingest::decode::{BadRow, DecodeOptions, Decoder};

/// Rows of one measured run, and of one batch.
const ROWS: usize = 1_000_000;
const BATCH: usize = 8_192;
const RUNS: usize = 9;

/// The zone is written as an offset: arrow-json knows no names without chrono-tz.
fn schema(price: DataType) -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())), false),
        Field::new("symbol", DataType::Utf8, false),
        Field::new("price", price, false),
        Field::new("qty", DataType::Float64, false),
        Field::new("side", DataType::Utf8, false),
        Field::new("id", DataType::Int64, false),
    ]))
}

fn rows(count: usize) -> Vec<String> {
    (0..count as u64)
        .map(|i| {
            format!(
                "{{\"ts\":{},\"symbol\":\"{}\",\"price\":\"{}.{:02}\",\"qty\":{},\"side\":\"{}\",\"id\":{}}}",
                1_732_537_200_123_456 + i * 137,
                ["BTC-USD", "ETH-USD", "SOL-USD", "DOGE-USD"][(i % 4) as usize],
                97_000 + i % 977,
                i % 100,
                (i % 9_973 + 1) as f64 / 10_000.0,
                if i % 3 == 0 { "sell" } else { "buy" },
                123_456_789 + i
            )
        })
        .collect()
}

fn ours(frames: &[Vec<u8>]) -> usize {
    let mut decoder = Decoder::new(schema(DataType::Decimal128(18, 8)), DecodeOptions::default()).unwrap();
    let mut bad = |row: BadRow<'_>| println!("{}", row.reason);
    let mut rows = 0;
    for frame in frames {
        rows += decoder.push(frame, &mut bad).rows;
        if decoder.len() >= BATCH {
            black_box(decoder.finish().unwrap());
        }
    }
    black_box(decoder.finish().unwrap());
    rows
}

fn theirs(frames: &[Vec<u8>], price: &DataType) -> usize {
    let mut decoder = arrow::json::ReaderBuilder::new(schema(price.clone()))
        .with_batch_size(BATCH)
        .build_decoder()
        .unwrap();
    let mut rows = 0;
    for frame in frames {
        let mut frame = frame.as_slice();
        loop {
            let read = decoder.decode(frame).unwrap();
            frame = &frame[read..];
            if frame.is_empty() {
                break;
            }
            rows += decoder.flush().unwrap().map_or(0, |batch| black_box(batch).num_rows());
        }
    }
    rows + decoder.flush().unwrap().map_or(0, |batch| black_box(batch).num_rows())
}

fn main() {
    let rows = rows(ROWS);
    let bytes = rows.iter().map(String::len).sum::<usize>();
    println!("{ROWS} rows of {:.1} bytes", bytes as f64 / ROWS as f64);
    let single: Vec<Vec<u8>> = rows.iter().map(|row| row.clone().into_bytes()).collect();
    let arrays: Vec<Vec<u8>> =
        rows.chunks(100).map(|rows| format!("[{}]", rows.join(",")).into_bytes()).collect();
    let lines: Vec<Vec<u8>> = rows.chunks(100).map(|rows| rows.join("\n").into_bytes()).collect();

    type Run<'a> = (&'a str, Box<dyn Fn() -> usize + 'a>);
    let runs: Vec<Run<'_>> = vec![
        ("decode, 1 row a frame", Box::new(|| ours(&single))),
        ("decode, 100 rows, array", Box::new(|| ours(&arrays))),
        ("decode, 100 rows, NDJSON", Box::new(|| ours(&lines))),
        (
            "arrow-json, 1 row a frame, price Decimal128",
            Box::new(|| theirs(&single, &DataType::Decimal128(18, 8))),
        ),
        (
            "arrow-json, 100 rows NDJSON, price Decimal128",
            Box::new(|| theirs(&lines, &DataType::Decimal128(18, 8))),
        ),
        ("arrow-json, 1 row a frame, price Utf8", Box::new(|| theirs(&single, &DataType::Utf8))),
        ("arrow-json, 100 rows NDJSON, price Utf8", Box::new(|| theirs(&lines, &DataType::Utf8))),
    ];
    let mut figures = vec![Vec::new(); runs.len()];
    for _ in 0..RUNS {
        for (figures, (_, run)) in figures.iter_mut().zip(&runs) {
            let start = Instant::now();
            assert_eq!(run(), ROWS);
            figures.push(ROWS as f64 / start.elapsed().as_secs_f64());
        }
    }
    for (mut figures, (name, _)) in figures.into_iter().zip(&runs) {
        figures.sort_by(f64::total_cmp);
        println!(
            "{name:48} median {:5.2} M rows/s ({:.2} to {:.2})",
            figures[RUNS / 2] / 1e6,
            figures[0] / 1e6,
            figures[RUNS - 1] / 1e6
        );
    }
}
