//! What may happen.

use std::collections::BTreeMap;
use std::time::Duration;

use polarway_tests::s3::Faults;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::World;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// SIGKILL; another one takes its place.
    ExecutorDies,
    /// SIGTERM; another one takes its place.
    ExecutorLeaves,
    /// SIGSTOP, and SIGCONT after longer than its lease.
    ExecutorStandsStill,
    /// SIGKILL, and a start at the same address.
    SchedulerDies,
    SchedulerStandsStill,
    /// SIGKILL, and a start with its data.
    EtcdDies,
    StoreIsOverloaded,
    StoreCutsConnections,
    StoreIsSlow,
}

const ALL: [Event; 9] = [
    Event::ExecutorDies,
    Event::ExecutorLeaves,
    Event::ExecutorStandsStill,
    Event::SchedulerDies,
    Event::SchedulerStandsStill,
    Event::EtcdDies,
    Event::StoreIsOverloaded,
    Event::StoreCutsConnections,
    Event::StoreIsSlow,
];

impl Event {
    pub fn any(chance: &mut StdRng) -> Self {
        *ALL.choose(chance).unwrap()
    }
}

/// How often each happened.
#[derive(Debug, Default)]
pub struct Events {
    pub counts: BTreeMap<Event, usize>,
}

impl Events {
    /// Lets it happen, and its end.
    pub async fn happen(&mut self, world: &mut World, event: Event, chance: &mut StdRng) {
        *self.counts.entry(event).or_default() += 1;
        let cluster = &mut world.cluster;
        let executor = chance.random_range(0..cluster.executors.len());
        let scheduler = chance.random_range(0..=cluster.others.len());
        let a_while = Duration::from_secs_f64(chance.random_range(1.0..6.0));
        match event {
            Event::ExecutorDies => {
                cluster.kill_executor(executor);
                cluster.add_executor();
            }
            Event::ExecutorLeaves => {
                let mut leaving = cluster.executors.remove(executor);
                cluster.add_executor();
                let status = leaving.stop().await;
                assert!(status.success(), "an executor that was asked to go ended with {status}");
            }
            Event::ExecutorStandsStill => {
                cluster.executors[executor].signal("STOP");
                tokio::time::sleep(a_while).await;
                cluster.executors[executor].signal("CONT");
            }
            Event::SchedulerDies => cluster.restart_scheduler(scheduler),
            Event::SchedulerStandsStill => {
                cluster.scheduler(scheduler).signal("STOP");
                tokio::time::sleep(a_while).await;
                cluster.scheduler(scheduler).signal("CONT");
            }
            Event::EtcdDies => {
                world.etcd.kill();
                tokio::time::sleep(a_while / 2).await;
                world.etcd.start_again().await;
            }
            Event::StoreIsOverloaded => {
                self.store(world, a_while, Faults { slow_down: 0.2, ..Faults::default() }).await
            }
            Event::StoreCutsConnections => {
                self.store(world, a_while, Faults { cut: 0.3, ..Faults::default() }).await
            }
            Event::StoreIsSlow => {
                let delay = Duration::from_millis(300);
                self.store(world, a_while, Faults { delay, ..Faults::default() }).await;
            }
        }
    }

    async fn store(&self, world: &World, a_while: Duration, faults: Faults) {
        world.store.fail(faults);
        tokio::time::sleep(a_while).await;
        world.store.fail(Faults::default());
    }
}
