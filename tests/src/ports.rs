//! Ports that are free now and that the system does not give to others by itself.

use std::net::{SocketAddr, TcpListener};

/// An address to listen on, of a server that has to come back at the same place.
pub fn free() -> SocketAddr {
    loop {
        // Below the ports that Linux takes for connections going out.
        let address = SocketAddr::from(([127, 0, 0, 1], rand::random_range(12_000..32_000)));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
