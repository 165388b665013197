//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::suites::live::{PARTS, Part};

/// Benchmarks of Polarway beside its peers, on one machine, on the same files.
#[derive(Debug, Parser)]
#[command(name = "polarway-bench", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Makes the data, runs ours and the peers in turn, and writes every sample as JSON.
    Run(Box<RunArgs>),
    /// Renders the documentation's page from results, and from nothing else.
    Table(TableArgs),
    /// DataFusion in this process, driven over standard input.
    #[command(hide = true)]
    PeerDatafusion {
        #[arg(long)]
        partitions: usize,
    },
    /// A WebSocket server that turns rows into Arrow and drops them.
    #[command(hide = true)]
    PeerPlain,
    /// A stock Ballista scheduler.
    #[command(hide = true)]
    PeerBallistaScheduler {
        #[arg(long)]
        port: u16,
        /// Executors that must have registered before `/readyz` answers 200.
        #[arg(long)]
        executors: usize,
    },
    /// A stock Ballista executor.
    #[command(hide = true)]
    PeerBallistaExecutor {
        #[arg(long)]
        flight_port: u16,
        #[arg(long)]
        grpc_port: u16,
        #[arg(long)]
        scheduler_port: u16,
        #[arg(long)]
        slots: usize,
        #[arg(long)]
        work: PathBuf,
    },
    /// A session that plans for a Ballista cluster, driven over standard input.
    #[command(hide = true)]
    PeerBallistaClient {
        #[arg(long)]
        scheduler_port: u16,
        #[arg(long)]
        partitions: usize,
    },
}

/// A subject of measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    All,
    /// TPC-H by the direct route, against DataFusion in process, Sail, Spark and Daft.
    Tpch,
    /// TPC-H and a small query over two executors, against DataFusion in process, stock Ballista, Sail, Spark and Daft.
    Staged,
    /// Latency of the smallest queries, throughput of a small aggregate under 1 to 500 clients, and its latency beside
    /// a long query.
    Small,
    /// A large result through the door, against pyarrow, Sail, Spark and Daft.
    Fetch,
    /// Peak memory of one process under a limit while the data grows.
    Memory,
    /// Many files at once, against Polars, Sail, Spark and Daft.
    Files,
    /// Streams: freshness, acknowledgement, throughput against a plain WebSocket server, memory, and bad neighbours.
    Live,
    /// What traces, metrics and TLS cost: ours with them, against ours without.
    Overhead,
}

#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// What to measure.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "all")]
    pub suite: Vec<Suite>,
    /// Which parts of `live`.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = PARTS)]
    pub part: Vec<Part>,
    /// TPC-H scale factors of the suites `tpch` and `staged`, the first also that of `overhead`; millions of rows in the
    /// memory part of `live`.
    #[arg(long, value_delimiter = ',', default_value = "1,10")]
    pub scale: Vec<f64>,
    /// How often each case is measured on each engine.
    #[arg(long, default_value_t = 5)]
    pub repeats: usize,
    /// How often each case is run on each engine before it is measured.
    #[arg(long, default_value_t = 1)]
    pub warmup: usize,
    /// Seconds after which a query counts as failed.
    #[arg(long, default_value_t = 900.0)]
    pub timeout: f64,
    /// Where the results go.
    #[arg(long, default_value = "benches/out/results.json")]
    pub out: PathBuf,
    /// Keep the suites of an existing result file that are not run again.
    #[arg(long)]
    pub merge: bool,
    /// Where generated data is kept [default: $XDG_CACHE_HOME/polarway/bench].
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Directory of the TPC-H queries, q01.sql to q22.sql.
    #[arg(long, default_value = "examples/tpch")]
    pub queries: PathBuf,
    /// Directory of the Python peers.
    #[arg(long, default_value = "benches/peers")]
    pub peers: PathBuf,
    /// Directory of the Python peers' environments, which benches/setup.sh makes [default:
    /// $XDG_CACHE_HOME/polarway/peers].
    #[arg(long)]
    pub environments: Option<PathBuf>,
    /// The product [default: `polarway` beside this program].
    #[arg(long)]
    pub polarway: Option<PathBuf>,
    /// Scale factor of TPC-H in the small suites.
    #[arg(long, default_value_t = 1.0)]
    pub small_scale: f64,
    /// Requests of one client per case in the latency suites, new connections in `overhead`, and probes in the freshness
    /// part of `live`.
    #[arg(long, default_value_t = 300)]
    pub requests: usize,
    /// Numbers of concurrent clients.
    #[arg(long, value_delimiter = ',', default_value = "1,10,50,100,500")]
    pub clients: Vec<usize>,
    /// Seconds of each window under load, in `live` too.
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Seconds after which a request under load counts as failed.
    #[arg(long, default_value_t = 60.0)]
    pub load_timeout: f64,
    /// Rows of the large result, in `overhead` too.
    #[arg(long, default_value_t = 10_000_000)]
    pub fetch_rows: usize,
    /// Sizes of data in gigabytes for the memory suite; a gigabyte of Parquet is TPC-H at scale 5.
    #[arg(long, value_delimiter = ',', default_value = "1,5,10")]
    pub sizes: Vec<f64>,
    /// Memory that a query of the memory suite may have.
    #[arg(long, default_value = "512MB")]
    pub memory_limit: String,
    /// Numbers of files that are read at once.
    #[arg(long, value_delimiter = ',', default_value = "10,50,100")]
    pub file_counts: Vec<usize>,
    /// Rows of each of those files.
    #[arg(long, default_value_t = 500_000)]
    pub file_rows: usize,
}

impl RunArgs {
    /// Whether `suite` is to be run.
    pub fn wants(&self, suite: Suite) -> bool {
        self.suite.contains(&Suite::All) || self.suite.contains(&suite)
    }

    /// How long a query may take.
    pub fn patience(&self) -> Duration {
        Duration::from_secs_f64(self.timeout)
    }
}

#[derive(Debug, Args)]
pub struct TableArgs {
    /// Results of a run.
    #[arg(long = "in", default_value = "benches/out/results.json")]
    pub input: PathBuf,
    /// The page to write.
    #[arg(long, default_value = "docs/benchmarks.md")]
    pub out: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn lists_and_defaults_are_read() {
        let cli = Cli::parse_from(["polarway-bench", "run", "--suite", "tpch,staged", "--scale", "0.1,1"]);
        let Command::Run(args) = cli.command else { panic!("not a run") };
        assert!(args.wants(Suite::Staged) && !args.wants(Suite::Memory));
        assert_eq!(args.scale, [0.1, 1.0]);
        assert_eq!(args.clients, [1, 10, 50, 100, 500]);
        let cli = Cli::parse_from(["polarway-bench", "run"]);
        let Command::Run(args) = cli.command else { panic!("not a run") };
        assert!(args.wants(Suite::Memory));
    }
}
