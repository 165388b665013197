"""Asks over TLS by ADBC's driver for Flight SQL, which trusts one authority and not another."""

import sys
from pathlib import Path

import adbc_driver_flightsql.dbapi as flight_sql
from adbc_driver_flightsql import DatabaseOptions


def asked(uri, authority, token, sql):
    options = {
        DatabaseOptions.TLS_ROOT_CERTS.value: Path(authority).read_text(),
        DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {token}",
    }
    with flight_sql.connect(uri, db_kwargs=options) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


uri, ours, another, token, sql = sys.argv[1:]
assert asked(uri, ours, token, sql) == 5050
try:
    told = asked(uri, another, token, sql)
except Exception as error:
    assert "certificate" in str(error), error
else:
    raise AssertionError(f"trusted another authority, which told {told!r}")
print("all well")
