//! What a cluster survives: executors that die, files that vanish, processes that are asked to stop.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "cluster/death.rs"]
mod death;
#[path = "cluster/drain.rs"]
mod drain;
#[path = "cluster/etcd.rs"]
mod etcd;
#[path = "cluster/lost_report.rs"]
mod lost_report;
#[path = "cluster/row_12_members.rs"]
mod row_12_members;
#[path = "cluster/row_13_failover.rs"]
mod row_13_failover;
#[path = "cluster/row_14_executor_loss.rs"]
mod row_14_executor_loss;
#[path = "cluster/row_15_partition.rs"]
mod row_15_partition;
#[path = "cluster/row_16_shuffle_store.rs"]
mod row_16_shuffle_store;
#[path = "cluster/row_17_store_faults.rs"]
mod row_17_store_faults;
#[path = "cluster/row_18_scale_out.rs"]
mod row_18_scale_out;
#[path = "cluster/row_21_statements.rs"]
mod row_21_statements;
#[path = "cluster/scheduler_death.rs"]
mod scheduler_death;
#[path = "cluster/slots.rs"]
mod slots;
#[path = "cluster/stored.rs"]
mod stored;
