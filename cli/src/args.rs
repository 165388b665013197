//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use polarway_client::{Endpoint, Token};
use polarway_common::{ByteSize, Config, Error, ErrorKind, HostPort, HumanDuration};

use crate::sql::format::Format;
use crate::tpch::Table;

const EXAMPLES: &str = "\
Examples:
  polarway up                      one process that answers SQL
  polarway sql -c 'SELECT 1'       ask it something
  polarway sql                     the interactive shell
  polarway demo                    a small cluster, data and queries

  polarway scheduler --listen 10.0.0.1:50051
  polarway executor --listen 10.0.0.2:50052 --scheduler 10.0.0.1:50051

Configuration comes from the file, then the environment (for example
POLARWAY_SCHEDULER__LISTEN), then flags, each over the one before.
`polarway config --keys` lists every key.";

/// SQL over files and object storage, on one machine or many.
#[derive(Debug, Parser)]
#[command(name = "polarway", version, about, after_help = EXAMPLES, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: GlobalArgs,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a scheduler and executors in this one process.
    Up(UpArgs),
    /// Run a scheduler: the SQL front door that plans queries and gives work to executors.
    Scheduler(SchedulerArgs),
    /// Run an executor: it does the work of a scheduler's queries.
    Executor(ExecutorArgs),
    /// Ask a server: an interactive shell, or statements from flags, files or standard input.
    Sql(SqlArgs),
    /// List the processes of a cluster: schedulers, executors, and those that take rows of streams.
    Nodes(NodesArgs),
    /// Ask a server over HTTP whether it is well; the exit code says it, for containers and service managers.
    Health(HealthArgs),
    /// Make TPC-H test data as Parquet files.
    Tpch(TpchArgs),
    /// Print the configuration in effect.
    Config(ConfigArgs),
    /// Show a cluster of processes at work on TPC-H data; leaves nothing behind.
    Demo(DemoArgs),
}

#[derive(Debug, Args)]
pub struct GlobalArgs {
    /// Configuration file (TOML).
    #[arg(long, global = true, env = "POLARWAY_CONFIG", value_name = "FILE", help_heading = "Configuration")]
    pub config: Option<PathBuf>,
    /// Set one configuration key, for example query.memory_limit=2GiB; may be repeated.
    #[arg(
        long = "set",
        global = true,
        value_name = "KEY=VALUE",
        value_parser = assignment,
        help_heading = "Configuration"
    )]
    pub settings: Vec<(String, String)>,
    /// What to log: error, warn, info, debug, trace, off, or directives such as info,polarway_scheduler=debug.
    #[arg(long, global = true, value_name = "LEVEL", help_heading = "Configuration")]
    pub log_level: Option<String>,
    /// How to log: text or json.
    #[arg(long, global = true, value_name = "FORMAT", value_parser = ["text", "json"], help_heading = "Configuration")]
    pub log_format: Option<String>,
}

impl GlobalArgs {
    /// The configuration in effect. `flags` are the settings that a command's own flags stand for.
    pub fn load(&self, flags: Vec<(String, String)>) -> Result<Config, Error> {
        self.load_over(vec![], flags)
    }

    /// Like [`GlobalArgs::load`], with settings that hold for a command unless `--set` says otherwise.
    pub fn load_over(
        &self,
        of_command: Vec<(String, String)>,
        flags: Vec<(String, String)>,
    ) -> Result<Config, Error> {
        let mut overrides = of_command;
        overrides.extend(self.settings.iter().cloned());
        overrides.extend(self.log_level.iter().map(|level| ("log.level".to_owned(), level.clone())));
        overrides.extend(self.log_format.iter().map(|format| ("log.format".to_owned(), format.clone())));
        overrides.extend(flags);
        Config::load(self.config.as_deref(), std::env::vars(), &overrides)
    }
}

/// What `up` and `scheduler` share.
#[derive(Debug, Args)]
pub struct DoorArgs {
    /// Address of the SQL (gRPC) server; port 0 lets the system choose.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<HostPort>,
    /// Address of the HTTP server for health, metrics and running queries.
    #[arg(long, value_name = "ADDR")]
    pub http_listen: Option<HostPort>,
    #[command(flatten)]
    pub data: DataArgs,
}

/// What all servers share.
#[derive(Debug, Args)]
pub struct DataArgs {
    /// Directory for what outlives the process: catalog, shuffle, spill.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Directory or URL prefix that may be read, in place of the configured ones; may be repeated.
    #[arg(long, value_name = "PATH_OR_URL")]
    pub allow: Vec<String>,
    /// Directory or URL prefix that statements may write to, in place of the configured ones; may be repeated.
    #[arg(long, value_name = "PATH_OR_URL")]
    pub writable: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polarway up --allow /data --allow s3://bucket/tables
  polarway up --executors 4 --listen 127.0.0.1:0 --http-listen 127.0.0.1:0

When ready it prints `polarway up ready: grpc=ADDR http=ADDR`.
SIGTERM or Ctrl-C lets running queries finish; a second one ends the process
at once.")]
pub struct UpArgs {
    /// How many executors share the machine.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub executors: u16,
    /// Address for WebSocket clients that send rows of streams; without it there are no streams.
    #[arg(long, value_name = "ADDR")]
    pub ws_listen: Option<HostPort>,
    #[command(flatten)]
    pub door: DoorArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  polarway scheduler --listen 10.0.0.1:50051 --allow s3://bucket/tables

When ready it prints `polarway scheduler ready: grpc=ADDR http=ADDR`.
SIGTERM or Ctrl-C lets running queries finish; a second one ends the process
at once.")]
pub struct SchedulerArgs {
    #[command(flatten)]
    pub door: DoorArgs,
}

/// What an executor process is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExecutorRole {
    /// Runs tasks of queries.
    Query,
    /// Takes the rows of streams, and runs no tasks.
    Ingest,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polarway executor --listen 10.0.0.2:50052 --scheduler 10.0.0.1:50051
  polarway executor --role ingest --listen 10.0.0.3:50052 \\
      --ws-listen 10.0.0.3:8081 --scheduler 10.0.0.1:50051

When ready it prints `polarway executor ready: grpc=ADDR`, and ws=ADDR with the
role ingest. SIGTERM or Ctrl-C lets running tasks finish; a second one ends the
process at once.")]
pub struct ExecutorArgs {
    /// What it is for.
    #[arg(long, value_enum, default_value_t = ExecutorRole::Query, value_name = "ROLE")]
    pub role: ExecutorRole,
    /// Address for WebSocket clients, with the role ingest [default: 127.0.0.1:8081].
    #[arg(long, value_name = "ADDR")]
    pub ws_listen: Option<HostPort>,
    /// The scheduler to work for.
    #[arg(long, value_name = "HOST:PORT")]
    pub scheduler: Option<HostPort>,
    /// Tasks that run at the same time [default: the number of cores].
    #[arg(long, value_name = "N")]
    pub slots: Option<usize>,
    /// Address of the gRPC server; port 0 lets the system choose.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<HostPort>,
    /// Address of the HTTP server for health and metrics [default: none].
    #[arg(long, value_name = "ADDR")]
    pub http_listen: Option<HostPort>,
    /// Directory for shuffle and spill.
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// Memory of all tasks together [default: 70 % of the machine's].
    #[arg(long, value_name = "SIZE")]
    pub memory_limit: Option<ByteSize>,
    /// Name that stays the same over restarts.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    #[command(flatten)]
    pub data: DataArgs,
}

/// Whom a client asks.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// The server; or several of one cluster, separated by commas, of which the first that answers is used until it fails.
    /// Servers with TLS are written https://HOST:PORT.
    #[arg(
        long,
        env = "POLARWAY_ENDPOINT",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:50051",
        value_delimiter = ','
    )]
    pub endpoint: Vec<Endpoint>,
    /// File with the token that tells the server who asks; another one may be put in its place at any time. The environment
    /// variable POLARWAY_TOKEN has the token itself in place of a file; no flag has, since others see command lines.
    #[arg(long, env = "POLARWAY_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// File (PEM) with the authorities that servers with TLS have their certificates from [default: the system's].
    #[arg(long, env = "POLARWAY_TLS_CA", value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
}

/// The environment variable that has a token.
const TOKEN_VARIABLE: &str = "POLARWAY_TOKEN";

impl ServerArgs {
    /// What tells the server who asks, if there is anything.
    ///
    /// # Errors
    /// When a file and the variable are both given, or the variable has no token. The error does not show it.
    pub fn token(&self) -> Result<Option<Token>, Error> {
        self.token_or(std::env::var_os(TOKEN_VARIABLE))
    }

    fn token_or(&self, variable: Option<OsString>) -> Result<Option<Token>, Error> {
        let invalid = |why: &str| Error::new(ErrorKind::Configuration, why);
        match (&self.token_file, variable) {
            (None, None) => Ok(None),
            (Some(file), None) => Ok(Some(Token::of_file(file))),
            (Some(_), Some(_)) => Err(invalid(
                "--token-file (or POLARWAY_TOKEN_FILE) and POLARWAY_TOKEN are both set: which one is meant?",
            )
            .with_hint("take one of them away")),
            (None, Some(text)) => {
                let text = text.into_string().map_err(|_| invalid("POLARWAY_TOKEN is no text"))?;
                let named =
                    |error: Error| Error { message: format!("POLARWAY_TOKEN: {}", error.message), ..error };
                Token::new(text).map(Some).map_err(named)
            }
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polarway sql -c 'SELECT count(*) FROM t'
  polarway sql -f report.sql --format csv -o report.csv
  echo 'SELECT 1' | polarway sql --format ndjson
  polarway sql --endpoint db.example:50051 -c 'SELECT * FROM t' \\
      --format parquet -o t.parquet
  polarway sql --endpoint https://db.example:50051 --tls-ca ca.pem

Exit codes: 0 done, 1 a statement failed, 2 wrong use, 3 no connection,
130 interrupted.")]
pub struct SqlArgs {
    #[command(flatten)]
    pub servers: ServerArgs,
    /// Run these statements and leave; may be repeated.
    #[arg(short, long, value_name = "SQL")]
    pub command: Vec<String>,
    /// Run the statements of this file and leave (- is standard input); may be repeated.
    #[arg(short, long, value_name = "FILE")]
    pub file: Vec<PathBuf>,
    /// How to write results.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Write results to this file.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Write results and errors only.
    #[arg(long)]
    pub quiet: bool,
    /// Tell rows, time and route of each statement on standard error even when results do not go to a terminal.
    #[arg(long)]
    pub timing: bool,
    /// How long to wait for a connection.
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    pub connect_timeout: HumanDuration,
    /// File of the prompt's history [default: history in the data directory].
    #[arg(long, env = "POLARWAY_HISTORY", value_name = "FILE")]
    pub history: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The same as a table: SELECT * FROM system.nodes

Examples:
  polarway nodes
  polarway nodes --endpoint a.example:50051,b.example:50051 --format ndjson")]
pub struct NodesArgs {
    #[command(flatten)]
    pub servers: ServerArgs,
    /// How to write the list.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

impl NodesArgs {
    /// The statement that this stands for.
    pub fn into_sql(self) -> SqlArgs {
        let columns = "name, role, state, address, http, ws, zone, slots, version, since";
        SqlArgs {
            servers: self.servers,
            command: vec![format!("SELECT {columns} FROM system.nodes ORDER BY role, name")],
            file: vec![],
            format: self.format,
            output: None,
            quiet: true,
            timing: false,
            connect_timeout: HumanDuration::from_secs(5),
            history: None,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polarway health                        does the server on this machine live?
  polarway health --ready --http executor-1:8080

It writes the server's answer. Exit codes: 0 well, 1 not well or no answer,
2 wrong use. A scheduler and `polarway up` serve HTTP at
scheduler.http_listen, an executor at executor.http_listen, which has no
default. With `[tls]` in its own configuration it asks by HTTPS.")]
pub struct HealthArgs {
    /// The server's HTTP address.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    pub http: HostPort,
    /// Ask whether it takes work (/readyz), in place of whether it lives (/healthz).
    #[arg(long)]
    pub ready: bool,
    /// How long to wait for the answer.
    #[arg(long, value_name = "DURATION", default_value = "3s")]
    pub timeout: HumanDuration,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Makes one directory for each table, with files part-0.parquet, part-1.parquet
and so on. Scale factor 1 is about 250 MB of files.

Examples:
  polarway tpch --scale-factor 1 --output data/tpch
  polarway tpch --scale-factor 0.1 --output data/small --table orders")]
pub struct TpchArgs {
    /// Size of the data: 1 gives about 8.7 million rows in all.
    #[arg(long, value_name = "F", value_parser = scale_factor)]
    pub scale_factor: f64,
    /// Directory for the tables' directories.
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// Files of each large table [default: one for about 2 million rows].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub parts: Option<u16>,
    /// Make this table only; may be repeated [default: all].
    #[arg(long = "table", value_enum, value_name = "TABLE")]
    pub tables: Vec<Table>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polarway config --config polarway.toml   check a file
  polarway config --keys                   every key with its default")]
pub struct ConfigArgs {
    /// List every key with its default instead.
    #[arg(long)]
    pub keys: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
It makes TPC-H data in a temporary directory, starts one scheduler, some
executors and one process that takes rows, runs queries, shows who did what,
fetches a feed of trades and queries it while it runs, and stops and removes
everything.")]
pub struct DemoArgs {
    /// Size of the test data; 1 is about 250 MB of files.
    #[arg(long, value_name = "F", default_value = "1", value_parser = scale_factor)]
    pub scale_factor: f64,
    /// Executor processes.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub executors: u16,
    /// Keep the data and the logs, and say where they are.
    #[arg(long)]
    pub keep: bool,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE, for example query.route=direct")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

fn scale_factor(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(factor) if (0.001..=100_000.0).contains(&factor) => Ok(factor),
        _ => Err("it must be a number from 0.001 to 100000".to_owned()),
    }
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
    fn every_command_has_help_text() {
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
        }
    }

    #[test]
    fn flags_become_settings() {
        let cli = Cli::try_parse_from([
            "polarway",
            "scheduler",
            "--set",
            "query.route=direct",
            "--log-level",
            "warn",
        ])
        .unwrap();
        let config = cli.global.load(vec![("scheduler.listen".into(), "127.0.0.1:7".into())]).unwrap();
        assert_eq!(config.query.route.to_string(), "direct");
        assert_eq!(config.log.level, "warn");
        assert_eq!(config.scheduler.listen.port, 7);
    }

    fn servers(file: Option<&str>) -> ServerArgs {
        ServerArgs { endpoint: vec![], token_file: file.map(PathBuf::from), tls_ca: None }
    }

    #[test]
    fn a_token_comes_from_a_file_or_the_environment() {
        assert!(servers(None).token_or(None).unwrap().is_none());
        assert!(servers(Some("f")).token_or(None).unwrap().is_some());
        assert!(servers(None).token_or(Some("s3cret".into())).unwrap().is_some());
        let both = servers(Some("f")).token_or(Some("s3cret".into())).unwrap_err();
        assert_eq!(both.kind, ErrorKind::Configuration);
        for name in ["--token-file", "POLARWAY_TOKEN_FILE", "POLARWAY_TOKEN are"] {
            assert!(both.message.contains(name), "{both}");
        }
        for wrong in ["", "s3cret ", "s3cret\n"] {
            let error = servers(None).token_or(Some(wrong.into())).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Configuration);
            assert!(error.message.starts_with("POLARWAY_TOKEN: the token "), "{error}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn every_command_that_asks_a_server_takes_a_token_from_a_file_alone() {
        for command in ["sql", "nodes"] {
            let line = ["polarway", command, "--token-file", "f"];
            let servers = match Cli::try_parse_from(line).unwrap().command {
                Command::Sql(args) => args.servers,
                Command::Nodes(args) => args.into_sql().servers,
                other => panic!("{other:?}"),
            };
            assert_eq!(servers.token_file, Some(PathBuf::from("f")));
            assert!(Cli::try_parse_from(["polarway", command, "--token", "s3cret"]).is_err());
            let mut cli = Cli::command();
            let help = cli.find_subcommand_mut(command).unwrap().render_long_help().to_string();
            let words: Vec<&str> = help.split_whitespace().collect();
            assert!(words.contains(&"POLARWAY_TOKEN") && words.contains(&"--token-file"), "{help}");
            assert!(help.contains("POLARWAY_TOKEN_FILE"), "{help}");
        }
    }

    #[test]
    fn row_47_every_command_that_asks_a_server_takes_tls_and_authorities() {
        for command in ["sql", "nodes"] {
            let line =
                ["polarway", command, "--endpoint", "https://a:1,grpc+tls://b:2", "--tls-ca", "ca.pem"];
            let servers = match Cli::try_parse_from(line).unwrap().command {
                Command::Sql(args) => args.servers,
                Command::Nodes(args) => args.into_sql().servers,
                other => panic!("{other:?}"),
            };
            assert!(servers.endpoint.iter().all(Endpoint::is_tls));
            assert_eq!(servers.tls_ca, Some(PathBuf::from("ca.pem")));
            let mut cli = Cli::command();
            let help = cli.find_subcommand_mut(command).unwrap().render_long_help().to_string();
            assert!(help.contains("https://HOST:PORT") && help.contains("POLARWAY_TLS_CA"), "{help}");
        }
    }

    #[test]
    fn wrong_values_are_refused_by_the_parser() {
        for line in [
            vec!["up", "--executors", "0"],
            vec!["sql", "--endpoint", "ftp://x"],
            vec!["sql", "--format", "xml"],
            vec!["health", "--http", "8080"],
            vec!["health", "--timeout", "soon"],
            vec!["tpch", "--scale-factor", "-1", "--output", "x"],
            vec!["tpch", "--scale-factor", "NaN", "--output", "x"],
            vec!["executor", "--memory-limit", "much"],
            vec!["config", "--set", "novalue"],
        ] {
            assert!(Cli::try_parse_from([vec!["polarway"], line.clone()].concat()).is_err(), "{line:?}");
        }
    }
}
