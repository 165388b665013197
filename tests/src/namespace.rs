//! A network namespace of its own with one cable to the host, which can be cut. Needs root and the command `ip`.

use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Output};

/// It goes when this is dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    /// The inner end of the cable.
    cable: String,
    outer: String,
    host: Ipv4Addr,
    inner: Ipv4Addr,
}

impl Namespace {
    /// Makes one; the addresses are of 10.213.0.0/16.
    pub fn make() -> Self {
        let id: u16 = rand::random();
        let [high, low] = id.to_be_bytes();
        // Blocks of four addresses: net, host, inner, broadcast.
        let address = |last: u8| Ipv4Addr::new(10, 213, high, (low & 0xfc) | last);
        let namespace = Self {
            name: format!("polarway-{id:04x}"),
            cable: format!("pwi{id:04x}"),
            outer: format!("pwo{id:04x}"),
            host: address(1),
            inner: address(2),
        };
        let Self { name, cable, outer, host, inner } = &namespace;
        ip(&["netns", "add", name]);
        ip(&["link", "add", outer, "type", "veth", "peer", "name", cable, "netns", name]);
        ip(&["addr", "add", &format!("{host}/30"), "dev", outer]);
        ip(&["link", "set", outer, "up"]);
        namespace.within(&["addr", "add", &format!("{inner}/30"), "dev", cable]);
        namespace.within(&["link", "set", "lo", "up"]);
        namespace.heal();
        namespace
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the namespace reaches the host.
    pub fn host(&self) -> IpAddr {
        self.host.into()
    }

    /// Where the host reaches the namespace.
    pub fn inner(&self) -> IpAddr {
        self.inner.into()
    }

    /// Nothing comes through any more, and nobody is told.
    pub fn cut(&self) {
        self.within(&["link", "set", &self.cable, "down"]);
    }

    pub fn heal(&self) {
        self.within(&["link", "set", &self.cable, "up"]);
    }

    fn within(&self, arguments: &[&str]) {
        ip(&[&["-n", self.name.as_str()], arguments].concat());
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = run(&["link", "del", &self.outer]);
        let _ = run(&["netns", "del", &self.name]);
    }
}

fn ip(arguments: &[&str]) {
    let output = run(arguments).unwrap_or_else(|error| panic!("`ip` cannot be run: {error}"));
    assert!(
        output.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn run(arguments: &[&str]) -> std::io::Result<Output> {
    Command::new("ip").args(arguments).output()
}
