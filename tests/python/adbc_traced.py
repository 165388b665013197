"""Asks by ADBC's driver for Flight SQL within a trace: its options bring a header into each call."""

import sys

import adbc_driver_flightsql.dbapi as flight_sql

uri, traceparent = sys.argv[1:]
options = {"adbc.flight.sql.rpc.call_header.traceparent": traceparent}
with flight_sql.connect(uri, db_kwargs=options, autocommit=True) as connection, connection.cursor() as cursor:
    cursor.execute("SELECT 1 AS one")
    assert cursor.fetchall() == [(1,)]
