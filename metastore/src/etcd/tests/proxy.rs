//! A way to a server that can be cut.

use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Passes on what comes to its port, until it is told not to.
pub(super) struct Proxy {
    pub(super) url: String,
    state: Arc<Mutex<State>>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct State {
    /// Ends the connections that there are.
    cut: CancellationToken,
    closed: bool,
    /// Connections are accepted and nothing passes.
    silent: bool,
}

impl Proxy {
    pub(super) async fn to(url: &str) -> Self {
        let target = url.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::<Mutex<State>>::default();
        let mut tasks = JoinSet::new();
        let shared = Arc::clone(&state);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (incoming, _) = listener.accept().await.unwrap();
                let (cut, closed, silent) = {
                    let state = shared.lock().unwrap();
                    (state.cut.clone(), state.closed, state.silent)
                };
                if !closed {
                    connections.spawn(pass(incoming, target.clone(), silent, cut));
                }
            }
        });
        Self { url, state, _tasks: tasks }
    }

    /// Breaks all connections; new ones can be made.
    pub(super) fn cut(&self) {
        let mut state = self.state.lock().unwrap();
        std::mem::take(&mut state.cut).cancel();
    }

    /// Breaks all connections and takes no more.
    pub(super) fn close(&self) {
        self.state.lock().unwrap().closed = true;
        self.cut();
    }

    pub(super) fn open(&self) {
        let mut state = self.state.lock().unwrap();
        (state.closed, state.silent) = (false, false);
    }

    /// Breaks all connections; on new ones nothing is ever answered.
    pub(super) fn silence(&self) {
        self.state.lock().unwrap().silent = true;
        self.cut();
    }
}

async fn pass(mut incoming: TcpStream, target: String, silent: bool, cut: CancellationToken) {
    let passing = async {
        if silent {
            return std::future::pending().await;
        }
        if let Ok(mut outgoing) = TcpStream::connect(target).await {
            let _ = copy_bidirectional(&mut incoming, &mut outgoing).await;
        }
    };
    tokio::select! {
        () = passing => {}
        () = cut.cancelled() => {}
    }
}
