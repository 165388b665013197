"""Tells a server who calls in each of the ways that ADBC's driver for Flight SQL has, right and wrong."""

import sys

import adbc_driver_flightsql.dbapi as flight_sql
from adbc_driver_flightsql import DatabaseOptions

HEADER = DatabaseOptions.AUTHORIZATION_HEADER.value


def user(uri, **options):
    with flight_sql.connect(uri, db_kwargs=options) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW polarway.user")
        return cursor.fetchone()[1]


def refused(uri, **options):
    try:
        told = user(uri, **options)
    except Exception as error:
        assert "UNAUTHENTICATED" in str(error).upper(), error
        return
    raise AssertionError(f"let in as {told!r}")


uri, name, token = sys.argv[1:]
wrong = token[::-1]
assert user(uri, username=name, password=token) == name
assert user(uri, **{HEADER: f"Bearer {token}"}) == name
refused(uri)
refused(uri, username=name, password=wrong)
refused(uri, **{HEADER: f"Bearer {wrong}"})
print("all well")
