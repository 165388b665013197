//! What operators get: identity, the page, the Helm chart, the container image, and the workflows that release them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "operate/helm.rs"]
mod helm;
#[path = "operate/identity.rs"]
mod identity;
#[path = "operate/image.rs"]
mod image;
#[path = "operate/namespaces.rs"]
mod namespaces;
#[path = "operate/page.rs"]
mod page;
#[path = "operate/telemetry.rs"]
mod telemetry;
