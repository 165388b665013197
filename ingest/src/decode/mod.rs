//! Frames of a feed become record batches of a declared schema.
//!
//! [`Decoder`] reads text frames of JSON, [`ArrowFrames`] binary frames of Arrow IPC. Both are strict: a value
//! becomes exactly what its column declares or its row is refused; no fault becomes a zero or a null. Refused
//! rows go to [`BadRows`] with the reason and their own bytes, and the good rows beside them are kept.
//!
//! | Column | JSON |
//! |---|---|
//! | Boolean | `true`, `false` |
//! | Int8 to Int64, UInt8 to UInt64 | an integer in range; not `1.0`, `1e3` or `"1"` |
//! | Float32, Float64 | any number whose nearest value is finite |
//! | Decimal128 | a number, or a string that reads as one, by its exact text |
//! | Utf8 | a string |
//! | Date32 | `"YYYY-MM-DD"` |
//! | Timestamp | an integer in the column's unit since 1970 UTC, or an RFC 3339 string; without an offset only where the column has no time zone |
//!
//! `null` or no field at all is null in a nullable column and a fault elsewhere. A key given twice is a fault;
//! among fields that are [ignored](UnknownFields::Ignore) it is not looked for.

mod arrow_frame;
mod columns;
mod cursor;
mod decimal;
mod decoder;
mod fault;
mod frame;
mod ipc_message;
mod ipc_schema;
mod keys;
mod lz4_size;
mod number;
mod options;
mod row;
mod schema;
mod timestamp;

pub use arrow_frame::ArrowFrames;
pub use decoder::Decoder;
pub use fault::{ArrowFault, BadRow, BadRows, Reason};
pub use frame::Pushed;
pub use options::{DecodeOptions, UnknownFields};
pub use schema::UnsupportedType;

pub(crate) use columns::{Column, Refusal, unit_name};
pub(crate) use cursor::{Broken, Cursor, Number, Token};
pub(crate) use fault::shown;
pub(crate) use frame::broken;
pub(crate) use number::{float64, integer};
pub(crate) use schema::columns as empty_columns;
