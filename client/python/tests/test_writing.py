"""The statement that writes files."""

from __future__ import annotations

import dataclasses
import pickle
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polarway import Err, Error, Ok, Rejected, Result, Written, col, plans
from polarway.verbs import Verbs
from polarway.writing import Writes, copy
from strategies import patient

if TYPE_CHECKING:
    from polarway.plans import Plan


class _Statements(Writes[Result[str, Error]]):
    """Gives the statements themselves."""

    def _copy(self, statement: Result[str, Error]) -> Result[str, Error]:
        return statement


class _Rows(Verbs["_Rows"]):
    """Steps without a client."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    @property
    def plan(self) -> Plan:
        return self._plan

    def _query(self, plan: Plan) -> _Rows:
        return _Rows(plan)


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=8)


def _read(sql: str, quote: str) -> tuple[str, str]:
    """What stands in quotes at the beginning, and the rest."""
    assert sql[0] == quote
    found, at = "", 1
    while True:
        if sql[at] != quote:
            found, at = found + sql[at], at + 1
        elif sql[at + 1 : at + 2] == quote:
            found, at = found + quote, at + 2
        else:
            return found, sql[at + 1 :]


@patient
@given(texts, st.lists(texts, max_size=3), st.dictionaries(texts, texts, max_size=2))
def test_names_and_texts_are_quoted(url: str, columns: list[str], options: dict[str, str]) -> None:
    sql = copy("SELECT 1", url, "PARQUET", columns, options).removeprefix("COPY (SELECT 1\n) TO ")
    found, sql = _read(sql, "'")
    assert found == url
    sql = sql.removeprefix(" STORED AS PARQUET")
    for place, column in enumerate(columns):
        found, sql = _read(sql.removeprefix(" PARTITIONED BY (" if place == 0 else ", "), '"')
        assert found == column
    sql = sql.removeprefix(")") if columns else sql
    for place, (name, value) in enumerate(options.items()):
        found, sql = _read(sql.removeprefix(" OPTIONS (" if place == 0 else ", "), "'")
        assert found == name
        found, sql = _read(sql.removeprefix(" "), "'")
        assert found == value
    assert sql == (")" if options else "")


@pytest.mark.parametrize(
    ("query", "inner"),
    [("SELECT 1;", "SELECT 1\n"), ("SELECT 1 -- all", "SELECT 1 -- all\n"), ("SELECT ';'", "SELECT ';'\n")],
)
def test_the_query_ends_where_it_ends(query: str, inner: str) -> None:
    assert copy(query, "a", "CSV", (), None) == f"COPY ({inner}) TO 'a' STORED AS CSV"


def test_formats_options_and_what_cannot_be_written() -> None:
    writer = _Statements()
    assert (
        writer.write_parquet("SELECT 1", "a/", partition_by="x y").unwrap().endswith('PARQUET PARTITIONED BY ("x y")')
    )
    assert (
        writer.write_csv("SELECT 1", "a", options={"format.has_header": True, "n": 5})
        .unwrap()
        .endswith("STORED AS CSV OPTIONS ('format.has_header' 'true', 'n' '5')")
    )
    assert writer.write_json("SELECT 1", "a").unwrap().endswith("STORED AS JSON")
    for wrong in (writer.write_csv("SELECT 1", "a\0b"), writer.write_csv("SELECT 1", "a", partition_by=["\ud800"])):
        assert isinstance(wrong, Err)
        assert wrong.unwrap_err().kind == "PLAN"


def test_verbs_are_written_as_their_statement() -> None:
    plan = plans.where(plans.table("ticks"), col("a") > 1)

    found = _Statements().write_parquet(_Rows(plan), "out/")
    assert found == Ok("COPY (SELECT * FROM ticks WHERE \"a\" > 1\n) TO 'out/' STORED AS PARQUET")


def test_what_was_written_and_rejected_never_changes_and_can_be_copied() -> None:
    written, rejected = Written(rows=1, files=2, bytes=3), Rejected(number=1, reason="no", text="{")
    for value in (written, rejected):
        assert pickle.loads(pickle.dumps(value)) == value  # noqa: S301 - made one line before
    with pytest.raises(dataclasses.FrozenInstanceError):
        written.rows = 5  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(dataclasses.FrozenInstanceError):
        rejected.text = ""  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
