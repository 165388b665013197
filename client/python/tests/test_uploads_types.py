"""Names of types, of SQL and of Arrow, and names of tables."""

from __future__ import annotations

from typing import Any

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polarway.uploads._schema import schema_of
from polarway.uploads._type_names import named_type
from polarway.uploads._upload import Target
from strategies import patient

# It tells its types in part only.
pa: Any = pyarrow


@pytest.mark.parametrize(
    ("text", "type_"),
    [
        ("BIGINT", pa.int64()),
        ("int unsigned", pa.uint32()),
        ("Double Precision", pa.float64()),
        ("FLOAT", pa.float32()),
        ("varchar(10)", pa.string()),
        ("TEXT[]", pa.list_(pa.string())),
        ("DECIMAL(18, 4)", pa.decimal128(18, 4)),
        ("numeric(40)", pa.decimal256(40, 0)),
        ("decimal", pa.decimal128(38, 10)),
        ("TIMESTAMP", pa.timestamp("ns")),
        ("TIMESTAMP(3)", pa.timestamp("ms")),
        ("TIMESTAMP(6) WITH TIME ZONE", pa.timestamp("us", "UTC")),
        ("timestamp with time zone", pa.timestamp("ns", "UTC")),
        ("TIMESTAMP WITHOUT TIME ZONE", pa.timestamp("ns")),
        ("Timestamp(µs)", pa.timestamp("us")),
        ('Timestamp(ns, "Europe/Berlin")', pa.timestamp("ns", "Europe/Berlin")),
        ("Timestamp(Microsecond, None)", pa.timestamp("us")),
        ('Timestamp(Millisecond, Some("+02:00"))', pa.timestamp("ms", "+02:00")),
        ("Time32(s)", pa.time32("s")),
        ("Time64(ns)", pa.time64("ns")),
        ("TIME", pa.time64("ns")),
        ("Duration(ms)", pa.duration("ms")),
        ("Utf8View", pa.string_view()),
        ("FixedSizeBinary(16)", pa.binary(16)),
        ("Decimal256(50, 10)", pa.decimal256(50, 10)),
        ("List(non-null Int64)", pa.list_(pa.field("item", pa.int64(), nullable=False))),
        ("LargeList(List(Utf8))", pa.large_list(pa.list_(pa.string()))),
        ("Dictionary(Int32, Utf8)", pa.dictionary(pa.int32(), pa.string())),
        (
            'Struct("a b": Int64, "c": non-null List(Utf8))',
            pa.struct([pa.field("a b", pa.int64()), pa.field("c", pa.list_(pa.string()), nullable=False)]),
        ),
        ("Struct()", pa.struct([])),
    ],
)
def test_types_have_the_names_that_sql_and_arrow_give_them(text: str, type_: object) -> None:
    assert named_type(pa, text) == type_
    assert named_type(pa, f"  {text} ") == type_


@pytest.mark.parametrize(
    "text",
    [
        "",
        "BIGGER",
        "INT INT",
        "DECIMAL(",
        "DECIMAL(x)",
        "Timestamp(parsec)",
        "List()",
        "List(Int64",
        "Int64)",
        "Int64 ?",
    ],
)
def test_what_is_no_type_is_told(text: str) -> None:
    error = schema_of(pa, {"a": text}).unwrap_err()
    assert error.kind == "TYPE_MISMATCH"
    assert "`a`" in error.message


@patient
@given(st.text(max_size=30))
def test_any_text_is_a_type_or_an_error(text: str) -> None:
    schema_of(pa, {"a": text})


def test_schemas_are_those_of_pyarrow_or_names_and_types() -> None:
    schema = pa.schema([("a", pa.int64())], metadata={"pandas": "{}"})
    assert schema_of(pa, schema).unwrap() == pa.schema([("a", pa.int64())])
    assert schema_of(pa, schema).unwrap().metadata is None
    assert schema_of(pa, {"a": pa.int64()}).unwrap() == schema.remove_metadata()
    for wrong in (["a"], 5, {"a": 5}):
        assert schema_of(pa, wrong).unwrap_err().kind == "TYPE_MISMATCH"


def test_tables_are_named_as_they_are_listed() -> None:
    target = Target.of("public.My Ticks", "append").unwrap()
    assert (target.schema, target.table, target.query()) == ("public", "My Ticks", 'SELECT * FROM "public"."My Ticks"')
    target = Target.of('a"b', "create").unwrap()
    assert (target.schema, target.table, target.query()) == (None, 'a"b', 'SELECT * FROM "a""b"')
    for wrong in ("", "a.", ".a", "a.b.c", "a\0b"):
        assert Target.of(wrong, "create").unwrap_err().kind == "PLAN"
    assert Target.of("a", "upsert").unwrap_err().kind == "INVALID_SETTING"
