//! The Flight SQL front door.

mod flight_sql;
mod metadata;
mod prepared;
mod type_info;

pub use flight_sql::FrontDoor;
