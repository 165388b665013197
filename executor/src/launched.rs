//! Which scheduler launched which job, and jobs whose scheduler is gone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use polarway_common::{Error, HostPort};
use polarway_metastore::membership::{Members, Role, View};
use tokio_util::sync::CancellationToken;

use crate::here::JobsHere;

/// How long a job waits for a scheduler that is not a member: it may be back, or another may take the query over.
const GRACE: Duration = Duration::from_secs(30);
const ROUND: Duration = Duration::from_secs(1);
/// What copies of an orphan's output may take.
const FLUSH_LIMIT: Duration = Duration::from_secs(10);

/// The schedulers (`host:port`) of jobs that have tasks or files here.
#[derive(Debug, Default)]
pub struct Launched(Mutex<HashMap<String, String>>);

impl Launched {
    pub fn note(&self, job: &str, scheduler: &str) {
        let mut jobs = self.0.lock();
        if !jobs.contains_key(job) {
            jobs.insert(job.to_owned(), scheduler.to_owned());
        }
    }

    /// Forgets all but these jobs; gives the schedulers of these.
    fn keep(&self, jobs: &[String]) -> Vec<(String, String)> {
        let mut known = self.0.lock();
        known.retain(|job, _| jobs.contains(job));
        known.iter().map(|(job, scheduler)| (job.clone(), scheduler.clone())).collect()
    }
}

/// Decides which jobs have lost their schedulers. A pure state machine.
#[derive(Debug, Default)]
struct Orphans {
    /// The incarnation of a job's scheduler, once it was seen.
    owners: HashMap<String, String>,
    absent: HashMap<String, Instant>,
}

impl Orphans {
    /// The jobs that nobody will ask for any more.
    fn due(&mut self, jobs: &[(String, String)], view: &View, now: Instant) -> Vec<String> {
        self.owners.retain(|job, _| jobs.iter().any(|(known, _)| known == job));
        self.absent.retain(|job, _| jobs.iter().any(|(known, _)| known == job));
        let mut due = vec![];
        for (job, scheduler) in jobs {
            let address = scheduler.parse::<HostPort>().ok();
            let at = address.iter().flat_map(|address| view.with_address(address));
            let owner = self.owners.get(job);
            let is_there = match at.into_iter().find(|member| member.role == Role::Scheduler) {
                Some(member) if owner.is_none_or(|known| *known == member.incarnation) => {
                    self.owners.entry(job.clone()).or_insert_with(|| member.incarnation.clone());
                    true
                }
                _ => false,
            };
            if is_there {
                self.absent.remove(job);
            } else if now.duration_since(*self.absent.entry(job.clone()).or_insert(now)) >= GRACE {
                due.push(job.clone());
            }
        }
        due
    }
}

/// Ends jobs whose scheduler is gone.
pub struct Orphanage {
    pub members: Members,
    pub launched: Arc<Launched>,
    pub here: JobsHere,
}

impl Orphanage {
    pub async fn watch(self, stop: CancellationToken) -> Result<(), Error> {
        let mut orphans = Orphans::default();
        loop {
            tokio::select! {
                () = tokio::time::sleep(ROUND) => {}
                () = stop.cancelled() => return Ok(()),
            }
            let jobs = self.launched.keep(&self.here.ids());
            for job in orphans.due(&jobs, &self.members.current(), Instant::now()) {
                self.here.end(&job, FLUSH_LIMIT).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use polarway_metastore::membership::{Member, MemberState};

    use super::*;

    fn view(incarnation: Option<&str>) -> View {
        let member = incarnation.map(|incarnation| Member {
            name: "s".into(),
            incarnation: incarnation.into(),
            role: Role::Scheduler,
            zone: None,
            address: "10.0.0.1:1".parse().unwrap(),
            http: None,
            ws: None,
            slots: 0,
            version: "0.1.0".into(),
            state: MemberState::Active,
            since: 0,
        });
        let mut view = View::new();
        view.reset(member.into_iter().collect());
        view
    }

    #[test]
    fn a_job_waits_for_its_scheduler_and_not_for_another_at_its_address() {
        let jobs = [("j".to_owned(), "10.0.0.1:1".to_owned())];
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut orphans = Orphans::default();
        assert!(orphans.due(&jobs, &view(Some("1")), at(0)).is_empty());
        assert!(orphans.due(&jobs, &view(None), at(10)).is_empty());
        assert!(orphans.due(&jobs, &view(Some("1")), at(20)).is_empty());
        assert!(orphans.due(&jobs, &view(Some("2")), at(30)).is_empty());
        assert!(orphans.due(&jobs, &view(None), at(59)).is_empty());
        assert_eq!(orphans.due(&jobs, &view(Some("2")), at(60)), ["j"]);
        assert!(orphans.due(&[], &view(None), at(61)).is_empty());
        assert!(orphans.absent.is_empty() && orphans.owners.is_empty());
    }

    #[test]
    fn what_is_remembered_goes_with_the_job() {
        let launched = Launched::default();
        launched.note("a", "s:1");
        launched.note("b", "s:2");
        launched.note("a", "s:3");
        assert_eq!(launched.keep(&["a".to_owned()]), [("a".to_owned(), "s:1".to_owned())]);
        assert!(launched.0.lock().len() == 1);
    }
}
