//! The processes that stem from one, as the kernel lists them: the JVM of a peer in Python, or the server it started.

use std::fs;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::failure::Result;
use crate::machine::kibibytes;

const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// A process that another one started, or that stems from such a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relative {
    pid: u32,
    /// When it began, in the kernel's ticks: with the number it names one process for good.
    began: u64,
    /// The name of its program, or the one that it gave itself.
    pub name: String,
}

/// What `/proc/PID/stat` says of a process.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    name: String,
    state: char,
    parent: u32,
    began: u64,
}

/// All processes that stem from `ancestor` and have not ended.
pub fn descendants(ancestor: u32) -> Vec<Relative> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    of(ancestor, pids.filter_map(|pid| Some((pid, look(pid)?))).collect())
}

fn of(ancestor: u32, mut others: Vec<(u32, Stat)>) -> Vec<Relative> {
    let mut family = Vec::new();
    let mut parents = vec![ancestor];
    while let Some(parent) = parents.pop() {
        let (children, rest): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|(_, stat)| stat.parent == parent);
        others = rest;
        for (pid, stat) in children {
            parents.push(pid);
            family.push(Relative { pid, began: stat.began, name: stat.name });
        }
    }
    family
}

impl Relative {
    /// Its largest resident set so far.
    pub fn peak(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        kibibytes(&status, "VmHWM").unwrap_or(0)
    }

    /// Whether it is still there. One that only waits to be reaped is not.
    pub fn lives(&self) -> bool {
        look(self.pid).is_some_and(|stat| stat.began == self.began && stat.state != 'Z')
    }
}

/// Waits until all of `relatives` have ended, and kills those that have not within `grace`.
///
/// # Errors
/// `kill` cannot be started.
pub async fn end(relatives: &[Relative], grace: Duration) -> Result<()> {
    let late = Instant::now() + grace;
    while relatives.iter().any(Relative::lives) && Instant::now() < late {
        sleep(BETWEEN_LOOKS).await;
    }
    for relative in relatives.iter().filter(|relative| relative.lives()) {
        Command::new("kill").args(["-KILL", &relative.pid.to_string()]).status().await?;
    }
    Ok(())
}

fn look(pid: u32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name stands in parentheses and may hold some itself, so the fields are counted from the last one.
fn parse(stat: &str) -> Option<Stat> {
    let (head, tail) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let mut fields = tail.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let began = fields.nth(17)?.parse().ok()?;
    Some(Stat { name, state, parent, began })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(name: &str, parent: u32) -> Stat {
        Stat { name: name.into(), state: 'S', parent, began: 7 }
    }

    #[test]
    fn the_kernel_s_line_is_read_whatever_the_name() {
        let line = "42 (a) (b c) S 7 42 42 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 9 0 123456 1000 20 18446744073709551615";
        let expected = Stat { name: "a) (b c".into(), state: 'S', parent: 7, began: 123_456 };
        assert_eq!(parse(line), Some(expected));
        assert_eq!(parse("42 (sh) S 7"), None);
    }

    #[test]
    fn children_of_children_belong_and_strangers_do_not() {
        let others =
            vec![(4, stat("java", 3)), (3, stat("bash", 2)), (9, stat("other", 1)), (5, stat("x", 2))];
        let mut names: Vec<String> = of(2, others).into_iter().map(|relative| relative.name).collect();
        names.sort();
        assert_eq!(names, ["bash", "java", "x"]);
    }

    #[tokio::test]
    async fn what_does_not_end_is_killed() {
        let mut child =
            Command::new("sh").args(["-c", "sleep 60 & wait"]).kill_on_drop(true).spawn().unwrap();
        let pid = child.id().unwrap();
        let family = loop {
            let family = descendants(pid);
            if family.iter().any(|relative| relative.name == "sleep") {
                break family;
            }
            sleep(Duration::from_millis(5)).await;
        };
        assert!(family[0].lives() && family[0].peak() > 0);
        end(&family, Duration::ZERO).await.unwrap();
        child.wait().await.unwrap();
        assert!(!family[0].lives());
    }
}
