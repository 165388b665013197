//! The plainest server that turns rows into Arrow: `tokio-tungstenite` and the readers of `arrow`, nothing between them
//! and nothing behind. Batches are dropped; it keeps no row, writes no log, and an acknowledgement promises nothing.

use std::hint::black_box;
use std::io::Write;
use std::net::Ipv4Addr;

use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::json::ReaderBuilder;
use arrow::json::reader::Decoder;
use futures::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

use crate::failure::{Context, Failure, Result};

/// Rows of a batch of the JSON reader.
const BATCH_ROWS: usize = 8192;

/// Serves rows of `schema` on a loopback port, which it prints, until SIGTERM.
///
/// # Errors
/// There is no port, or standard output is closed.
pub async fn serve(schema: SchemaRef) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let mut stop = signal(SignalKind::terminate())?;
    {
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "plain ready: ws={}", listener.local_addr()?)?;
        stdout.flush()?;
    }
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted?.0,
            _ = stop.recv() => return Ok(()),
        };
        let schema = schema.clone();
        tokio::spawn(async move {
            if let Err(failure) = connection(stream, schema).await {
                // The sender sees the connection end; its failure is the one that counts.
                let _ = writeln!(std::io::stderr(), "plain: {failure}");
            }
        });
    }
}

async fn connection(stream: TcpStream, schema: SchemaRef) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut socket = accept_async(stream).await?;
    socket.send(Message::text(r#"{"last":0}"#)).await?;
    let mut rows = Rows::new(schema)?;
    let mut frames = 0_u64;
    while let Some(message) = socket.next().await {
        match message? {
            Message::Text(text) => {
                frames += 1;
                rows.json(text.as_bytes())?;
            }
            Message::Binary(bytes) => {
                frames += 1;
                rows.arrow(&bytes)?;
            }
            Message::Ping(_) => {
                rows.flush()?;
                let ack = format!(r#"{{"ack":{frames},"rows":{},"bad":0}}"#, rows.count);
                rows.count = 0;
                socket.send(Message::text(ack)).await?;
            }
            Message::Close(_) => break,
            _ => {}
        }
    }
    Ok(())
}

/// Turns frames into batches and counts the rows of those.
struct Rows {
    decoder: Decoder,
    count: usize,
}

impl Rows {
    fn new(schema: SchemaRef) -> Result<Self> {
        let decoder = ReaderBuilder::new(schema).with_batch_size(BATCH_ROWS).build_decoder();
        Ok(Self { decoder: decoder.context(|| "making a decoder")?, count: 0 })
    }

    fn json(&mut self, mut text: &[u8]) -> Result<()> {
        while !text.is_empty() {
            let read = self.decoder.decode(text)?;
            text = text.get(read..).unwrap_or_default();
            if self.decoder.len() >= BATCH_ROWS {
                self.flush()?;
            } else if read == 0 && !text.is_empty() {
                return Err(Failure::new("the decoder reads no further"));
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if let Some(batch) = self.decoder.flush()? {
            self.count += black_box(batch).num_rows();
        }
        Ok(())
    }

    fn arrow(&mut self, bytes: &[u8]) -> Result<()> {
        for batch in StreamReader::try_new(bytes, None)? {
            self.count += black_box(batch?).num_rows();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suites::live::rows;

    #[test]
    fn every_row_of_every_form_is_counted() {
        let mut counted = Rows::new(rows::schema()).unwrap();
        for id in 0..20_000 {
            counted.json(rows::json(id).as_bytes()).unwrap();
        }
        counted.flush().unwrap();
        assert_eq!(counted.count, 20_000);
        counted.arrow(&rows::arrow(0, 300).unwrap()).unwrap();
        assert_eq!(counted.count, 20_300);
    }
}
