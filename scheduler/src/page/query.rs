//! One query: how it goes, its stages, who works for it, what was asked and how that is done.

use std::collections::BTreeSet;

use polarway_proto::progress::StageProgress;

use super::cluster::none;
use super::graph;
use super::html::Html;
use super::queries::{cancel, is_running, state, time};
use super::units;
use crate::history::QueryRecord;
use crate::queries::Plans;

pub struct Query<'a> {
    pub record: &'a QueryRecord,
    pub plans: &'a Plans,
    /// Whether somebody has just asked for its end.
    pub asked_to_cancel: bool,
    pub now_ms: u64,
}

pub fn render(query: &Query<'_>) -> Html {
    let Query { record, plans, now_ms, .. } = query;
    let mut html = Html::default();
    html.raw("<h1>Query <span class=\"code\">").text(&record.id).raw("</span></h1>");
    html.raw("<section data-live=\"facts\" aria-label=\"Facts\">");
    facts(&mut html, query);
    html.raw("</section><section><h2>Statement</h2><pre class=\"sql\" tabindex=\"0\" role=\"region\" aria-label=\"Statement\"><code>");
    html.text(&record.sql).raw("</code></pre>");
    if record.is_shortened() {
        html.raw("<p class=\"note\">Its beginning; it has ")
            .text(units::bytes(record.sql_bytes))
            .raw(".</p>");
    }
    html.raw("</section>");
    let until = record.started_ms + record.elapsed_ms;
    let until = if is_running(&record.state) { *now_ms } else { until };
    if record.route == "staged" {
        html.raw("<section data-live=\"stages\"><h2>Stages</h2>");
        stages(&mut html, record, until);
        html.raw("</section><section data-live=\"tasks\"><h2>Tasks by executor</h2>");
        tasks(&mut html, &record.stages);
        html.raw("</section>");
    }
    html.raw("<section data-live=\"plan\"><h2>Plan</h2>");
    self::plans(&mut html, plans);
    html.raw("</section>");
    html
}

fn fact(html: &mut Html, name: &'static str, value: impl FnOnce(&mut Html)) {
    html.raw("<div><dt>").raw(name).raw("</dt><dd>");
    value(html);
    html.raw("</dd></div>");
}

fn facts(html: &mut Html, query: &Query<'_>) {
    let record = query.record;
    html.raw("<div class=\"head\"><p>");
    state(html, &record.state);
    html.raw("</p>");
    if is_running(&record.state) {
        if query.asked_to_cancel {
            html.raw("<p class=\"note\" role=\"status\">It was asked to stop.</p>");
        }
        cancel(html, &record.id);
    }
    html.raw("</div>");
    if let Some(error) = &record.error {
        html.raw("<p class=\"fault\"><strong>")
            .text(&error.code)
            .raw("</strong> ")
            .text(&error.message)
            .raw("</p>");
    }
    html.raw("<dl class=\"facts\">");
    fact(html, "Time", |html| {
        html.raw("<b>").text(units::millis(record.elapsed_ms)).raw("</b>");
    });
    fact(html, "Waited for its turn", |html| {
        html.text(units::millis(record.waited_ms));
    });
    fact(html, "Rows", |html| {
        html.raw("<b>").text(units::count(record.rows)).raw("</b>");
    });
    fact(html, "Bytes", |html| {
        html.text(units::bytes(record.bytes));
    });
    if record.route == "staged" {
        let spilled: u64 = record.stages.iter().map(|stage| stage.spilled_bytes).sum();
        fact(html, "Spilled", |html| {
            html.text(units::bytes(spilled));
        });
    }
    fact(html, "Started", |html| time(html, record.started_ms));
    if !record.scheduler.is_empty() {
        fact(html, "Scheduler", |html| {
            html.text(&record.scheduler);
        });
    }
    fact(html, "Attempt", |html| {
        html.text(record.attempt);
    });
    fact(html, "Route", |html| {
        html.text(&record.route);
        if !record.reason.is_empty() {
            html.raw(" <span class=\"dim\">").text(&record.reason).raw("</span>");
        }
    });
    html.raw("</dl>");
}

fn stages(html: &mut Html, record: &QueryRecord, until_ms: u64) {
    let stages = record.stages.as_slice();
    if stages.is_empty() {
        html.raw(if is_running(&record.state) {
            "<p class=\"empty\">No stage has begun.</p>"
        } else {
            "<p class=\"empty\">No stage is kept of it.</p>"
        });
        return;
    }
    if stages.len() <= graph::MOST {
        html.raw("<div class=\"wide drawing\" role=\"region\" aria-label=\"Drawing of the stages\" tabindex=\"0\">");
        html.html(&graph::render(stages, until_ms)).raw("</div>");
    }
    html.raw("<p class=\"note\">Rows and bytes are what a stage put out; computing is added up over its tasks.</p>");
    html.raw("<div class=\"wide\" role=\"region\" aria-label=\"Stages\" tabindex=\"0\"><table>");
    html.raw("<caption class=\"quiet\">Stages and what they did</caption>");
    html.raw(
        "<thead><tr><th scope=\"col\">Stage</th><th scope=\"col\">State</th><th scope=\"col\">Feeds</th>",
    );
    html.raw("<th scope=\"col\" class=\"n\">Tasks</th><th scope=\"col\" class=\"n\">Rows</th>");
    html.raw("<th scope=\"col\" class=\"n\">Bytes</th><th scope=\"col\" class=\"n\">Time</th>");
    html.raw("<th scope=\"col\" class=\"n\">Computing</th><th scope=\"col\" class=\"n\">Spilled</th></tr></thead><tbody>");
    for stage in stages {
        let (state, _) = graph::progress_of(stage);
        html.raw("<tr><th scope=\"row\">").text(stage.id).raw("</th><td>").raw(state).raw("</td><td>");
        match stage.feeds.as_slice() {
            [] => {
                html.raw("the result");
            }
            feeds => {
                html.text(feeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", "));
            }
        }
        html.raw("</td><td class=\"n\">").text(format_args!("{} / {}", stage.done, stage.tasks));
        html.raw("</td><td class=\"n\">").text(units::count(stage.rows)).raw("</td><td class=\"n\">");
        html.text(units::bytes(stage.bytes)).raw("</td><td class=\"n\">");
        match graph::took(stage, until_ms) {
            Some(took) => {
                html.text(units::millis(took));
            }
            None => none(html),
        }
        html.raw("</td><td class=\"n\">").text(units::millis(stage.compute_ms)).raw("</td><td class=\"n\">");
        html.text(units::bytes(stage.spilled_bytes)).raw("</td></tr>");
    }
    html.raw("</tbody></table></div>");
}

fn tasks(html: &mut Html, stages: &[StageProgress]) {
    let executors: BTreeSet<&String> =
        stages.iter().flat_map(|stage| stage.executors.keys().chain(stage.running_on.keys())).collect();
    if executors.is_empty() {
        html.raw("<p class=\"empty\">No executor has had a task.</p>");
        return;
    }
    html.raw("<div class=\"wide\" role=\"region\" aria-label=\"Tasks by executor\" tabindex=\"0\"><table>");
    html.raw("<caption class=\"quiet\">Tasks that ended well, and after a plus those that run</caption><thead><tr><th scope=\"col\">Executor</th>");
    for stage in stages {
        html.raw("<th scope=\"col\" class=\"n\">Stage ").text(stage.id).raw("</th>");
    }
    html.raw("<th scope=\"col\" class=\"n\">All</th></tr></thead><tbody>");
    for executor in executors {
        html.raw("<tr><th scope=\"row\" class=\"code\">").text(executor).raw("</th>");
        let mut all = 0;
        for stage in stages {
            let done = stage.executors.get(executor).copied().unwrap_or(0);
            let running = stage.running_on.get(executor).copied().unwrap_or(0);
            all += done;
            html.raw("<td class=\"n\">");
            match (done, running) {
                (0, 0) => none(html),
                (done, 0) => {
                    html.text(done);
                }
                (done, running) => {
                    html.text(done).raw(" <span class=\"dim\">+ ").text(running).raw("</span>");
                }
            }
            html.raw("</td>");
        }
        html.raw("<td class=\"n\"><b>").text(all).raw("</b></td></tr>");
    }
    html.raw("</tbody></table></div>");
}

fn plans(html: &mut Html, plans: &Plans) {
    if plans.whole.is_none() && plans.stages.is_empty() {
        html.raw("<p class=\"empty\">No plan is kept of it.</p>");
        return;
    }
    if let Some(whole) = &plans.whole {
        let open = plans.stages.is_empty();
        html.raw(if open { "<details id=\"plan-0\" open>" } else { "<details id=\"plan-0\">" });
        html.raw("<summary>For one process, before it runs</summary><pre tabindex=\"0\" role=\"region\" aria-label=\"Plan for one process\"><code>");
        html.text(whole).raw("</code></pre></details>");
    }
    for (id, plan) in plans.stages.iter() {
        html.raw("<details id=\"plan-").text(id).raw("\"><summary>Stage ").text(id);
        html.raw(", with what its operators measured</summary><pre tabindex=\"0\" role=\"region\" aria-label=\"Plan of stage ");
        html.text(id).raw("\"><code>").text(plan).raw("</code></pre></details>");
    }
}

/// Nothing is known of the query.
pub fn unknown(id: &str) -> Html {
    let mut html = Html::default();
    html.raw("<h1>Query not found</h1><p class=\"empty\">This scheduler has no query <span class=\"code\">")
        .text(id);
    html.raw(
        "</span>: another one may have it, or it ended long ago. <a href=\"/queries\">All queries</a></p>",
    );
    html
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use polarway_proto::progress::QueryState;

    use super::*;
    use crate::history::RecordedError;

    #[test]
    fn row_49_a_query_is_shown_with_its_stages_tasks_plan_and_error() {
        let stage = StageProgress {
            id: 1,
            tasks: 3,
            done: 2,
            running: 1,
            executors: BTreeMap::from([("executor-<1>".to_owned(), 2)]),
            running_on: BTreeMap::from([("executor-2".to_owned(), 1)]),
            spilled_bytes: 2048,
            ..StageProgress::default()
        };
        let record = QueryRecord {
            id: "q-1".to_owned(),
            user: String::new(),
            scheduler: "scheduler-1".to_owned(),
            sql: "select '</pre><script>alert(1)</script>'".to_owned(),
            sql_bytes: 1 << 20,
            route: "staged".to_owned(),
            reason: "20 files".to_owned(),
            state: QueryState::Failed,
            attempt: 2,
            started_ms: 0,
            waited_ms: 20,
            elapsed_ms: 4200,
            rows: 7,
            bytes: 900,
            error: Some(RecordedError { code: "EXECUTION".to_owned(), message: "<i>zero</i>".to_owned() }),
            stages: vec![stage],
        };
        let plans = Plans {
            whole: Some("FilterExec: a < 5".into()),
            stages: Arc::new(vec![(1, "ShuffleWriterExec".to_owned())]),
        };
        let query = Query { record: &record, plans: &plans, asked_to_cancel: true, now_ms: 0 };
        let html = render(&query).into_string();
        assert!(!html.contains("<script>") && !html.contains("<i>") && !html.contains("executor-<1>"));
        assert!(html.contains("&lt;/pre&gt;&lt;script&gt;") && html.contains("<strong>EXECUTION</strong>"));
        assert!(html.contains("Its beginning; it has 1.0 MiB") && html.contains("FilterExec: a &lt; 5"));
        assert!(html.contains("<dt>Spilled</dt><dd>2.0 KiB</dd>") && html.contains("+ 1</span>"));
        assert!(html.contains("<svg class=\"graph\"") && html.contains("id=\"plan-1\""));
        assert!(html.contains("<dt>Scheduler</dt><dd>scheduler-1</dd>"));
        // What has ended is not cancelled.
        assert!(!html.contains("<form"));
        let running = QueryRecord { state: QueryState::Running, ..record.clone() };
        let html = render(&Query { record: &running, ..query }).into_string();
        assert!(html.contains("action=\"/queries/q-1/cancel\"") && html.contains("asked to stop"));
        // As much as the history has of one that ran long ago.
        let old = QueryRecord { stages: vec![], ..record.clone() };
        let html = render(&Query { record: &old, plans: &Plans::default(), ..query }).into_string();
        assert!(html.contains("No stage is kept of it.") && html.contains("No plan is kept of it."));
    }
}
