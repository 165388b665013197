//! `polarway-bench`: see the library.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use polarway_benches::cli::{Cli, Command};
use polarway_benches::failure::{Failure, Result};
use polarway_benches::peers::{ballista, datafusion, plain};
use polarway_benches::suites::live::rows;
use polarway_benches::{report, run};
use tokio::signal::unix::{SignalKind, signal};

// The product's allocator, so that a peer in this program is not measured with a slower one.
#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Deep plans overflow the usual 2 MiB in unoptimised builds; stock Ballista's scheduler asks for as much.
const STACK: usize = 32 * 1024 * 1024;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(STACK).build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(execute(cli.command));
            // A peer that gives up still has a blocking read of its standard input under way.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // With standard error closed there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "polarway-bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn execute(command: Command) -> Result<()> {
    match command {
        Command::Run(args) => {
            // Leaving drops the children, which kills them: none outlives an interrupted run.
            tokio::select! {
                outcome = run::run(&args) => outcome,
                interrupted = interrupted() => Err(interrupted),
            }
        }
        Command::Table(args) => report::write(&args.input, &args.out),
        Command::PeerDatafusion { partitions } => datafusion::serve(partitions).await,
        Command::PeerPlain => plain::serve(rows::schema()).await,
        Command::PeerBallistaScheduler { port, executors } => ballista::scheduler(port, executors).await,
        Command::PeerBallistaExecutor { flight_port, grpc_port, scheduler_port, slots, work } => {
            ballista::executor((flight_port, grpc_port), scheduler_port, slots, &work).await
        }
        Command::PeerBallistaClient { scheduler_port, partitions } => {
            ballista::client(scheduler_port, partitions).await
        }
    }
}

/// Waits for Ctrl-C or SIGTERM.
async fn interrupted() -> Failure {
    let (mut interrupt, mut terminate) =
        match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
            (Ok(interrupt), Ok(terminate)) => (interrupt, terminate),
            (Err(error), _) | (_, Err(error)) => return error.into(),
        };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Failure::new("interrupted")
}
