//! Streams as they are at this moment.

use polarway_engine::live::Held;

use super::cluster::none;
use super::facts::{Stream, Streams};
use super::html::Html;
use super::units;

pub fn render(streams: &Streams, now_ms: u64) -> Html {
    let mut html = Html::default();
    html.raw("<h1>Streams</h1><section data-live=\"streams\">");
    match streams {
        Streams::NotOffered => {
            html.raw("<p class=\"empty\">This server takes no rows of streams.</p>");
        }
        Streams::Unknown(cause) => {
            html.raw("<p class=\"fault\">The streams cannot be told: ").text(cause).raw("</p>");
        }
        Streams::Known(streams) if streams.is_empty() => {
            html.raw("<p class=\"empty\">There are no streams. <code>CREATE STREAM</code> makes one.</p>");
        }
        Streams::Known(streams) => table(&mut html, streams, now_ms),
    }
    html.raw("</section>");
    html
}

fn table(html: &mut Html, streams: &[Stream], now_ms: u64) {
    html.raw("<p class=\"note\">Rates are those of the last ten seconds. Lag is the age of the latest event time, where rows have one.</p>");
    html.raw("<div class=\"wide\" role=\"region\" aria-label=\"Streams\" tabindex=\"0\"><table>");
    html.raw("<caption class=\"quiet\">Streams and what they hold</caption><thead><tr><th scope=\"col\">Stream</th>");
    for name in NUMBERS {
        html.raw("<th scope=\"col\" class=\"n\">").raw(name).raw("</th>");
    }
    html.raw("<th scope=\"col\">Feed</th><th scope=\"col\">Owner</th></tr></thead><tbody>");
    for stream in streams {
        row(html, stream, now_ms);
    }
    html.raw("</tbody></table></div>");
}

const NUMBERS: [&str; 9] =
    ["Rows/s", "Last row", "Lag", "Gaps", "Dead letters", "Rows so far", "Memory", "Log", "Files"];

fn row(html: &mut Html, stream: &Stream, now_ms: u64) {
    html.raw("<tr><th scope=\"row\">");
    match stream.name.split_once('.') {
        Some((schema, name)) => html.text(schema).raw(".<wbr>").text(name),
        None => html.text(&stream.name),
    };
    html.raw("</th>");
    match &stream.held {
        Some(held) => numbers(html, stream, held, now_ms),
        None => {
            html.raw("<td class=\"n\"><span class=\"state bad\">no answer</span></td>");
            for _ in 1..NUMBERS.len() {
                html.raw("<td class=\"n\">");
                none(html);
                html.raw("</td>");
            }
        }
    }
    html.raw("<td>");
    let state = stream.held.as_ref().and_then(|held| held.feed.as_deref());
    match &stream.source {
        Some(source) => {
            let state = state.unwrap_or("unknown");
            html.raw("<span class=\"state ").raw(if state == "connected" { "ok" } else { "bad" });
            html.raw("\">")
                .text(state)
                .raw("</span><span class=\"dim long\" title=\"")
                .text(source)
                .raw("\">")
                .text(source)
                .raw("</span>");
        }
        None => {
            html.raw("<span class=\"dim\">pushed</span>");
        }
    }
    html.raw("</td><td>");
    match &stream.owner {
        Some(owner) => {
            html.raw("<span class=\"long\" title=\"").text(owner).raw("\">").text(owner).raw("</span>");
        }
        None => {
            html.raw("<span class=\"state wait\">nobody</span>");
        }
    }
    html.raw("</td></tr>");
}

fn numbers(html: &mut Html, stream: &Stream, held: &Held, now_ms: u64) {
    html.raw("<td class=\"n\"><b>").text(units::rate(held.recent_rows, held.recent_ms));
    html.raw("</b></td><td class=\"n\">");
    match held.idle_ms {
        Some(idle) => {
            html.text(units::millis(idle)).raw(" ago");
        }
        None => none(html),
    }
    html.raw("</td><td class=\"n\">");
    match held.latest_event_ms {
        Some(latest) => {
            // Senders' clocks may be ahead.
            let lag = i64::try_from(now_ms).unwrap_or(i64::MAX).saturating_sub(latest).max(0);
            html.text(units::millis(lag.unsigned_abs()));
        }
        None => none(html),
    }
    html.raw("</td><td class=\"n\">");
    match (&stream.source, stream.gaps) {
        (Some(_), Some(gaps)) => bad_if_any(html, gaps),
        _ => none(html),
    }
    html.raw("</td><td class=\"n\">");
    match stream.dead_letters {
        Some(letters) => bad_if_any(html, letters),
        None => none(html),
    }
    html.raw("</td><td class=\"n\">").text(units::count(held.end)).raw("</td><td class=\"n\">");
    html.text(units::bytes(held.hot_bytes)).raw("</td><td class=\"n\">");
    html.text(units::bytes(held.log_bytes)).raw("</td><td class=\"n\">");
    html.text(units::bytes(held.sealed_bytes)).raw("<span class=\"dim\"> in ").text(units::count(held.files));
    html.raw("</span></td>");
}

fn bad_if_any(html: &mut Html, count: u64) {
    if count > 0 {
        html.raw("<span class=\"state bad\">").text(units::count(count)).raw("</span>");
    } else {
        html.raw("0");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_49_a_stream_is_shown_with_its_rate_lag_gaps_and_dead_letters() {
        let held = Held {
            recent_rows: 1234,
            recent_ms: 10_000,
            idle_ms: Some(40),
            latest_event_ms: Some(58_000),
            end: 5000,
            feed: Some("connected".to_owned()),
            files: 1,
            ..Held::default()
        };
        let stream = Stream {
            name: "public.<ticks>".to_owned(),
            owner: Some("ingest-0".to_owned()),
            held: Some(held),
            source: Some("wss://feeds.example/v1".to_owned()),
            dead_letters: Some(3),
            gaps: Some(0),
        };
        let silent = Stream { held: None, source: None, ..stream.clone() };
        let html = render(&Streams::Known(vec![stream, silent]), 60_500).into_string();
        assert!(html.contains("public.<wbr>&lt;ticks&gt;") && html.contains("<b>123</b>"));
        assert!(html.contains("40 ms ago") && html.contains("<td class=\"n\">2.5 s</td>"));
        assert!(html.contains("state bad\">3</span>") && html.contains("<td class=\"n\">0</td>"));
        assert!(html.contains("state ok\">connected</span>") && html.contains("no answer"));
    }
}
