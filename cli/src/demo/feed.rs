//! A feed of trades on this machine, for the demo to fetch: what an exchange would send, only faster.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::{SinkExt, StreamExt};
use polarway_common::{Error, Supervisor, TaskKind};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

/// Trades a second.
const RATE: u64 = 300_000;
/// Trades a message.
const BATCH: u64 = 500;
const SYMBOLS: [(&str, f64); 4] =
    [("BTCUSDT", 97_000.0), ("ETHUSDT", 3_400.0), ("SOLUSDT", 240.0), ("BNBUSDT", 620.0)];

/// A server that sends trades to whoever subscribes.
pub struct Feed {
    pub address: SocketAddr,
    sent: Arc<AtomicU64>,
    tasks: Supervisor,
}

impl Feed {
    pub async fn start() -> Result<Self, Error> {
        let fault =
            |error: std::io::Error| Error::internal(format!("the demo's feed cannot listen: {error}"));
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(fault)?;
        let address = listener.local_addr().map_err(fault)?;
        let (sent, tasks) = (Arc::new(AtomicU64::new(0)), Supervisor::new());
        let (count, stop) = (Arc::clone(&sent), tasks.token());
        tasks.spawn("demo feed", TaskKind::Background, async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = stop.cancelled() => return Ok(()),
                };
                let Ok((socket, _)) = accepted else { continue };
                tokio::select! {
                    // A subscriber that goes away may come back.
                    _ = serve(socket, &count) => {}
                    () = stop.cancelled() => return Ok(()),
                }
            }
        });
        Ok(Self { address, sent, tasks })
    }

    /// Trades that were sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub async fn stop(&self) -> Result<(), Error> {
        self.tasks.shutdown(Duration::from_secs(2)).await
    }

    /// The statement that makes a stream of it.
    pub fn statement(&self) -> String {
        format!(
            "CREATE STREAM trades (id BIGINT NOT NULL, at TIMESTAMP(6), symbol VARCHAR NOT NULL, \
             price DOUBLE, quantity DOUBLE)\n  WITH (event_time = 'at', seal_rows = 500000, seal_age = '3s',\n        \
             url = 'ws://{}/', subscribe = '{{\"op\": \"subscribe\", \"channel\": \"trades\"}}', rows = '/trades',\n        \
             mapping = '{{\"id\": \"/t\", \"at\": {{\"pointer\": \"/T\", \"unit\": \"us\"}}, \"symbol\": \"/s\", \
             \"price\": \"/p\", \"quantity\": \"/q\"}}')",
            self.address
        )
    }
}

/// Sends trades at the rate until the subscriber goes away.
async fn serve(socket: TcpStream, sent: &AtomicU64) -> Result<(), WsError> {
    let mut socket = accept_async(socket).await?;
    while !matches!(socket.next().await.transpose()?, None | Some(Message::Text(_))) {}
    let start = Instant::now();
    let from = sent.load(Ordering::Relaxed);
    for batch in 0.. {
        let due = Duration::from_micros(batch * BATCH * 1_000_000 / RATE);
        if let Some(wait) = due.checked_sub(start.elapsed()) {
            tokio::time::sleep(wait).await;
        }
        let first = from + batch * BATCH;
        socket.send(Message::text(message(first, now()))).await?;
        sent.store(first + BATCH, Ordering::Relaxed);
    }
    Ok(())
}

fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros()
}

/// The trades from number `first` on, at `micros` since 1970.
fn message(first: u64, micros: u128) -> String {
    let mut text = String::with_capacity(BATCH as usize * 90);
    text.push_str("{\"channel\":\"trades\",\"trades\":[");
    for id in first..first + BATCH {
        let (symbol, price) = SYMBOLS[(id % SYMBOLS.len() as u64) as usize];
        // Prices wander with a period of some seconds.
        let price = price * (1.0 + 0.01 * (id as f64 / 1e6).sin());
        let quantity = (id % 97 + 1) as f64 / 100.0;
        let comma = if id > first { "," } else { "" };
        // Writing into a text does not fail.
        let _ = write!(
            text,
            "{comma}{{\"t\":{id},\"T\":{micros},\"s\":\"{symbol}\",\"p\":{price:.2},\"q\":{quantity}}}"
        );
    }
    text.push_str("]}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_holds_its_trades() {
        let message: serde_json::Value = serde_json::from_str(&message(1000, 1_764_064_800_000_000)).unwrap();
        let trades = message["trades"].as_array().unwrap();
        assert_eq!(trades.len() as u64, BATCH);
        assert_eq!((trades[7]["t"].as_u64(), trades[7]["s"].as_str()), (Some(1007), Some("BNBUSDT")));
        assert!(trades.iter().all(|trade| trade["p"].as_f64().is_some_and(|price| price > 200.0)));
    }
}
