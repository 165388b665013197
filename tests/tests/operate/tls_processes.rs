//! Who is a process of the cluster: whoever shows a certificate of its authority with the name of processes, and nobody else.

use std::time::Duration;

use arrow_flight::{Action, Empty, Ticket};
use ballista_core::serde::protobuf;
use ballista_core::serde::protobuf::FetchPartition;
use ballista_core::serde::protobuf::action::ActionType;
use polarway_tests::dial::Called;
use polarway_tests::pki::{Authority, NAMES, PROCESS_NAME, Pki};
use polarway_tests::process::command;
use polarway_tests::{Cluster, Dial, Setup, files};
use prost::Message;
use tempfile::TempDir;
use tonic::Code;

use crate::identity::{ADMIN, Known, PROCESS, WRITER};
use crate::tls::{nothing_shown, output, over, try_with, until_executors};

const OF_SCHEDULER: [&str; 3] = [
    "/ballista.protobuf.SchedulerGrpc/UpdateTaskStatus",
    "/ballista.protobuf.SchedulerGrpc/RegisterExecutor",
    "/polarway.v1.MetaStore/Revision",
];
const HEARTBEAT: &str = "/ballista.protobuf.SchedulerGrpc/HeartBeatFromExecutor";
const OF_EXECUTOR: [&str; 3] = [
    "/ballista.protobuf.ExecutorGrpc/LaunchMultiTask",
    "/ballista.protobuf.ExecutorGrpc/CancelTasks",
    "/ballista.protobuf.ExecutorGrpc/RemoveJobData",
];
const DO_GET: &str = "/arrow.flight.protocol.FlightService/DoGet";
const DO_ACTION: &str = "/arrow.flight.protocol.FlightService/DoAction";

/// Calls what only processes may; gives what became of each call.
async fn called(dial: &Dial, cluster: &Cluster, token: Option<&str>) -> Vec<(String, Called)> {
    let (scheduler, executor, taker) = (cluster.grpc(), cluster.executors[0].grpc, cluster.ingest[0].grpc);
    let bare = OF_SCHEDULER.map(|path| (scheduler, path)).into_iter();
    let bare = bare.chain(OF_EXECUTOR.map(|path| (executor, path))).chain([(taker, DO_GET)]);
    let mut called = vec![];
    for (server, path) in bare {
        called.push((path.to_owned(), dial.call(server, path, Empty {}, token).await));
    }
    let part = FetchPartition { job_id: "job".into(), host: "localhost".into(), ..FetchPartition::default() };
    let part = protobuf::Action { settings: vec![], action_type: Some(ActionType::FetchPartition(part)) };
    let ticket = Ticket::new(part.encode_to_vec());
    called.push(("a shuffle file".to_owned(), dial.call(executor, DO_GET, ticket, token).await));
    for (server, name) in [
        (executor, "polarway.RunningTasks"),
        (executor, "polarway.FlushShuffle"),
        (taker, "polarway.StreamStatus"),
        (taker, "polarway.DropStream"),
    ] {
        let action = Action::new(name, Vec::<u8>::new());
        called.push((name.to_owned(), dial.call(server, DO_ACTION, action, token).await));
    }
    called
}

#[tokio::test(flavor = "multi_thread")]
async fn row_47_only_who_has_a_certificate_with_the_name_is_a_process() {
    let (known, pki) = (Known::write(), Pki::make());
    // The secret of processes is known, and does not make anybody one here.
    let setup = Setup::cluster(1).ingest(1).set("identity.tokens", known.path().display());
    let setup = pki.material.on(setup).set("identity.process_secret", PROCESS).set("log.level", "debug");
    let cluster = setup.start_without_waiting().await;
    let ours = [&pki.authority];
    let user = Dial::user(&ours);
    until_executors(&cluster, &user, 1).await;

    // Almost the name, and the name of the machine.
    let nameless =
        pki.authority.issue(&["localhost", "127.0.0.1", "polarway-process.example", "x.polarway-process"]);
    let nameless = Dial::showing(&ours, &nameless);
    for (who, dial) in [
        ("no certificate", user.clone()),
        ("no certificate, where processes dial", user.clone().at_processes()),
        ("a certificate without the name", nameless.clone()),
        ("a certificate without the name, where processes dial", nameless.clone().at_processes()),
    ] {
        for token in [None, Some(WRITER), Some(ADMIN), Some(PROCESS)] {
            for (what, became) in called(&dial, &cluster, token).await {
                assert!(became.is_refused(), "{who}: {what}: {became:?}");
                if [Some(WRITER), Some(ADMIN)].contains(&token) {
                    assert_eq!(became, Called::Answered(Code::PermissionDenied), "{who}: {what}");
                }
            }
            let became = dial.call(cluster.grpc(), HEARTBEAT, Empty {}, token).await;
            assert!(became.is_refused(), "{who}: {became:?}");
        }
    }

    // Of another authority, with all the right names; and one that was good once.
    let other = Authority::make("another authority");
    for (who, leaf) in [("foreign", other.issue(&NAMES)), ("expired", pki.authority.issue_expired(&NAMES))] {
        for dial in [Dial::showing(&ours, &leaf), Dial::showing(&ours, &leaf).at_processes()] {
            for token in [None, Some(PROCESS)] {
                for (what, became) in called(&dial, &cluster, token).await {
                    assert_eq!(became, Called::CutOff, "{who}: {what}");
                }
            }
        }
    }

    // Any certificate of the authority with the name is one, wherever it dials, and needs nothing else.
    let process = pki.authority.issue(&[PROCESS_NAME]);
    for dial in [Dial::showing(&ours, &process), Dial::showing(&ours, &process).at_processes()] {
        for (what, became) in called(&dial, &cluster, None).await {
            assert!(matches!(became, Called::Answered(_)) && !became.is_refused(), "{what}: {became:?}");
        }
    }
    over(cluster.grpc(), &pki.ca(), ADMIN).await.ok("SELECT 1").await;
    nothing_shown(&cluster, &pki);
}

/// Users who are not told apart may do everything, and are no processes nevertheless.
#[tokio::test(flavor = "multi_thread")]
async fn row_47_users_without_tokens_are_no_processes() {
    let pki = Pki::make();
    let cluster = pki.material.on(Setup::up()).start_without_waiting().await;
    let user = Dial::user(&[&pki.authority]);
    let process = Dial::showing(&[&pki.authority], &pki.leaf).at_processes();
    for path in OF_SCHEDULER.into_iter().filter(|path| !path.contains("MetaStore")) {
        let became = user.call(cluster.grpc(), path, Empty {}, None).await;
        assert_eq!(became, Called::Answered(Code::PermissionDenied), "{path}");
        let became = process.call(cluster.grpc(), path, Empty {}, None).await;
        assert!(matches!(became, Called::Answered(_)) && !became.is_refused(), "{path}: {became:?}");
    }
    // Any token will do where nobody asks for one.
    let endpoint = format!("https://{}", cluster.grpc());
    let session = try_with(&endpoint, Some(&pki.ca()), ADMIN, Duration::ZERO).await.unwrap();
    session.set_route("staged").await;
    assert_eq!(session.value("SELECT sum(value) FROM generate_series(1, 100)").await, "5050");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_47_executors_may_listen_to_others_if_certificates_tell_them_apart() {
    let (known, pki, data) = (Known::write(), Pki::make(), TempDir::new().unwrap());
    let arguments: Vec<String> = [
        "executor",
        "--listen",
        "0.0.0.0:0",
        "--http-listen",
        "127.0.0.1:0",
        "--set",
        "executor.advertise_host=127.0.0.1",
        "--data-dir",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([data.path().display().to_string()])
    .collect();
    let (status, told) = output(command(&arguments, &[])).await;
    assert_eq!(status, Some(1), "{told}");
    assert!(told.contains("`executor.listen`") && told.contains("identity.trusted_network"), "{told}");

    let file = data.path().join("n.parquet");
    files::parquet(&file, "SELECT value AS n FROM generate_series(0, 99999)").await;
    let setup = Setup::cluster(0)
        .set("identity.tokens", known.path().display())
        .set("executor.advertise_host", "127.0.0.1")
        .allow(data.path());
    let mut cluster = pki.material.on(setup).start_without_waiting().await;
    for _ in 0..2 {
        cluster.add_executor_listening("0.0.0.0:0");
    }
    until_executors(&cluster, &Dial::user(&[&pki.authority]), 2).await;
    let session = over(cluster.grpc(), &pki.ca(), ADMIN).await;
    session.set_route("staged").await;
    let sql = format!("SELECT sum(n) FROM '{}' GROUP BY n % 2 ORDER BY 1", file.display());
    for results in ["proxy", "direct"] {
        session.set("polarway.results", results).await;
        assert_eq!(session.ok(&sql).await.cells(), [["2499950000"], ["2500000000"]], "{results}");
    }
    nothing_shown(&cluster, &pki);
}
