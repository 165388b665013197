//! What operators get: identity, TLS, the page, the Helm chart, the container image, and the workflows that release them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "operate/helm.rs"]
mod helm;
#[path = "operate/history.rs"]
mod history;
#[path = "operate/identity.rs"]
mod identity;
#[path = "operate/image.rs"]
mod image;
#[path = "operate/namespaces.rs"]
mod namespaces;
#[path = "operate/page.rs"]
mod page;
#[path = "operate/private_files.rs"]
mod private_files;
#[path = "operate/telemetry.rs"]
mod telemetry;
#[path = "operate/tls.rs"]
mod tls;
#[path = "operate/tls_processes.rs"]
mod tls_processes;
#[path = "operate/tls_rotation.rs"]
mod tls_rotation;
#[path = "operate/tls_s3.rs"]
mod tls_s3;
#[path = "operate/tls_settings.rs"]
mod tls_settings;
#[path = "operate/tls_wire.rs"]
mod tls_wire;
