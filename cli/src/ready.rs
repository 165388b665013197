//! The line by which scripts, tests and the demo learn that a server is up and where.

use std::net::SocketAddr;

use polarway_common::Listening;

/// `polarway ROLE ready: grpc=ADDR http=ADDR ws=ADDR`; the last parts are missing where these are not served.
pub fn format(role: &str, listening: Listening) -> String {
    let http = listening.http.map_or_else(String::new, |http| format!(" http={http}"));
    let ws = listening.ws.map_or_else(String::new, |ws| format!(" ws={ws}"));
    format!("polarway {role} ready: grpc={}{http}{ws}", listening.grpc)
}

/// Reads a line that [`format`] made.
pub fn parse(line: &str) -> Option<Listening> {
    let (_, addresses) = line.strip_prefix("polarway ")?.split_once(" ready: ")?;
    let address = |key: &str| -> Option<SocketAddr> {
        addresses.split(' ').find_map(|part| part.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
    };
    Some(Listening { grpc: address("grpc")?, http: address("http"), ws: address("ws") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_what_is_served() {
        let listening = Listening {
            grpc: "127.0.0.1:50051".parse().unwrap(),
            http: Some("[::1]:8080".parse().unwrap()),
            ws: None,
        };
        assert_eq!(format("up", listening), "polarway up ready: grpc=127.0.0.1:50051 http=[::1]:8080");
        assert_eq!(parse(&format("up", listening)), Some(listening));
        let without = Listening { http: None, ..listening };
        assert_eq!(format("executor", without), "polarway executor ready: grpc=127.0.0.1:50051");
        assert_eq!(parse(&format("executor", without)), Some(without));
        let streams = Listening { ws: Some("127.0.0.1:8081".parse().unwrap()), ..listening };
        assert!(format("up", streams).ends_with(" http=[::1]:8080 ws=127.0.0.1:8081"));
        assert_eq!(parse(&format("up", streams)), Some(streams));
    }

    #[test]
    fn other_lines_are_not_it() {
        for line in [
            "",
            "polarway scheduler ready",
            "polarway x ready: http=127.0.0.1:1",
            "INFO ready: grpc=1.1.1.1:1",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
