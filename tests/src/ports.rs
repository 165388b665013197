//! Ports that are free now and that the system does not give to others by itself.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

/// An address to listen on, of a server that has to come back at the same place.
pub fn free() -> SocketAddr {
    free_at(Ipv4Addr::LOCALHOST.into())
}

/// The same at another of this machine's addresses.
pub fn free_at(host: IpAddr) -> SocketAddr {
    loop {
        // Below the ports that Linux takes for connections going out.
        let address = SocketAddr::new(host, rand::random_range(12_000..32_000));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
