//! `polarway sql` against `polarway up`.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{
    ENDLESS, Server, directory, polarway, read_all, signal, stderr, stdout, wait, with_input,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

#[test]
fn results_come_in_every_format() {
    let directory = directory();
    let server = Server::up(directory.path());
    let sql = "SELECT * FROM (VALUES (1, 'a'), (2, NULL)) AS t (n, s) ORDER BY n";

    let table = server.ask(sql, &[]);
    assert_eq!(
        stdout(&table),
        "+---+------+\n| n | s    |\n+---+------+\n| 1 | a    |\n| 2 | NULL |\n+---+------+\n"
    );
    assert_eq!((stderr(&table).as_str(), table.status.code()), ("", Some(0)));

    assert_eq!(stdout(&server.ask(sql, &["--format", "csv"])), "n,s\n1,a\n2,\n");
    assert_eq!(
        stdout(&server.ask(sql, &["--format", "ndjson"])),
        "{\"n\":1,\"s\":\"a\"}\n{\"n\":2,\"s\":null}\n"
    );

    let path = directory.path().join("out.parquet");
    let parquet = server.ask(sql, &["--format", "parquet", "-o", path.to_str().unwrap()]);
    assert_eq!((stdout(&parquet).as_str(), parquet.status.code()), ("", Some(0)));
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    assert_eq!(reader.build().unwrap().map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 2);
}

#[test]
fn statements_run_in_one_session_and_commands_print_no_rows() {
    let directory = directory();
    let server = Server::up(directory.path());
    let sql =
        "SET polarway.route = 'direct'; CREATE VIEW v AS SELECT 1 AS one; SELECT one FROM v; SELECT 2 AS two";
    let output = server.ask(sql, &["--format", "csv", "--timing"]);
    assert_eq!(stdout(&output), "one\n1\ntwo\n2\n");
    let told: Vec<_> = stderr(&output)
        .lines()
        .map(|line| line.split(['(', ',']).next().unwrap().trim().to_owned())
        .collect();
    assert_eq!(told, ["SET", "CREATE VIEW", "", ""]);
    assert!(stderr(&output).contains("(1 row, "), "{}", stderr(&output));
}

#[test]
fn a_script_stops_at_the_first_error_and_shows_its_place() {
    let directory = directory();
    let server = Server::up(directory.path());
    let script = directory.path().join("script.sql");
    std::fs::write(&script, "-- first\nSELECT 1 AS a;\n\nSELECT\n  1 + + * 2;\nSELECT 3;\n").unwrap();
    let output = server.sql().args(["--format", "csv", "-f", script.to_str().unwrap()]).output().unwrap();
    assert_eq!((stdout(&output).as_str(), output.status.code()), ("a\n1\n", Some(1)));
    let message = stderr(&output);
    assert!(message.starts_with("error: "), "{message}");
    assert!(message.contains(&format!("{}:5:9\n", script.display())), "{message}");
    assert!(message.contains("5 |   1 + + * 2\n  |         ^\n"), "{message}");
}

#[test]
fn statements_are_read_from_standard_input() {
    let directory = directory();
    let server = Server::up(directory.path());
    let input = "\\format csv\nSELECT 'a;\nb' AS x; -- not; here\nSELECT 2 AS y";
    let output = with_input(&mut server.sql(), input);
    assert_eq!((stdout(&output).as_str(), output.status.code()), ("x\n\"a;\nb\"\ny\n2\n", Some(0)));
}

#[test]
fn tables_are_listed_and_described() {
    let directory = directory();
    let server = Server::up(directory.path());
    let input =
        "CREATE VIEW v AS SELECT 1 AS one;\n\\format csv\n\\d\n\\dt\n\\dn\n\\d v\n\\q\nnever reached;";
    let output = with_input(&mut server.sql(), input);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(text.contains("public,v,VIEW"), "{text}");
    assert!(
        text.contains("table_name,table_type\ncatalog_name,schema_name\n"),
        "no table, so \\dt is empty: {text}"
    );
    assert!(text.contains("one,Int64,NO"), "{text}");
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let code = |args: &[&str]| polarway().args(args).output().unwrap().status.code();
    assert_eq!(code(&["sql", "--no-such-flag"]), Some(2));
    assert_eq!(code(&["sql", "--format", "parquet", "-c", "SELECT 1"]), Some(2));
    let refused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let output = polarway().args(["sql", "--endpoint", &refused, "-c", "SELECT 1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains(&format!("cannot reach polarway at {refused}")), "{}", stderr(&output));
    assert!(stderr(&output).contains("polarway up"), "{}", stderr(&output));
    let directory = directory();
    let server = Server::up(directory.path());
    assert_eq!(server.sql().args(["-f", "/nonexistent.sql"]).output().unwrap().status.code(), Some(2));
}

#[test]
fn a_reader_that_goes_away_ends_the_shell_quietly() {
    let directory = directory();
    let server = Server::up(directory.path());
    let mut process = server
        .sql()
        .args(["--format", "csv", "-c", "SELECT * FROM generate_series(1, 50000000)"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reader = BufReader::new(process.stdout.take().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    drop(reader);
    assert_eq!(wait(&mut process).code(), Some(0));
    assert_eq!(read_all(process.stderr.take().unwrap()), "");
}

#[test]
fn an_interrupt_cancels_the_statement() {
    let directory = directory();
    let server = Server::up(directory.path());
    let mut process = server.sql().args(["-c", ENDLESS]).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let asked = Instant::now();
    signal(&process, "INT");
    assert_eq!(wait(&mut process).code(), Some(130));
    assert!(asked.elapsed() < Duration::from_secs(3));
    assert_eq!(read_all(process.stderr.take().unwrap()), "cancelled\n");
}
