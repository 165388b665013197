//! The `polarway` binary.

mod allocator;
mod args;
mod config_cmd;
mod demo;
mod health;
mod interrupt;
mod ready;
mod serve;
mod sql;
mod streams;
mod terminal;
mod tpch;

use std::process::ExitCode;

use clap::Parser;
use polarway_common::Error;
use polarway_common::config::TelemetryConfig;
use polarway_tls::Tls;

use args::{Cli, Command, GlobalArgs};

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Deep plans are walked recursively; the default of 2 MiB is little for that.
const STACK_SIZE: usize = 8 << 20;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(STACK_SIZE).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            terminal::complain(&format!("error: cannot start threads: {error}\n"));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(run(cli));
    // Every command has joined its own tasks. What remains is at most a thread that waits for standard input.
    runtime.shutdown_background();
    ExitCode::from(code)
}

async fn run(cli: Cli) -> u8 {
    match dispatch(cli).await {
        Ok(code) => code,
        Err(error) => {
            terminal::complain(&format!("error: {error}\n"));
            1
        }
    }
}

async fn dispatch(cli: Cli) -> Result<u8, Error> {
    let global = cli.global;
    match cli.command {
        Command::Up(args) => Box::pin(serve::up(args, &global)).await,
        Command::Scheduler(args) => Box::pin(serve::scheduler(args, &global)).await,
        Command::Executor(args) => Box::pin(serve::executor(args, &global)).await,
        Command::Config(args) => config_cmd::run(&args, &global).await,
        Command::Sql(args) => {
            log_if_asked(&global)?;
            let history = match &args.history {
                Some(path) => path.clone(),
                None => global.load(vec![])?.data_dir.join("history"),
            };
            Ok(Box::pin(sql::run(args, history)).await)
        }
        Command::Nodes(args) => {
            log_if_asked(&global)?;
            Ok(Box::pin(sql::run(args.into_sql(), std::path::PathBuf::new())).await)
        }
        Command::Health(args) => {
            log_if_asked(&global)?;
            // What the server is configured with says whether it is to be asked by HTTPS.
            let tls = Tls::load(&global.load(vec![])?.tls).await?;
            Ok(Box::pin(health::run(args, &tls)).await)
        }
        Command::Tpch(args) => {
            log_if_asked(&global)?;
            tpch::run(args).await
        }
        Command::Demo(args) => {
            log_if_asked(&global)?;
            Box::pin(demo::run(args)).await
        }
    }
}

/// A client's log is of interest only to somebody who asked for it.
fn log_if_asked(global: &GlobalArgs) -> Result<(), Error> {
    if global.log_level.is_none() {
        return Ok(());
    }
    let log = global.load(vec![])?.log;
    // What a client does is traced by whoever calls it.
    polarway_telemetry::init(&log, &TelemetryConfig::default(), "client").map(drop)
}
