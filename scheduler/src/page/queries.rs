//! The queries that run and those that ended, searched and sorted by the server: the address says what is shown.

use polarway_proto::progress::QueryState;
use serde::Deserialize;

use super::html::{Html, in_address};
use super::units;
use crate::history::QueryRecord;

/// Rows of a page.
const PAGE: usize = 100;
/// Characters of a statement in a list.
const STATEMENT: usize = 160;

/// What an address asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// Text in a statement, an id or an error.
    pub q: String,
    /// Name of a state; anything else is all of them.
    pub state: String,
    pub sort: Sort,
    pub order: Order,
    /// Counts from one.
    pub page: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum Sort {
    #[default]
    Started,
    Time,
    Rows,
    Bytes,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum Order {
    #[default]
    Descending,
    Ascending,
}

impl From<String> for Sort {
    fn from(name: String) -> Self {
        SORTS.into_iter().find(|sort| sort.name() == name).unwrap_or_default()
    }
}

impl From<String> for Order {
    fn from(name: String) -> Self {
        if name == "asc" { Order::Ascending } else { Order::Descending }
    }
}

const SORTS: [Sort; 4] = [Sort::Started, Sort::Time, Sort::Rows, Sort::Bytes];

impl Sort {
    fn name(self) -> &'static str {
        match self {
            Sort::Started => "started",
            Sort::Time => "time",
            Sort::Rows => "rows",
            Sort::Bytes => "bytes",
        }
    }

    fn key(self, record: &QueryRecord) -> u64 {
        match self {
            Sort::Started => record.started_ms,
            Sort::Time => record.elapsed_ms,
            Sort::Rows => record.rows,
            Sort::Bytes => record.bytes,
        }
    }
}

const STATES: [QueryState; 5] = [
    QueryState::Queued,
    QueryState::Running,
    QueryState::Finished,
    QueryState::Failed,
    QueryState::Cancelled,
];

pub fn name_of(state: &QueryState) -> &'static str {
    match state {
        QueryState::Queued => "queued",
        QueryState::Running => "running",
        QueryState::Finished => "finished",
        QueryState::Failed => "failed",
        QueryState::Cancelled => "cancelled",
    }
}

pub fn is_running(state: &QueryState) -> bool {
    matches!(state, QueryState::Queued | QueryState::Running)
}

/// What of all queries is shown.
#[derive(Debug)]
pub struct Found {
    pub records: Vec<QueryRecord>,
    pub matching: usize,
    /// Counts from one.
    pub page: usize,
    pub pages: usize,
}

/// Those that are asked for, in the order that is asked for.
pub fn find(records: Vec<QueryRecord>, asked: &Asked) -> Found {
    let wanted = asked.q.trim().to_lowercase();
    let state = STATES.iter().find(|state| name_of(state) == asked.state);
    let has = |text: &str| text.to_lowercase().contains(&wanted);
    let mut records = records;
    records.retain(|record| {
        state.is_none_or(|state| record.state == *state)
            && (wanted.is_empty()
                || has(&record.sql)
                || has(&record.id)
                || record.error.as_ref().is_some_and(|error| has(&error.code) || has(&error.message)))
    });
    match asked.order {
        Order::Descending => records.sort_by_key(|record| std::cmp::Reverse(asked.sort.key(record))),
        Order::Ascending => records.sort_by_key(|record| asked.sort.key(record)),
    }
    let matching = records.len();
    let pages = matching.div_ceil(PAGE).max(1);
    let page = asked.page.clamp(1, pages);
    let records = records.into_iter().skip((page - 1) * PAGE).take(PAGE).collect();
    Found { records, matching, page, pages }
}

/// Where schedulers other than this one show theirs: name and address.
pub type Others = Vec<(String, String)>;

pub fn render(found: &Found, asked: &Asked, all: usize, others: &Others) -> Html {
    let mut html = Html::default();
    html.raw("<h1>Queries</h1>");
    search(&mut html, asked);
    html.raw("<section data-live=\"queries\" aria-label=\"Queries\"><p class=\"note\">");
    html.text(units::count(found.matching as u64)).raw(" of ").text(units::count(all as u64));
    html.raw(" queries: those that run on this scheduler, and the last that ended, on whichever one.");
    if !others.is_empty() {
        html.raw(" What runs elsewhere is shown there: ");
        for (place, (name, address)) in others.iter().enumerate() {
            html.raw(if place > 0 { ", <a href=\"//" } else { "<a href=\"//" });
            html.text(address).raw("/queries\">").text(name).raw("</a>");
        }
        html.raw(".");
    }
    html.raw("</p>");
    if found.records.is_empty() {
        html.raw("<p class=\"empty\">").raw(if all == 0 {
            "No query has run yet."
        } else {
            "No query matches."
        });
        html.raw("</p>");
    } else {
        html.html(&table(&found.records, "Running and ended queries", Some(asked)));
    }
    pages(&mut html, found, asked);
    html.raw("</section>");
    html
}

fn search(html: &mut Html, asked: &Asked) {
    html.raw("<form class=\"search\" role=\"search\" action=\"/queries\" method=\"get\">");
    html.raw("<label for=\"q\">Search</label><input id=\"q\" name=\"q\" type=\"search\" autocomplete=\"off\" spellcheck=\"false\" placeholder=\"statement, id or error\" value=\"");
    html.text(&asked.q).raw("\"><label for=\"state\">State</label><select id=\"state\" name=\"state\">");
    html.raw("<option value=\"\">all</option>");
    for state in &STATES {
        let name = name_of(state);
        html.raw("<option");
        if name == asked.state {
            html.raw(" selected");
        }
        html.raw(">").raw(name).raw("</option>");
    }
    html.raw("</select>");
    if asked.sort != Sort::default() {
        html.raw("<input type=\"hidden\" name=\"sort\" value=\"").raw(asked.sort.name()).raw("\">");
    }
    if asked.order == Order::Ascending {
        html.raw("<input type=\"hidden\" name=\"order\" value=\"asc\">");
    }
    html.raw("<button>Show</button></form>");
}

/// The address of this list, sorted or at a page otherwise.
fn address(asked: &Asked, sort: Sort, order: Order, page: usize) -> String {
    let mut parts = vec![];
    if !asked.q.is_empty() {
        parts.push(format!("q={}", in_address(&asked.q)));
    }
    if !asked.state.is_empty() {
        parts.push(format!("state={}", in_address(&asked.state)));
    }
    if sort != Sort::default() {
        parts.push(format!("sort={}", sort.name()));
    }
    if order == Order::Ascending {
        parts.push("order=asc".to_owned());
    }
    if page > 1 {
        parts.push(format!("page={page}"));
    }
    if parts.is_empty() { "/queries".to_owned() } else { format!("/queries?{}", parts.join("&")) }
}

/// Sorting is offered where it is known what is shown.
pub fn table(records: &[QueryRecord], caption: &'static str, asked: Option<&Asked>) -> Html {
    let mut html = Html::default();
    let several = records.windows(2).any(|two| two[0].scheduler != two[1].scheduler);
    html.raw("<div class=\"wide\" role=\"region\" aria-label=\"")
        .raw(caption)
        .raw("\" tabindex=\"0\"><table class=\"queries\">");
    html.raw("<caption class=\"quiet\">")
        .raw(caption)
        .raw("</caption><thead><tr><th scope=\"col\">State</th>");
    heading(&mut html, "Started", Sort::Started, false, asked);
    html.raw("<th scope=\"col\">Statement</th><th scope=\"col\">Route</th>");
    heading(&mut html, "Rows", Sort::Rows, true, asked);
    heading(&mut html, "Bytes", Sort::Bytes, true, asked);
    heading(&mut html, "Time", Sort::Time, true, asked);
    // After those that the style sheet counts.
    if several {
        html.raw("<th scope=\"col\">Scheduler</th>");
    }
    html.raw("<th scope=\"col\"><span class=\"quiet\">Cancel</span></th></tr></thead><tbody>");
    for record in records {
        row(&mut html, record, several);
    }
    html.raw("</tbody></table></div>");
    html
}

fn heading(html: &mut Html, name: &'static str, sort: Sort, number: bool, asked: Option<&Asked>) {
    html.raw("<th scope=\"col\"");
    if number {
        html.raw(" class=\"n\"");
    }
    let Some(asked) = asked else {
        html.raw(">").raw(name).raw("</th>");
        return;
    };
    let mut order = Order::Descending;
    if asked.sort == sort {
        html.raw(match asked.order {
            Order::Descending => " aria-sort=\"descending\"",
            Order::Ascending => " aria-sort=\"ascending\"",
        });
        if asked.order == Order::Descending {
            order = Order::Ascending;
        }
    }
    html.raw("><a href=\"").text(address(asked, sort, order, 1)).raw("\">").raw(name).raw("</a></th>");
}

pub fn state(html: &mut Html, state: &QueryState) {
    html.raw(match state {
        QueryState::Queued => "<span class=\"state wait\">queued</span>",
        QueryState::Running => "<span class=\"state run\">running</span>",
        QueryState::Finished => "<span class=\"state ok\">finished</span>",
        QueryState::Failed => "<span class=\"state bad\">failed</span>",
        QueryState::Cancelled => "<span class=\"state off\">cancelled</span>",
    });
}

pub fn time(html: &mut Html, unix_ms: u64) {
    let (exact, shown) = units::moment(unix_ms);
    html.raw("<time datetime=\"").text(exact).raw("\">").text(shown).raw("</time>");
}

/// Which scheduler had it is told where it is not the same for all.
fn row(html: &mut Html, record: &QueryRecord, with_scheduler: bool) {
    html.raw("<tr><td>");
    state(html, &record.state);
    html.raw("</td><td>");
    time(html, record.started_ms);
    html.raw("</td><th scope=\"row\" class=\"statement\">");
    if let Some(error) = &record.error {
        html.raw("<span class=\"why\">").text(&error.code).raw("</span>");
    }
    html.raw("<a class=\"code\" href=\"/queries/").text(in_address(&record.id)).raw("\">");
    let line = units::one_line(&record.sql, STATEMENT);
    html.text(if line.is_empty() { record.id.as_str() } else { &line }).raw("</a>");
    html.raw("</th><td>").text(&record.route).raw("</td><td class=\"n\">").text(units::count(record.rows));
    html.raw("</td><td class=\"n\">").text(units::bytes(record.bytes)).raw("</td><td class=\"n\">");
    html.text(units::millis(record.elapsed_ms)).raw("</td><td>");
    if with_scheduler {
        html.text(&record.scheduler).raw("</td><td>");
    }
    if is_running(&record.state) {
        cancel(html, &record.id);
    }
    html.raw("</td></tr>");
}

/// A form, so that it works as it stands.
pub fn cancel(html: &mut Html, id: &str) {
    html.raw("<form class=\"cancel\" method=\"post\" action=\"/queries/").text(in_address(id));
    html.raw("/cancel\"><button class=\"danger\">Cancel<span class=\"quiet\"> query ")
        .text(id)
        .raw("</span></button></form>");
}

fn pages(html: &mut Html, found: &Found, asked: &Asked) {
    if found.pages < 2 {
        return;
    }
    let link = |html: &mut Html, page: usize, name: &'static str, rel: &'static str| {
        html.raw("<a rel=\"").raw(rel).raw("\" href=\"").text(address(asked, asked.sort, asked.order, page));
        html.raw("\">").raw(name).raw("</a>");
    };
    html.raw("<nav class=\"pages\" aria-label=\"Pages of the list\">");
    if found.page > 1 {
        link(html, found.page - 1, "Newer", "prev");
    }
    html.raw("<span>Page ").text(found.page).raw(" of ").text(found.pages).raw("</span>");
    if found.page < found.pages {
        link(html, found.page + 1, "Older", "next");
    }
    html.raw("</nav>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::RecordedError;

    fn record(number: u64, sql: &str, state: QueryState) -> QueryRecord {
        QueryRecord {
            id: format!("q-{number}"),
            user: String::new(),
            scheduler: "scheduler-0".to_owned(),
            sql: sql.to_owned(),
            sql_bytes: sql.len() as u64,
            route: "direct".to_owned(),
            reason: String::new(),
            state,
            attempt: 1,
            started_ms: number,
            waited_ms: 0,
            elapsed_ms: 1000 - number,
            rows: number,
            bytes: 0,
            error: None,
            stages: vec![],
        }
    }

    fn asked(address: &str) -> Asked {
        let url = url::Url::parse(&format!("http://x{address}")).unwrap();
        let pairs: serde_json::Map<String, serde_json::Value> = url
            .query_pairs()
            .map(|(name, value)| {
                let value =
                    if name == "page" { value.parse::<usize>().unwrap().into() } else { value.into() };
                (name.into_owned(), value)
            })
            .collect();
        serde_json::from_value(pairs.into()).unwrap()
    }

    #[test]
    fn row_49_queries_are_found_sorted_and_paged() {
        let mut records: Vec<_> = (0..250).map(|n| record(n, "select 1", QueryState::Finished)).collect();
        records.push(QueryRecord {
            error: Some(RecordedError { code: "OUT_OF_MEMORY".to_owned(), message: String::new() }),
            ..record(900, "SELECT * FROM Orders", QueryState::Failed)
        });
        let ids = |asked: &Asked| {
            let found = find(records.clone(), asked);
            (
                found.matching,
                found.pages,
                found.records.iter().map(|record| record.id.clone()).collect::<Vec<_>>(),
            )
        };
        let (matching, pages, first) = ids(&Asked::default());
        assert_eq!((matching, pages, first.len(), first[0].as_str()), (251, 3, 100, "q-900"));
        let (_, _, last) = ids(&asked("/queries?sort=time&order=asc&page=99"));
        assert_eq!((last.len(), last[50].as_str()), (51, "q-0"));
        assert_eq!(ids(&asked("/queries?q=orders")).2, ["q-900"]);
        assert_eq!(ids(&asked("/queries?q=out_of")).2, ["q-900"]);
        assert_eq!(ids(&asked("/queries?state=failed")).2, ["q-900"]);
        assert_eq!(ids(&asked("/queries?state=nonsense&sort=nonsense")).0, 251);
        assert_eq!(ids(&asked("/queries?state=queued")).0, 0);
        let all = asked("/queries?q=a%20%26b&state=failed&sort=rows&order=asc&page=2");
        assert_eq!(
            address(&all, Sort::Rows, Order::Ascending, 2),
            "/queries?q=a%20%26b&state=failed&sort=rows&order=asc&page=2"
        );
    }

    #[test]
    fn row_48_queries_of_several_schedulers_are_told_apart() {
        let elsewhere = QueryRecord {
            scheduler: "scheduler-<1>".to_owned(),
            ..record(2, "select 2", QueryState::Finished)
        };
        let records = [record(1, "select 1", QueryState::Finished), elsewhere];
        let html = table(&records, "Queries", None).into_string();
        assert!(html.contains(">Scheduler<") && html.contains("<td>scheduler-0</td>"));
        assert!(html.contains("scheduler-&lt;1&gt;") && !html.contains("<1>"));
    }

    #[test]
    fn row_49_a_statement_is_text_and_only_what_runs_can_be_cancelled() {
        let records = vec![
            record(
                1,
                "select '<script>alert(1)</script>', \"><img src=x onerror=alert(1)>",
                QueryState::Running,
            ),
            record(2, "", QueryState::Finished),
        ];
        let asked = Asked { q: "\"><script>".to_owned(), ..Asked::default() };
        let found = find(records, &Asked::default());
        let others = vec![("scheduler-<b>".to_owned(), "there:8080".to_owned())];
        let html = render(&found, &asked, 2, &others).into_string();
        assert!(!html.contains("<script>") && !html.contains("<img") && !html.contains("<b>"));
        assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert_eq!(html.matches("method=\"post\"").count(), 1);
        assert!(html.contains("action=\"/queries/q-1/cancel\"") && html.contains(">q-2</a>"));
        // All have the same scheduler.
        assert!(!html.contains(">Scheduler<"));
        assert!(html.contains("aria-sort=\"descending\"") && html.contains("//there:8080/queries"));
    }
}
