//! `polarway health`: asks a server over HTTP how it is, where there is no other program that could, as in a container.

use std::net::SocketAddr;

use polarway_common::HostPort;
use polarway_common::error::root_cause;
use polarway_tls::Tls;
use reqwest::StatusCode;

use crate::args::HealthArgs;
use crate::sql::exit;
use crate::terminal;

/// How much of an answer is shown: it is a line, unless something else than a server of ours listens there.
const SHOWN_CHARACTERS: usize = 200;

/// Why a server does not count as healthy.
#[derive(Debug, thiserror::Error)]
enum Unhealthy {
    #[error("{url} does not answer: {cause}")]
    Silent { url: String, cause: String },
    #[error("{url} answers {status}: {answer}")]
    Refused { url: String, status: StatusCode, answer: String },
}

/// Writes what the server says, and returns the exit code: 0 when it is well, 1 when it is not or does not answer.
pub async fn run(args: HealthArgs, tls: &Tls) -> u8 {
    match ask(&args, tls).await {
        Ok(answer) => {
            // The exit code says the same.
            let _ = terminal::print(&format!("{answer}\n"));
            exit::OK
        }
        Err(unhealthy) => {
            terminal::complain(&format!("error: {unhealthy}\n"));
            1
        }
    }
}

async fn ask(args: &HealthArgs, tls: &Tls) -> Result<String, Unhealthy> {
    // A proxy of the environment is for what is far away.
    let builder = reqwest::Client::builder().no_proxy().timeout(args.timeout.get());
    let (builder, url) = match tls.for_https() {
        None => (builder, url("http", &args.http, args.ready)),
        Some((config, name)) => {
            // As processes dial each other: they know each other by one name, whatever the address.
            let addresses = resolved(&args.http).await?;
            let named = HostPort::new(name.clone(), args.http.port);
            let builder = builder.use_preconfigured_tls(config).resolve_to_addrs(&name, &addresses);
            (builder, url("https", &named, args.ready))
        }
    };
    let silent = |error: reqwest::Error| Unhealthy::Silent { url: url.clone(), cause: root_cause(&error) };
    let client = builder.build().map_err(silent)?;
    let response = client.get(&url).send().await.map_err(silent)?;
    let status = response.status();
    let answer = first_line(&response.text().await.map_err(silent)?);
    if status.is_success() { Ok(answer) } else { Err(Unhealthy::Refused { url, status, answer }) }
}

async fn resolved(server: &HostPort) -> Result<Vec<SocketAddr>, Unhealthy> {
    match tokio::net::lookup_host(server.as_pair()).await {
        Ok(found) => Ok(found.collect()),
        Err(error) => Err(Unhealthy::Silent { url: server.to_string(), cause: error.to_string() }),
    }
}

fn url(scheme: &str, server: &HostPort, ready: bool) -> String {
    format!("{scheme}://{server}/{}", if ready { "readyz" } else { "healthz" })
}

fn first_line(answer: &str) -> String {
    answer.lines().next().unwrap_or_default().chars().take(SHOWN_CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_asks_whether_the_server_lives_or_takes_work() {
        let server = HostPort::new("127.0.0.1", 8080);
        assert_eq!(url("http", &server, false), "http://127.0.0.1:8080/healthz");
        assert_eq!(url("https", &HostPort::new("::1", 8080), true), "https://[::1]:8080/readyz");
    }

    #[test]
    fn one_line_of_an_answer_is_shown() {
        assert_eq!(first_line("ok\n"), "ok");
        assert_eq!(first_line(""), "");
        assert_eq!(first_line(&"x".repeat(1000)).len(), SHOWN_CHARACTERS);
    }
}
