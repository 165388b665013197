//! What operators get, and how it is released: the container image and the workflows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "operate/image.rs"]
mod image;
