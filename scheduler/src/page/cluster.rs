//! The first page: processes, and what they are doing.

use polarway_metastore::membership::Role;

use super::facts::{Health, Node, Stream, Streams};
use super::html::Html;
use super::queries;
use super::units;
use crate::history::QueryRecord;

pub struct Cluster<'a> {
    pub nodes: &'a [Node],
    pub streams: &'a Streams,
    /// Those that run here, and how many of them wait for their turn.
    pub running: &'a [QueryRecord],
    pub waiting: usize,
    pub now_ms: u64,
}

pub fn render(cluster: &Cluster<'_>) -> Html {
    let mut html = Html::default();
    html.raw("<h1>Cluster</h1><section data-live=\"figures\" aria-label=\"Figures\">");
    figures(&mut html, cluster);
    html.raw("</section><section data-live=\"nodes\">");
    nodes(&mut html, cluster);
    html.raw("</section><section data-live=\"running\"><h2>Running on this scheduler</h2>");
    if cluster.running.is_empty() {
        html.raw("<p class=\"empty\">No query runs. <a href=\"/queries\">Those that ended</a></p>");
    } else {
        html.html(&queries::table(cluster.running, "Queries that run or wait on this scheduler", None));
    }
    html.raw("</section>");
    html
}

fn figure(html: &mut Html, name: &'static str, value: &str, more: &str) {
    html.raw("<div><dt>").raw(name).raw("</dt><dd><b>").text(value).raw("</b> <span>").text(more);
    html.raw("</span></dd></div>");
}

fn figures(html: &mut Html, cluster: &Cluster<'_>) {
    let of = |role| cluster.nodes.iter().filter(move |node| node.member.role == role);
    let ill = cluster.nodes.iter().filter(|node| node.health == Health::Silent).count();
    let slots: u32 = of(Role::Executor).map(|node| node.member.slots).sum();
    let used: u32 =
        of(Role::Executor).filter_map(|node| node.status.as_ref()).map(|node| node.slots_used).sum();
    html.raw("<dl class=\"figures\">");
    let health = if ill == 0 { "all answer".to_owned() } else { format!("{ill} silent") };
    figure(html, "Processes", &units::count(cluster.nodes.len() as u64), &health);
    figure(html, "Task slots", &format!("{used} / {slots}"), "in use");
    let running = (cluster.running.len() - cluster.waiting.min(cluster.running.len())) as u64;
    figure(html, "Queries here", &units::count(running), &format!("running, {} waiting", cluster.waiting));
    if let Streams::Known(streams) = cluster.streams {
        let held = || streams.iter().filter_map(|stream: &Stream| stream.held.as_ref());
        let rows: f64 =
            held().map(|held| held.recent_rows as f64 * 1000.0 / held.recent_ms.max(1) as f64).sum();
        let more = match streams.len() {
            1 => "rows/s into one stream".to_owned(),
            count => format!("rows/s into {count} streams"),
        };
        figure(html, "Live rows", &units::count(rows.round() as u64), &more);
    }
    html.raw("</dl>");
}

fn nodes(html: &mut Html, cluster: &Cluster<'_>) {
    // Most clusters have no zones.
    let zones = cluster.nodes.iter().any(|node| node.member.zone.is_some());
    html.raw("<h2>Processes</h2><div class=\"wide\" role=\"region\" aria-label=\"Processes\" tabindex=\"0\"><table>");
    html.raw(
        "<caption class=\"quiet\">Members of the cluster, as this scheduler sees them</caption><thead><tr>",
    );
    html.raw("<th scope=\"col\">Name</th><th scope=\"col\">Role</th><th scope=\"col\">Health</th>");
    html.raw("<th scope=\"col\" class=\"n\">Slots</th><th scope=\"col\" class=\"n\">Memory</th>");
    html.raw("<th scope=\"col\" class=\"n\">Spilled</th><th scope=\"col\">Address</th>");
    html.raw(if zones { "<th scope=\"col\">Zone</th>" } else { "" });
    html.raw("<th scope=\"col\">Version</th><th scope=\"col\" class=\"n\">Up for</th></tr></thead><tbody>");
    for node in cluster.nodes {
        self::node(html, node, zones, cluster.now_ms);
    }
    html.raw("</tbody></table></div>");
}

fn node(html: &mut Html, node: &Node, zones: bool, now_ms: u64) {
    let member = &node.member;
    html.raw("<tr><th scope=\"row\">");
    match (&member.http, member.role, node.is_us) {
        // What runs on another scheduler is on its own page.
        (Some(http), Role::Scheduler, false) => {
            html.raw("<a href=\"//").text(http).raw("/\">").text(&member.name).raw("</a>");
        }
        (_, _, true) => {
            html.text(&member.name).raw(" <span class=\"dim\">this one</span>");
        }
        _ => {
            html.text(&member.name);
        }
    }
    html.raw("</th><td>").raw(match member.role {
        Role::Scheduler => "scheduler",
        Role::Executor => "executor",
        Role::Ingest => "ingest",
    });
    html.raw("</td><td>").raw(match node.health {
        Health::Ready => "<span class=\"state ok\">ready</span>",
        Health::Member => "<span class=\"state ok\">member</span>",
        Health::Leaving => "<span class=\"state wait\">leaving</span>",
        Health::Silent => "<span class=\"state bad\">silent</span>",
    });
    html.raw("</td><td class=\"n\">");
    match (&node.status, member.role) {
        (Some(status), Role::Executor) => {
            bar(html, u64::from(status.slots_used), u64::from(status.slots));
            html.text(status.slots_used).raw(" / ").text(status.slots);
        }
        (None, Role::Executor) => {
            html.raw("? / ").text(member.slots);
        }
        _ => none(html),
    }
    html.raw("</td><td class=\"n\">");
    match (&node.status, node.hot_bytes) {
        (Some(status), _) => {
            bar(html, status.memory_reserved, status.memory_limit);
            html.text(units::bytes(status.memory_reserved))
                .raw(" / ")
                .text(units::bytes(status.memory_limit));
        }
        (None, Some(bytes)) => {
            html.text(units::bytes(bytes)).raw(" <span class=\"dim\">rows</span>");
        }
        (None, None) => none(html),
    }
    html.raw("</td><td class=\"n\">");
    match &node.status {
        Some(status) => {
            html.text(units::bytes(status.spill_used));
        }
        None => none(html),
    }
    html.raw("</td><td class=\"code\">").text(&member.address).raw("</td><td>");
    if zones {
        match &member.zone {
            Some(zone) => {
                html.text(zone);
            }
            None => none(html),
        }
        html.raw("</td><td>");
    }
    html.text(&member.version).raw("</td><td class=\"n\">");
    html.text(units::millis(now_ms.saturating_sub(member.since) / 1000 * 1000)).raw("</td></tr>");
}

/// A cell without a value.
pub fn none(html: &mut Html) {
    html.raw("<span class=\"dim\" aria-hidden=\"true\">–</span><span class=\"quiet\">none</span>");
}

/// A share as a drawing beside its numbers, which say the same.
fn bar(html: &mut Html, part: u64, whole: u64) {
    let share = if whole == 0 { 0.0 } else { (part as f64 / whole as f64).min(1.0) };
    html.raw("<svg class=\"bar\" width=\"48\" height=\"6\" viewBox=\"0 0 48 6\" aria-hidden=\"true\" focusable=\"false\">");
    html.raw("<rect class=\"track\" width=\"48\" height=\"6\" rx=\"3\"/><rect class=\"");
    html.raw(if share > 0.9 { "full" } else { "part" });
    // A little is more than nothing.
    let width = if part == 0 { 0.0 } else { (share * 48.0).max(2.0) };
    html.raw("\" width=\"").text(format_args!("{width:.1}")).raw("\" height=\"6\" rx=\"3\"/></svg>");
}

#[cfg(test)]
mod tests {
    use polarway_common::HostPort;
    use polarway_metastore::membership::{Member, MemberState};
    use polarway_proto::progress::NodeStatus;

    use super::*;

    fn node(name: &str, role: Role, health: Health, status: Option<NodeStatus>) -> Node {
        let member = Member {
            name: name.to_owned(),
            incarnation: "1".to_owned(),
            role,
            zone: None,
            address: HostPort::new("here", 50052),
            http: Some(HostPort::new("there", 8080)),
            ws: None,
            slots: 4,
            version: "0.1.0".to_owned(),
            state: MemberState::Active,
            since: 1000,
        };
        Node { member, is_us: false, health, status, hot_bytes: None }
    }

    #[test]
    fn row_49_a_process_is_shown_with_its_numbers_and_one_that_is_silent_without() {
        let status = NodeStatus {
            slots: 4,
            slots_used: 3,
            tasks_running: 3,
            memory_reserved: 512 << 20,
            memory_limit: 1 << 30,
            spill_used: 5 << 20,
        };
        let nodes = [
            node("scheduler-2", Role::Scheduler, Health::Member, None),
            node("<executor>", Role::Executor, Health::Ready, Some(status)),
            node("executor-2", Role::Executor, Health::Silent, None),
        ];
        let cluster = Cluster {
            nodes: &nodes,
            streams: &Streams::NotOffered,
            running: &[],
            waiting: 0,
            now_ms: 62_500,
        };
        let html = render(&cluster).into_string();
        assert!(html.contains("<a href=\"//there:8080/\">scheduler-2</a>"));
        assert!(html.contains("&lt;executor&gt;") && !html.contains("<executor>"));
        assert!(html.contains("3 / 4") && html.contains("512 MiB / 1.0 GiB") && html.contains("5.0 MiB"));
        assert!(html.contains("? / 4") && html.contains("state bad\">silent") && html.contains("1 silent"));
        assert!(html.contains("1 min 1 s") && html.contains("No query runs."));
    }
}
