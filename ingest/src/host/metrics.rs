//! What a process that holds streams shows of them, in the text format of OpenMetrics.

use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

use polarway_common::namespace::split_stored;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::registry::{Registry, Unit};

use super::{Host, Open};
use crate::pull::StatusSnapshot;
use crate::socket::Closed;

impl Host {
    /// All metrics, each with its help and type; without the line that ends such a text.
    pub fn metrics(&self) -> String {
        let mut text = Text::default();
        self.senders(&mut text);
        let open = self.all();
        let gauge = |text: &mut Text, name: &str, help: &str, of: &dyn Fn(&Open) -> u64| {
            text.head(name, help, "gauge");
            for open in &open {
                text.value(name, &stream(open), of(open));
            }
        };
        gauge(&mut text, "polarway_stream_hot_rows", "Rows in memory.", &|open| open.live.view().hot.rows());
        gauge(&mut text, "polarway_stream_hot_bytes", "Bytes of rows in memory.", &|open| {
            open.live.hot_bytes() as u64
        });
        gauge(&mut text, "polarway_stream_log_bytes", "Bytes of the log on disk.", &|open| {
            open.live.log_bytes()
        });
        gauge(&mut text, "polarway_stream_sealed_rows", "Rows in files.", &|open| {
            open.live.view().manifest().rows()
        });
        gauge(&mut text, "polarway_stream_files", "Files of sealed rows.", &|open| {
            open.live.view().manifest().segments.len() as u64
        });
        gauge(
            &mut text,
            "polarway_stream_owed_logs",
            "Logs of earlier owners whose rows are not handed over.",
            &|open| open.live.owed() as u64,
        );
        gauge(&mut text, "polarway_stream_epoch", "How often the stream was claimed.", &|open| {
            open.live.epoch()
        });
        feeds(
            &mut text,
            &open.iter().filter_map(|open| Some((stream(open), open.feed_status()?))).collect::<Vec<_>>(),
        );
        text.0
    }

    fn senders(&self, text: &mut Text) {
        let socket = &self.options.socket;
        text.head("polarway_ingest_registered", "1 while the process may take rows.", "gauge");
        text.value("polarway_ingest_registered", "", u64::from(self.options.tenure.holds()));
        let taken_over = "polarway_ingest_streams_taken_over_total";
        text.head(taken_over, "Streams taken from processes that are gone.", "counter");
        text.value(taken_over, "", self.taken_over.load(Relaxed));
        text.head("polarway_ingest_connections", "WebSocket connections now.", "gauge");
        text.value("polarway_ingest_connections", "", socket.connections.load(Relaxed));
        for (name, help, counter) in [
            (
                "polarway_ingest_connections_total",
                "WebSocket connections since the start.",
                &socket.connections_total,
            ),
            (
                "polarway_ingest_refused_total",
                "Connections refused before they were upgraded.",
                &socket.refused,
            ),
            ("polarway_ingest_frames_total", "Frames of rows taken.", &socket.frames),
            ("polarway_ingest_bytes_total", "Bytes of frames taken.", &socket.bytes),
            ("polarway_ingest_rows_total", "Rows stored.", &socket.rows),
            ("polarway_ingest_bad_rows_total", "Rows refused.", &socket.bad_rows),
            ("polarway_ingest_acks_total", "Acknowledgements sent.", &socket.acks),
            (
                "polarway_ingest_blocked_microseconds_total",
                "Time in which senders were not read since a stream was behind.",
                &socket.blocked_micros,
            ),
        ] {
            text.head(name, help, "counter");
            text.value(name, "", counter.load(Relaxed));
        }
        let mut visible = Registry::default();
        visible.register_with_unit(
            "polarway_ingest_arrival_to_visible",
            "Time from a group of frames being read until queries see its rows",
            Unit::Seconds,
            socket.visible.clone(),
        );
        // Writing into a text does not fail.
        let _ = encode_registry(&mut text.0, &visible);
        text.head("polarway_ingest_closed_total", "Connections that ended, by reason.", "counter");
        for reason in Closed::ALL {
            let label = format!("{{reason=\"{}\"}}", reason.name());
            text.value("polarway_ingest_closed_total", &label, socket.closed(reason));
        }
    }
}

fn feeds(text: &mut Text, feeds: &[(String, StatusSnapshot)]) {
    let mut show = |name: &str, help: &str, kind: &str, of: fn(&StatusSnapshot) -> u64| {
        text.head(name, help, kind);
        for (label, status) in feeds {
            text.value(name, label, of(status));
        }
    };
    show("polarway_feed_connected", "1 while the feed is connected.", "gauge", |status| {
        u64::from(status.connected)
    });
    show("polarway_feed_dials_total", "Attempts to connect.", "counter", |status| status.dials);
    show("polarway_feed_messages_total", "Messages read.", "counter", |status| status.messages);
    show("polarway_feed_rows_total", "Rows read.", "counter", |status| status.rows);
    show("polarway_feed_bad_rows_total", "Rows refused.", "counter", |status| status.bad);
    show("polarway_feed_skipped_total", "Messages that the filter skipped.", "counter", |status| {
        status.skipped
    });
    show("polarway_feed_gaps_total", "Gaps found.", "counter", |status| status.gaps);
}

/// The labels of a stream: its name, and its namespace where that is not `default`.
fn stream(open: &Open) -> String {
    labels(&open.schema, &open.name)
}

/// Names are identifiers of SQL, which may hold anything.
fn labels(schema: &str, name: &str) -> String {
    let (namespace, schema) = split_stored(schema);
    let name = format!("{schema}.{name}");
    let escaped = name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let namespace = namespace.map(|namespace| format!(",namespace=\"{namespace}\"")).unwrap_or_default();
    format!("{{stream=\"{escaped}\"{namespace}}}")
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        // A counter is called without the ending that its samples have.
        let name = name.strip_suffix("_total").unwrap_or(name);
        // Writing into a text does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn value(&mut self, name: &str, label: &str, value: u64) {
        let _ = writeln!(self.0, "{name}{label} {value}");
    }
}

#[cfg(test)]
mod tests {
    use polarway_common::Namespace;

    use super::labels;

    #[test]
    fn row_47_a_stream_of_a_namespace_is_labelled_with_it() {
        assert_eq!(labels("public", "ticks"), r#"{stream="public.ticks"}"#);
        let stored = Namespace::parse("acme").unwrap().stored("public").unwrap();
        assert_eq!(labels(&stored, "a\"b"), r#"{stream="public.a\"b",namespace="acme"}"#);
    }
}
