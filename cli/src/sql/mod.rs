//! `polarway sql`: the SQL shell.

pub mod format;
mod meta;
mod output;
mod progress;
mod render;
mod script;
pub mod session;
mod shell;
mod split;
pub mod table;
mod width;

use std::path::{Path, PathBuf};

use polarway_client::{Client, ClientOptions, TraceContext};
use polarway_common::{Error, ErrorKind};

use crate::args::SqlArgs;
use crate::terminal;
use format::Format;
use output::{Output, OutputError};
use script::{End, Lines};
use session::{Session, Show};

/// What the shell's exit code says.
pub mod exit {
    pub const OK: u8 = 0;
    pub const QUERY: u8 = 1;
    pub const USAGE: u8 = 2;
    pub const UNREACHABLE: u8 = 3;
    pub const INTERRUPTED: u8 = 130;
}

/// Runs the shell and returns its exit code. `history` is where the prompt's history is kept.
pub async fn run(args: SqlArgs, history: PathBuf) -> u8 {
    if args.format == Format::Parquet && args.output.is_none() {
        terminal::complain(&format!("error: {}\n", OutputError::ParquetNeedsFile));
        return exit::USAGE;
    }
    let client = match connect(&args).await {
        Ok(client) => client,
        Err(code) => return code,
    };
    let has_script = !args.command.is_empty() || !args.file.is_empty();
    let interactive = !has_script && terminal::stdin_is_terminal();
    let on_terminal = terminal::stdout_is_terminal() && !args.quiet;
    let show = Show {
        footer: args.timing || on_terminal,
        timing: args.timing || on_terminal,
        progress: terminal::stderr_is_terminal() && !args.quiet,
    };
    let mut session = Session::new(client, Output::new(args.format, args.output), show);
    if interactive {
        if !args.quiet {
            terminal::complain(&banner(&session));
        }
        let history = prepare(history);
        return shell::run(&mut session, history).await;
    }
    let outcome = if has_script {
        run_scripts(&mut session, &args.command, &args.file).await
    } else {
        script::run(&mut session, Lines::of_stdin(), None).await
    };
    match outcome {
        Ok(()) | Err(End::Quit) => exit::OK,
        Err(End::Failed(code)) => code,
    }
}

/// The convention of OpenTelemetry for what runs commands.
const TRACEPARENT: &str = "TRACEPARENT";

async fn connect(args: &SqlArgs) -> Result<Client, u8> {
    let mut options = ClientOptions::to_any(args.servers.endpoint.clone());
    options.connect_timeout = args.connect_timeout.get();
    options.token = args.servers.token().map_err(tell)?;
    options.tls_ca = args.servers.tls_ca.clone();
    // What a shell script or a CI job hands to the commands that it runs.
    options.trace =
        std::env::var(TRACEPARENT).ok().map(|trace| TraceContext::new(move || Some(trace.clone())));
    tokio::select! {
        connected = Client::connect(options) => connected.map_err(tell),
        _ = tokio::signal::ctrl_c() => Err(exit::INTERRUPTED),
    }
}

/// Tells why there is no connection; gives the exit code for it.
fn tell(error: Error) -> u8 {
    terminal::complain(&format!("error: {}\n", error.message));
    if let Some(hint) = error.hint {
        terminal::complain(&format!("hint: {hint}\n"));
    }
    // Such as a token that cannot be read, or a server that is not trusted: to wait changes nothing.
    if error.kind == ErrorKind::Configuration { exit::USAGE } else { exit::UNREACHABLE }
}

async fn run_scripts(session: &mut Session, commands: &[String], files: &[PathBuf]) -> Result<(), End> {
    for command in commands {
        script::run(session, Lines::of_text(command), None).await?;
    }
    for file in files {
        if file == Path::new("-") {
            script::run(session, Lines::of_stdin(), Some("stdin")).await?;
            continue;
        }
        let name = file.display().to_string();
        let lines = Lines::of_file(file).map_err(|error| {
            terminal::complain(&format!("error: cannot read {name}: {error}\n"));
            End::Failed(exit::USAGE)
        })?;
        script::run(session, lines, Some(&name)).await?;
    }
    Ok(())
}

fn banner(session: &Session) -> String {
    let (version, server) = (env!("CARGO_PKG_VERSION"), session.client().server());
    format!("polarway {version}, connected to {server}. Type \\? for help, Ctrl-D to quit.\n")
}

/// Makes sure that the history's directory exists; without one there is no history.
fn prepare(history: PathBuf) -> Option<PathBuf> {
    let made = history.parent().is_none_or(|directory| std::fs::create_dir_all(directory).is_ok());
    made.then_some(history)
}
