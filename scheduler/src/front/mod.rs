//! The Flight SQL front door.

mod door;
mod flight_sql;
mod metadata;
mod prepared;
mod type_info;

pub use door::Door;
pub use flight_sql::FrontDoor;
