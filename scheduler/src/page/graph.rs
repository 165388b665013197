//! The stages of a query as a drawing: each in the column before the first that it feeds, and a table that says the same.

use std::collections::BTreeMap;

use polarway_proto::progress::StageProgress;

use super::html::Html;
use super::units;

const WIDTH: u64 = 176;
const HEIGHT: u64 = 92;
const BETWEEN_COLUMNS: u64 = 48;
const BETWEEN_ROWS: u64 = 18;
const MARGIN: u64 = 4;
/// More boxes than this are no picture; the table has them all.
pub const MOST: usize = 120;

/// Where a stage stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    pub column: u64,
    pub row: u64,
}

/// Places by the ids of the stages.
///
/// The last stages stand in the last column, and each other one in the column before the first of those that it feeds. Ids
/// that are not there are passed over; a circle, which no graph of stages has, ends the search.
pub fn layout(stages: &[StageProgress]) -> BTreeMap<u64, Spot> {
    // How many columns come after a stage.
    let mut after: BTreeMap<u64, u64> = stages.iter().map(|stage| (stage.id, 0)).collect();
    for _ in 0..stages.len() {
        let mut moved = false;
        for stage in stages {
            let fed = stage.feeds.iter().filter_map(|fed| after.get(fed));
            let wanted = fed.map(|after| after + 1).max().unwrap_or(0).min(stages.len() as u64);
            if let Some(place) = after.get_mut(&stage.id)
                && *place < wanted
            {
                *place = wanted;
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    let last = after.values().copied().max().unwrap_or(0);
    let mut taken: BTreeMap<u64, u64> = BTreeMap::new();
    after
        .into_iter()
        .map(|(id, after)| {
            let column = last - after;
            let row = taken.entry(column).or_default();
            let spot = Spot { column, row: *row };
            *row += 1;
            (id, spot)
        })
        .collect()
}

fn left(spot: Spot) -> u64 {
    MARGIN + spot.column * (WIDTH + BETWEEN_COLUMNS)
}

fn top(spot: Spot) -> u64 {
    MARGIN + spot.row * (HEIGHT + BETWEEN_ROWS)
}

pub fn progress_of(stage: &StageProgress) -> (&'static str, &'static str) {
    match (stage.done, stage.running, stage.tasks) {
        (done, _, tasks) if tasks > 0 && done >= tasks => ("done", "stage ok"),
        (0, 0, _) => ("waiting", "stage wait"),
        (_, 0, _) => ("paused", "stage wait"),
        _ => ("running", "stage run"),
    }
}

/// From its first task's launch until its last ended, or until now.
pub fn took(stage: &StageProgress, until_ms: u64) -> Option<u64> {
    Some(stage.ended_ms.unwrap_or(until_ms).saturating_sub(stage.started_ms?))
}

pub fn render(stages: &[StageProgress], until_ms: u64) -> Html {
    let spots = layout(stages);
    let mut html = Html::default();
    let columns = spots.values().map(|spot| spot.column + 1).max().unwrap_or(0);
    let rows = spots.values().map(|spot| spot.row + 1).max().unwrap_or(0);
    let width = 2 * MARGIN + columns * WIDTH + columns.saturating_sub(1) * BETWEEN_COLUMNS;
    let height = 2 * MARGIN + rows * HEIGHT + rows.saturating_sub(1) * BETWEEN_ROWS;
    html.raw("<svg class=\"graph\" role=\"img\" aria-labelledby=\"graph-title graph-text\" width=\"")
        .text(width);
    html.raw("\" height=\"").text(height).raw("\" viewBox=\"0 0 ").text(width).raw(" ").text(height);
    html.raw("\"><title id=\"graph-title\">Stages</title><desc id=\"graph-text\">");
    html.text(format_args!("{} stages, ", stages.len()));
    let flows: Vec<String> = stages
        .iter()
        .flat_map(|stage| stage.feeds.iter().map(|fed| format!("{} feeds {fed}", stage.id)))
        .collect();
    html.text(if flows.is_empty() { "none feeds another".to_owned() } else { flows.join(", ") });
    html.raw(". The table below has their numbers.</desc>");
    for stage in stages {
        let Some(from) = spots.get(&stage.id) else { continue };
        for to in stage.feeds.iter().filter_map(|fed| spots.get(fed)) {
            edge(&mut html, *from, *to);
        }
    }
    for stage in stages {
        if let Some(spot) = spots.get(&stage.id) {
            node(&mut html, stage, *spot, until_ms);
        }
    }
    html.raw("</svg>");
    html
}

fn edge(html: &mut Html, from: Spot, to: Spot) {
    let (x1, y1) = (left(from) + WIDTH, top(from) + HEIGHT / 2);
    let (x2, y2) = (left(to), top(to) + HEIGHT / 2);
    let bend = BETWEEN_COLUMNS / 2;
    html.raw("<path class=\"edge\" d=\"M").text(format_args!(
        "{x1} {y1}C{} {y1} {} {y2} {x2} {y2}",
        x1 + bend,
        x2.saturating_sub(bend),
    ));
    html.raw("\"/>");
}

fn node(html: &mut Html, stage: &StageProgress, spot: Spot, until_ms: u64) {
    let (x, y) = (left(spot), top(spot));
    let (state, class) = progress_of(stage);
    html.raw("<g class=\"").raw(class).raw("\"><rect class=\"box\" x=\"").text(x).raw("\" y=\"").text(y);
    html.raw("\" width=\"").text(WIDTH).raw("\" height=\"").text(HEIGHT).raw("\" rx=\"6\"/>");
    let line = |html: &mut Html, class: &'static str, row: u64, text: String| {
        html.raw("<text class=\"").raw(class).raw("\" x=\"").text(x + 12).raw("\" y=\"").text(y + row);
        html.raw("\">").text(text).raw("</text>");
    };
    line(html, "name", 22, format!("Stage {}", stage.id));
    html.raw("<text class=\"how\" text-anchor=\"end\" x=\"").text(x + WIDTH - 12).raw("\" y=\"").text(y + 22);
    html.raw("\">").raw(state).raw("</text>");
    line(html, "fact", 42, format!("{} rows, {}", units::count(stage.rows), units::bytes(stage.bytes)));
    let time = took(stage, until_ms).map_or("not begun".to_owned(), units::millis);
    let spill = match stage.spilled_bytes {
        0 => String::new(),
        bytes => format!(", {} spilled", units::bytes(bytes)),
    };
    line(html, "fact", 58, format!("{time}{spill}"));
    let share = if stage.tasks == 0 { 0.0 } else { stage.done as f64 / stage.tasks as f64 };
    html.raw("<rect class=\"track\" x=\"").text(x + 12).raw("\" y=\"").text(y + 72).raw("\" width=\"");
    html.text(WIDTH - 24 - 56).raw("\" height=\"6\" rx=\"3\"/><rect class=\"part\" x=\"").text(x + 12);
    html.raw("\" y=\"").text(y + 72).raw("\" width=\"");
    html.text(format_args!("{:.1}", share.min(1.0) * (WIDTH - 24 - 56) as f64))
        .raw("\" height=\"6\" rx=\"3\"/>");
    html.raw("<text class=\"how\" text-anchor=\"end\" x=\"").text(x + WIDTH - 12).raw("\" y=\"").text(y + 79);
    html.raw("\">").text(format_args!("{}/{}", stage.done, stage.tasks)).raw("</text></g>");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(id: u64, feeds: &[u64]) -> StageProgress {
        StageProgress { id, feeds: feeds.to_vec(), tasks: 4, done: 2, running: 1, ..StageProgress::default() }
    }

    #[test]
    fn row_49_a_stage_stands_before_those_that_it_feeds() {
        let spots = layout(&[stage(1, &[3]), stage(2, &[3]), stage(3, &[4]), stage(4, &[]), stage(5, &[4])]);
        let columns: Vec<_> = spots.iter().map(|(id, spot)| (*id, spot.column, spot.row)).collect();
        assert_eq!(columns, [(1, 0, 0), (2, 0, 1), (3, 1, 0), (4, 2, 0), (5, 1, 1)]);
        // Ids that are not there and circles do no harm.
        assert_eq!(layout(&[stage(1, &[9]), stage(2, &[2])]).len(), 2);
        assert_eq!(layout(&[stage(1, &[2]), stage(2, &[1])]).len(), 2);
        assert!(layout(&[]).is_empty());
    }

    #[test]
    fn row_49_the_drawing_says_what_it_shows_in_words_too() {
        let mut first = stage(1, &[2]);
        (first.rows, first.bytes, first.spilled_bytes) = (12_345, 1 << 20, 3 << 20);
        (first.started_ms, first.ended_ms) = (Some(1000), Some(2500));
        let html = render(&[first, stage(2, &[])], 9000).into_string();
        assert!(html.contains("2 stages, 1 feeds 2") && html.contains("role=\"img\""));
        assert!(html.contains("12\u{202f}345 rows, 1.0 MiB") && html.contains("1.5 s, 3.0 MiB spilled"));
        assert!(html.contains("not begun") && html.contains("2/4"));
        assert!(!html.contains("style="), "the policy forbids it");
    }
}
