"""Talks to a Polarway server with the unmodified ADBC driver for Flight SQL.

usage: adbc_check.py grpc://HOST:PORT DIRECTORY_OF_TPCH
"""

import sys
import threading
import time

import adbc_driver_flightsql.dbapi as flightsql
import adbc_driver_manager
import pyarrow
import pyarrow.parquet

ENDLESS = (
    "SELECT count(*) FROM lineitem a JOIN lineitem b ON a.l_linenumber = b.l_linenumber"
    " WHERE a.l_comment <> b.l_comment"
)


def one_value(cursor, sql):
    cursor.execute(sql)
    rows = cursor.fetchall()
    assert len(rows) == 1 and len(rows[0]) == 1, rows
    return rows[0][0]


def check_ddl_and_queries(connection, data):
    with connection.cursor() as cursor:
        for table in ("nation", "region", "lineitem"):
            cursor.execute(f"CREATE EXTERNAL TABLE {table} STORED AS PARQUET LOCATION '{data}/{table}/'")
        cursor.executescript("CREATE VIEW asia AS SELECT * FROM nation WHERE n_regionkey = 2")

        cursor.execute("SELECT n_nationkey, n_name FROM nation ORDER BY n_nationkey")
        table = cursor.fetch_arrow_table()
        expected = pyarrow.parquet.read_table(f"{data}/nation", columns=["n_nationkey", "n_name"])
        expected = expected.sort_by("n_nationkey")
        assert table.num_rows == 25
        assert table.column("n_nationkey").to_pylist() == expected.column("n_nationkey").to_pylist()
        assert table.column("n_name").to_pylist() == expected.column("n_name").to_pylist()
        assert table.schema.field("n_name").type == pyarrow.string(), table.schema

        cursor.execute("SELECT r_regionkey AS k, r_name FROM region ORDER BY 1")
        assert [column[0] for column in cursor.description] == ["k", "r_name"]
        assert cursor.fetchone() == (0, "AFRICA")
        assert cursor.fetchmany(2) == [(1, "AMERICA"), (2, "ASIA")]
        assert len(cursor.fetchall()) == 2
        assert cursor.fetchone() is None

        assert one_value(cursor, "SELECT count(n_name) FROM asia") == 5
        assert one_value(cursor, "SELECT 1") == 1
        assert one_value(cursor, "SELECT CAST(NULL AS INT)") is None
        cursor.execute("SELECT * FROM nation WHERE n_nationkey > 99")
        assert cursor.fetch_arrow_table().num_rows == 0

        cursor.execute("SELECT l_orderkey, l_comment FROM lineitem")
        rows = sum(batch.num_rows for batch in cursor.fetch_record_batch())
        assert rows == 600_572, rows


def check_parameters(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT n_name FROM nation WHERE n_nationkey = ? OR n_name = ? ORDER BY 1", (3, "CHINA"))
        assert cursor.fetchall() == [("CANADA",), ("CHINA",)]
        cursor.execute("SELECT $2 AS b, $1 AS a", ("it's", 2.5))
        assert cursor.fetchall() == [(2.5, "it's")]
        cursor.execute("SELECT n_name FROM nation WHERE n_nationkey = ?", (4,))
        assert cursor.fetchall() == [("EGYPT",)], "the values of this time"
        cursor.adbc_statement.set_sql_query("SELECT n_name FROM nation WHERE n_nationkey = ?")
        cursor.adbc_statement.prepare()
        schema = pyarrow.schema(cursor.adbc_statement.get_parameter_schema())
        assert len(schema) == 1 and pyarrow.types.is_integer(schema.field(0).type), schema
        try:
            cursor.execute("SELECT ?, ?", (1,))
            cursor.fetchall()
        except flightsql.Error as error:
            assert "$2" in str(error), error
        else:
            raise AssertionError("a value was missing")


def check_writing(connection):
    rows = pyarrow.table({"id": [1, 2, None], "name": ["a", "b's", None]})
    with connection.cursor() as cursor:
        assert cursor.adbc_ingest("sent", rows, mode="create") == 3
        assert cursor.adbc_ingest("sent", rows.to_reader(), mode="append") == 3
        assert cursor.adbc_ingest("sent", rows, mode="create_append", db_schema_name="public") == 3
        cursor.execute("SELECT id, name FROM sent ORDER BY id")
        assert cursor.fetchall()[:4] == [(1, "a"), (1, "a"), (1, "a"), (2, "b's")]
        assert one_value(cursor, "SELECT count(*) FROM sent") == 9
        assert cursor.adbc_ingest("sent", rows, mode="replace") == 3
        assert one_value(cursor, "SELECT count(*) FROM sent") == 3
        for name, mode in (("sent", "create"), ("missing", "append")):
            try:
                cursor.adbc_ingest(name, rows, mode=mode)
            except flightsql.Error:
                pass
            else:
                raise AssertionError(f"{mode} of {name}")
        cursor.execute("CREATE TABLE made AS SELECT * FROM sent")
        assert cursor.fetchall()[0][0] == 3
        cursor.executemany("INSERT INTO made VALUES (?, ?)", [(7, "x'); DROP TABLE made; --"), (8, None)])
        assert cursor.rowcount in (-1, 2), cursor.rowcount
        cursor.execute("SELECT id, name FROM made WHERE id > 6 ORDER BY id")
        assert cursor.fetchall() == [(7, "x'); DROP TABLE made; --"), (8, None)]
        cursor.execute("DROP TABLE made")
        cursor.execute("DROP TABLE sent")


def check_settings(connection):
    with connection.cursor() as cursor:
        cursor.execute("SET polarway.route = 'staged'")
        cursor.execute("EXPLAIN SELECT sum(n_nationkey) FROM nation")
        plan = dict(cursor.fetchall())
        assert plan["route"].startswith("staged"), plan["route"]
        assert one_value(cursor, "SELECT sum(n_nationkey) FROM nation") == 300
        cursor.execute("RESET polarway.route")
        cursor.execute("EXPLAIN SELECT sum(n_nationkey) FROM nation")
        assert dict(cursor.fetchall())["route"].startswith("direct")


def check_metadata(connection):
    info = connection.adbc_get_info()
    assert info["vendor_name"] == "Polarway", info
    assert info["vendor_version"], info
    assert set(connection.adbc_get_table_types()) == {"BASE TABLE", "VIEW"}

    objects = connection.adbc_get_objects(depth="all").read_all().to_pylist()
    catalogs = {catalog["catalog_name"]: catalog for catalog in objects}
    assert list(catalogs) == ["polarway"], list(catalogs)
    schemas = {schema["db_schema_name"]: schema for schema in catalogs["polarway"]["catalog_db_schemas"]}
    tables = {table["table_name"]: table for table in schemas["public"]["db_schema_tables"]}
    assert {"nation", "region", "lineitem", "asia"} <= set(tables), list(tables)
    assert tables["nation"]["table_type"] == "BASE TABLE"
    assert tables["asia"]["table_type"] == "VIEW"
    columns = [column["column_name"] for column in tables["region"]["table_columns"]]
    assert columns == ["r_regionkey", "r_name", "r_comment"], columns

    only = connection.adbc_get_objects(depth="tables", table_name_filter="na%").read_all().to_pylist()
    names = [
        table["table_name"]
        for catalog in only
        for schema in catalog["catalog_db_schemas"]
        for table in schema["db_schema_tables"]
    ]
    assert names == ["nation"], names

    schema = connection.adbc_get_table_schema("region", db_schema_filter="public")
    assert schema.names == ["r_regionkey", "r_name", "r_comment"], schema


def check_errors(connection):
    def failure(sql):
        with connection.cursor() as cursor:
            try:
                cursor.execute(sql)
                cursor.fetchall()
            except flightsql.Error as error:
                return error
        raise AssertionError(f"{sql} succeeded")

    missing = failure("SELECT * FROM natoin")
    assert missing.status_code == adbc_driver_manager.AdbcStatusCode.NOT_FOUND, missing.status_code
    assert "natoin" in str(missing)
    syntax = failure("SELEC 1")
    assert syntax.status_code == adbc_driver_manager.AdbcStatusCode.INVALID_ARGUMENT, syntax.status_code
    refused = failure("SELECT * FROM '/etc/passwd'")
    assert refused.status_code == adbc_driver_manager.AdbcStatusCode.UNAUTHORIZED, refused.status_code
    failure("SELECT n_nationkey / (n_regionkey - n_regionkey) FROM nation")


def check_cancel(connection):
    with connection.cursor() as cursor:
        timer = threading.Timer(2.0, cursor.adbc_cancel)
        timer.start()
        started = time.monotonic()
        try:
            cursor.execute(ENDLESS)
            cursor.fetchall()
        except flightsql.Error as error:
            print(f"cancelled after {time.monotonic() - started:.1f} s: {type(error).__name__}")
        else:
            raise AssertionError("the endless query ended")
        finally:
            timer.join()
    # The connection goes on.
    with connection.cursor() as cursor:
        assert one_value(cursor, "SELECT count(n_name) FROM nation") == 25


def main():
    uri, data = sys.argv[1:]
    with flightsql.connect(uri, autocommit=True) as connection:
        check_ddl_and_queries(connection, data)
        check_parameters(connection)
        check_writing(connection)
        check_settings(connection)
        check_metadata(connection)
        check_errors(connection)
        check_cancel(connection)
        with connection.cursor() as cursor:
            cursor.execute("DROP VIEW asia")
            cursor.execute("DROP TABLE region")
    with flightsql.connect(uri, autocommit=True) as again, again.cursor() as cursor:
        cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1")
        assert [row[0] for row in cursor.fetchall()] == ["lineitem", "nation"]
    print("adbc: all well")


if __name__ == "__main__":
    main()
