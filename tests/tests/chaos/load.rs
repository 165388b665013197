//! Clients that ask one query after the other and compare each answer with the right one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use polarway_common::Error;
use polarway_tests::{Oracle, Session, difference, tpch};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::task::JoinHandle;

/// How often a client asks again after an error that says so.
const TRIES: usize = 5;
const NUMBERS: [usize; 8] = [1, 3, 5, 6, 9, 12, 18, 21];

/// What came of all requests.
#[derive(Debug, Default)]
pub struct Outcome {
    pub right: usize,
    /// Right ones that took the client another try.
    pub again: usize,
    /// Errors that were left after all tries, by kind.
    pub failed: BTreeMap<String, usize>,
    pub wrong: Vec<String>,
    pub longest: Duration,
    /// The longest time in which no client got an answer.
    pub gap: Duration,
}

impl Outcome {
    pub fn requests(&self) -> usize {
        self.right + self.failed.values().sum::<usize>() + self.wrong.len()
    }

    pub fn right_share(&self) -> f64 {
        self.right as f64 / self.requests().max(1) as f64
    }
}

pub struct Load {
    stop: Arc<AtomicBool>,
    began: Instant,
    clients: Vec<JoinHandle<Client>>,
}

#[derive(Default)]
struct Client {
    outcome: Outcome,
    answered: Vec<Instant>,
}

impl Load {
    pub async fn start(servers: &[SocketAddr], oracle: &Arc<Oracle>, clients: usize, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut running = vec![];
        for client in 0..clients {
            let mut servers = servers.to_vec();
            let by = client % servers.len();
            servers.rotate_left(by);
            let session = Session::with_any(&servers).await;
            let (stop, oracle) = (Arc::clone(&stop), Arc::clone(oracle));
            let chance = StdRng::seed_from_u64(seed ^ (client as u64 + 1));
            running.push(tokio::spawn(ask(session, oracle, chance, stop)));
        }
        Self { stop, began: Instant::now(), clients: running }
    }

    pub async fn stop(self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        let (mut all, mut answered) = (Outcome::default(), vec![self.began]);
        for client in self.clients {
            let client = client.await.unwrap();
            all.right += client.outcome.right;
            all.again += client.outcome.again;
            for (kind, count) in client.outcome.failed {
                *all.failed.entry(kind).or_default() += count;
            }
            all.wrong.extend(client.outcome.wrong);
            all.longest = all.longest.max(client.outcome.longest);
            answered.extend(client.answered);
        }
        answered.sort();
        let gaps = answered.windows(2).map(|pair| pair[1] - pair[0]);
        all.gap = gaps.max().unwrap_or_default();
        all
    }
}

async fn ask(session: Session, oracle: Arc<Oracle>, mut chance: StdRng, stop: Arc<AtomicBool>) -> Client {
    let mut client = Client::default();
    while !stop.load(Ordering::Relaxed) {
        let number = *NUMBERS.choose(&mut chance).unwrap();
        let sql = tpch::query(number);
        let route = if chance.random_bool(0.7) { "staged" } else { "direct" };
        let began = Instant::now();
        let mut tries = 0;
        let answer = loop {
            tries += 1;
            let answer = async {
                session.query(&format!("SET polarway.route = '{route}'")).await?;
                session.query(&sql).await
            };
            match answer.await {
                Err(error) if error.is_retryable() && tries < TRIES => {
                    let pause = error.retry_after.unwrap_or(Duration::from_millis(200));
                    tokio::time::sleep(pause * tries as u32).await;
                }
                answer => break answer,
            }
        };
        client.outcome.longest = client.outcome.longest.max(began.elapsed());
        match answer {
            Ok(answer) => match difference(&answer, &*oracle.answer(&sql).await, tpch::order(number)) {
                None => {
                    client.outcome.right += 1;
                    client.outcome.again += usize::from(tries > 1);
                    client.answered.push(Instant::now());
                }
                Some(difference) => {
                    let id = answer.query_id;
                    client.outcome.wrong.push(format!("query {number} ({id}), {route}: {difference}"));
                }
            },
            Err(error) => {
                println!("query {number}, {route}, after {tries} tries: {}", shown(&error));
                *client.outcome.failed.entry(format!("{:?}", error.kind)).or_default() += 1;
            }
        }
    }
    client
}

fn shown(error: &Error) -> String {
    format!("{:?}: {error}", error.kind)
}
