//! A cluster of child processes with directories of their own, or one `polarway up`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::namespace::Namespace;
use crate::process::{Launch, Process};
use crate::session::Session;
use crate::wait::until;
use crate::{http, tpch};

/// Directory of sealed rows, below the cluster's.
const SEALED: &str = "sealed";
/// Directory of tables that statements make.
const TABLES: &str = "tables";
const ANY_PORT: &str = "127.0.0.1:0";
const MEMBERSHIP_CEILING: Duration = Duration::from_secs(60);

/// What to start.
#[derive(Debug, Clone)]
pub struct Setup {
    role: &'static str,
    executors: usize,
    slots: usize,
    allow: Vec<String>,
    settings: Vec<(String, String)>,
    executor_allow: Option<Vec<String>>,
    env: Vec<(String, String)>,
    front_listen: String,
    ingest: usize,
    schedulers: usize,
    writable: Vec<String>,
    has_tables: bool,
}

impl Setup {
    /// One scheduler and `executors` executors with two slots each.
    pub fn cluster(executors: usize) -> Self {
        Self { executors, ..Self::of("scheduler") }
    }

    /// One process.
    pub fn up() -> Self {
        Self::of("up")
    }

    fn of(role: &'static str) -> Self {
        // The loss of an executor is noticed as soon as the product allows; tests kill many.
        let settings = [("scheduler.executor_timeout", "2s"), ("executor.heartbeat", "500ms")];
        Self {
            role,
            executors: 0,
            slots: 2,
            allow: vec![],
            settings: settings.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            executor_allow: None,
            env: vec![],
            front_listen: ANY_PORT.to_owned(),
            ingest: 0,
            schedulers: 1,
            writable: vec![],
            has_tables: true,
        }
    }

    /// Adds processes that take rows of streams; sealed rows go to one directory.
    #[must_use]
    pub fn ingest(mut self, count: usize) -> Self {
        self.ingest = count;
        self
    }

    /// Adds schedulers until there are so many; they need an etcd.
    #[must_use]
    pub fn schedulers(mut self, count: usize) -> Self {
        self.schedulers = count;
        self
    }

    /// The front's gRPC address, with port zero for any.
    #[must_use]
    pub fn front_at(mut self, listen: impl ToString) -> Self {
        self.front_listen = listen.to_string();
        self
    }

    #[must_use]
    pub fn slots(mut self, slots: usize) -> Self {
        self.slots = slots;
        self
    }

    /// Adds a directory or URL that may be read.
    #[must_use]
    pub fn allow(mut self, root: impl AsRef<Path>) -> Self {
        self.allow.push(root.as_ref().display().to_string());
        self
    }

    /// Adds a directory or URL that may be written to.
    #[must_use]
    pub fn writable(mut self, root: impl ToString) -> Self {
        self.writable.push(root.to_string());
        self
    }

    /// Without a place for tables of its own, which clusters have otherwise.
    #[must_use]
    pub fn without_tables(mut self) -> Self {
        self.has_tables = false;
        self
    }

    /// What executors may read, where that differs from what the scheduler may.
    #[must_use]
    pub fn allow_executors(mut self, root: impl AsRef<Path>) -> Self {
        self.executor_allow.get_or_insert_default().push(root.as_ref().display().to_string());
        self
    }

    /// A configuration key of all processes.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.settings.push((key.to_owned(), value.to_string()));
        self
    }

    /// An environment variable of all processes.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.env.push((name.to_owned(), value.to_string()));
        self
    }

    /// Starts the processes and waits until the schedulers know all executors.
    pub async fn start(self) -> Cluster {
        let (role, wanted) = (self.role, self.executors);
        let cluster = self.start_without_waiting().await;
        cluster.until_executors(if role == "up" { 1 } else { wanted }).await;
        cluster
    }

    /// Starts the processes.
    pub async fn start_without_waiting(self) -> Cluster {
        let dir = tempfile::Builder::new().prefix("polarway-test-").tempdir().unwrap();
        let mut setup = self;
        if setup.ingest > 0 {
            let sealed = dir.path().join(SEALED);
            std::fs::create_dir(&sealed).unwrap();
            setup = setup.allow(sealed);
        }
        let is_set = setup.settings.iter().any(|(key, _)| key == "storage.tables");
        if setup.has_tables && setup.role == "scheduler" && !is_set {
            let tables = dir.path().join(TABLES).display().to_string();
            setup = setup.set("storage.tables", tables);
        }
        let front = start_front(&setup, dir.path(), &setup.front_listen);
        let (wanted, ingest) = (setup.executors, setup.ingest);
        let others = 1..setup.schedulers;
        let others = others
            .map(|number| {
                start_scheduler(&setup, dir.path(), format!("scheduler-{number}"), ANY_PORT, ANY_PORT)
            })
            .collect();
        let mut cluster =
            Cluster { front, others, executors: vec![], ingest: vec![], setup, dir, started: 0 };
        for _ in 0..wanted {
            cluster.add_executor();
        }
        for number in 0..ingest {
            let process = cluster.start_ingest(number);
            cluster.ingest.push(process);
        }
        cluster
    }

    /// Over TPC-H at scale factor 0.1, with its tables created.
    pub async fn start_with_tpch(self) -> (Cluster, PathBuf) {
        let data = tpch::data("0.1");
        let cluster = self.allow(&data).start().await;
        tpch::create_tables(&cluster.session().await, &data).await;
        (cluster, data)
    }

    fn common(&self, listen: &str, data_dir: &Path, allow: &[String]) -> Vec<String> {
        self.common_at(listen, ANY_PORT, data_dir, allow)
    }

    fn common_at(&self, listen: &str, http: &str, data_dir: &Path, allow: &[String]) -> Vec<String> {
        let arguments = ["--listen", listen, "--http-listen", http];
        let mut arguments: Vec<String> = arguments.map(str::to_owned).into();
        arguments.extend(["--data-dir".into(), data_dir.display().to_string()]);
        for root in allow {
            arguments.extend(["--allow".into(), root.clone()]);
        }
        for root in &self.writable {
            arguments.extend(["--writable".into(), root.clone()]);
        }
        for (key, value) in &self.settings {
            arguments.extend(["--set".into(), format!("{key}={value}")]);
        }
        arguments
    }
}

fn start_front(setup: &Setup, dir: &Path, listen: &str) -> Process {
    let mut arguments = vec![setup.role.to_owned()];
    arguments.extend(setup.common(listen, &dir.join("front"), &setup.allow));
    if setup.role == "up" {
        arguments.extend(["--set".into(), format!("executor.slots={}", setup.slots)]);
    }
    Process::start(Launch {
        name: setup.role.to_owned(),
        arguments,
        env: setup.env.clone(),
        log: dir.join("front.log"),
        namespace: None,
    })
}

fn start_scheduler(setup: &Setup, dir: &Path, name: String, grpc: &str, http: &str) -> Process {
    let mut arguments = vec!["scheduler".to_owned()];
    arguments.extend(setup.common_at(grpc, http, &dir.join(&name), &setup.allow));
    let log = dir.join(format!("{name}.log"));
    Process::start(Launch { name, arguments, env: setup.env.clone(), log, namespace: None })
}

/// Running processes; stopped when dropped, and their directories removed.
pub struct Cluster {
    /// The scheduler, or the whole of `polarway up`.
    pub front: Process,
    /// Further schedulers.
    pub others: Vec<Process>,
    pub executors: Vec<Process>,
    /// Processes that take rows of streams.
    pub ingest: Vec<Process>,
    setup: Setup,
    dir: TempDir,
    /// Executors started so far; numbers are not used twice.
    started: usize,
}

impl Cluster {
    pub fn grpc(&self) -> SocketAddr {
        self.front.grpc
    }

    pub fn http(&self) -> SocketAddr {
        self.front.http()
    }

    /// The directory below which all processes of this cluster write.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A new session.
    pub async fn session(&self) -> Session {
        Session::connect(self.grpc()).await
    }

    /// A metric of the scheduler.
    pub async fn metric(&self, name: &str) -> f64 {
        http::metric(self.http(), name).await
    }

    /// Starts one more executor; gives its index. The scheduler learns of it in a moment.
    pub fn add_executor(&mut self) -> usize {
        let listen = match self.front.grpc.ip().is_loopback() {
            true => ANY_PORT.to_owned(),
            // Where the front is reached others are, too.
            false => SocketAddr::new(self.front.grpc.ip(), 0).to_string(),
        };
        self.add_executor_at(&listen, self.front.grpc, None)
    }

    /// Starts one more executor in a network namespace.
    pub fn add_executor_in(&mut self, namespace: &Namespace) -> usize {
        let listen = SocketAddr::new(namespace.inner(), 0).to_string();
        self.add_executor_at(&listen, self.front.grpc, Some(namespace.name().to_owned()))
    }

    /// Starts one more executor that listens at the given address.
    pub fn add_executor_listening(&mut self, listen: &str) -> usize {
        self.add_executor_at(listen, self.front.grpc, None)
    }

    /// Starts one more executor that reaches the scheduler by another address.
    pub fn add_executor_by(&mut self, scheduler: SocketAddr) -> usize {
        self.add_executor_at(ANY_PORT, scheduler, None)
    }

    fn add_executor_at(&mut self, listen: &str, scheduler: SocketAddr, namespace: Option<String>) -> usize {
        self.started += 1;
        let name = format!("executor-{}", self.started);
        let home = self.dir.path().join(&name);
        let allow = self.setup.executor_allow.as_ref().unwrap_or(&self.setup.allow);
        let mut arguments = vec!["executor".to_owned()];
        arguments.extend(self.setup.common_at(listen, listen, &home, allow));
        arguments.extend(["--scheduler".into(), scheduler.to_string()]);
        arguments.extend(["--slots".into(), self.setup.slots.to_string()]);
        arguments.extend(["--name".into(), name.clone()]);
        arguments.extend(["--work-dir".into(), home.join("work").display().to_string()]);
        let log = self.dir.path().join(format!("{name}.log"));
        self.executors.push(Process::start(Launch {
            name,
            arguments,
            env: self.setup.env.clone(),
            log,
            namespace,
        }));
        self.executors.len() - 1
    }

    fn start_ingest(&self, number: usize) -> Process {
        let name = format!("ingest-{number}");
        let mut arguments = vec!["executor".to_owned()];
        arguments.extend(self.setup.common(ANY_PORT, &self.dir.path().join(&name), &self.setup.allow));
        arguments.extend(["--role".into(), "ingest".into(), "--ws-listen".into(), ANY_PORT.into()]);
        arguments.extend(["--scheduler".into(), self.front.grpc.to_string()]);
        arguments.extend(["--name".into(), name.clone()]);
        if !self.setup.settings.iter().any(|(key, _)| key == "ingest.directory") {
            let sealed = self.dir.path().join(SEALED).display().to_string();
            arguments.extend(["--set".into(), format!("ingest.directory={sealed}")]);
        }
        let log = self.dir.path().join(format!("{name}.log"));
        Process::start(Launch { name, arguments, env: self.setup.env.clone(), log, namespace: None })
    }

    /// Starts a process that takes rows again, after it has ended, with the directories it had; its addresses change.
    pub fn start_ingest_again(&mut self, index: usize) {
        assert!(!self.ingest[index].is_running());
        self.ingest[index] = self.start_ingest(index);
    }

    /// A scheduler by its number; the first is the front.
    pub fn scheduler(&mut self, number: usize) -> &mut Process {
        match number.checked_sub(1) {
            None => &mut self.front,
            Some(other) => &mut self.others[other],
        }
    }

    /// SIGKILL for a scheduler, and a start at the same addresses, with nothing that it had on disk.
    pub fn restart_scheduler(&mut self, number: usize) {
        let process = self.scheduler(number);
        let (grpc, http) = (process.grpc.to_string(), process.http().to_string());
        process.kill();
        let name = format!("scheduler-{number}-again");
        *self.scheduler(number) = start_scheduler(&self.setup, self.dir.path(), name, &grpc, &http);
    }

    /// All schedulers.
    pub fn fronts(&self) -> Vec<SocketAddr> {
        [&self.front].into_iter().chain(&self.others).map(|process| process.grpc).collect()
    }

    /// Waits until all schedulers count so many executors.
    pub async fn until_executors(&self, count: usize) {
        for scheduler in [&self.front].into_iter().chain(&self.others) {
            self.until_executors_at(scheduler.http(), count).await;
        }
    }

    async fn until_executors_at(&self, http: SocketAddr, count: usize) {
        until(format!("the scheduler counts {count} executors"), MEMBERSHIP_CEILING, || async move {
            (http::metric(http, "polarway_executors").await == count as f64).then_some(())
        })
        .await;
    }

    /// SIGKILL for one executor; what it leaves on disk is removed, as a machine that dies takes it along.
    pub fn kill_executor(&mut self, index: usize) {
        let mut victim = self.executors.remove(index);
        victim.kill();
        let home = self.dir.path().join(victim.name());
        std::fs::remove_dir_all(home).unwrap();
    }

    /// Stops the front and starts it again over the same directories; addresses change.
    pub async fn restart_front(&mut self) {
        let status = self.front.stop().await;
        assert!(status.success(), "{}: {status}", self.front.name());
        self.start_front_again();
    }

    /// Starts the front again over the same directories, after it has ended.
    pub fn start_front_again(&mut self) {
        assert!(!self.front.is_running());
        self.front = start_front(&self.setup, self.dir.path(), &self.setup.front_listen);
    }

    /// The same at a given gRPC address.
    pub fn start_front_at(&mut self, address: SocketAddr) {
        assert!(!self.front.is_running());
        self.front = start_front(&self.setup, self.dir.path(), &address.to_string());
    }

    /// Directories of the job below the executors' work directories: `<work>/inc-<id>/<job>`. `job` may be a prefix.
    pub fn job_directories(&self, job: &str) -> Vec<PathBuf> {
        self.incarnations()
            .into_iter()
            .flat_map(|incarnation| entries(&incarnation))
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(job)))
            .collect()
    }

    /// All shuffle directories: one for each incarnation of each executor.
    fn incarnations(&self) -> Vec<PathBuf> {
        let works = entries(self.dir.path()).into_iter().map(|home| home.join("work"));
        let ups = entries(&self.dir.path().join("front/executors"));
        works
            .chain(ups)
            .flat_map(|work| entries(&work))
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("inc-")))
            .collect()
    }

    /// Waits until no shuffle file of any query is left.
    pub async fn until_no_shuffle(&self) {
        until("shuffle directories are removed", MEMBERSHIP_CEILING, || async {
            self.job_directories("").is_empty().then_some(())
        })
        .await;
    }

    /// The sum of a metric over all executors that are there.
    pub async fn sum_of_executors(&self, metric: &str) -> f64 {
        let mut sum = 0.0;
        for executor in &self.executors {
            sum += http::metric(executor.http(), metric).await;
        }
        sum
    }

    /// Tasks that run now, over all executors.
    pub async fn running_tasks(&self) -> f64 {
        self.sum_of_executors("polarway_executor_tasks_running").await
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    // Directories come and go while they are looked at.
    std::fs::read_dir(directory)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default()
}
