"""Tokens: who gets them, what is done when they are not taken, and that nothing shows them."""

from __future__ import annotations

import asyncio
import logging
import traceback
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import pytest

from ingest_server import Behaviour, Stream, running
from polarway import AsyncPolarwayClient, Error, LiveTableSink, PolarwayClient
from polarway import _session as session_module
from polarway._token import LatestToken, Token
from polarway.live_faults import answered
from polarway.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from polarway._calls import Cancels
    from polarway._polarway import Done, NativeClient

SECRET = "-".join(["s3cret", "T0ken"])
UNFIT = ["", " ", f"{SECRET} ", f"{SECRET}\n", f"{SECRET}é", f"{SECRET}\udc80", f"{SECRET}\0", SECRET * 1000]


class Call:
    def cancel(self) -> None:
        pass


class Natives:
    """Stands for the native module's `NativeClient`: notes how it is connected."""

    def __init__(self) -> None:
        self.connected: list[tuple[object, ...]] = []

    def connect(self, *arguments: object) -> Cancels:
        *given, done = arguments
        self.connected.append(tuple(given))
        cast("Done[NativeClient]", done)(cast("NativeClient", object()), None)
        return Call()


@pytest.fixture
def natives(monkeypatch: pytest.MonkeyPatch) -> Natives:
    natives = Natives()
    monkeypatch.setattr(session_module, "NativeClient", natives)
    return natives


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    put(path, SECRET)
    return path


def put(path: Path, token: str) -> None:
    path.write_text(f"{token}\n")


def sink(token: str | None = None, token_file: Path | None = None) -> LiveTableSink:
    return LiveTableSink("localhost:1", "t", token=token, token_file=token_file)


@pytest.mark.parametrize("make", [AsyncPolarwayClient, PolarwayClient, sink])
def test_arguments_are_checked_and_not_shown(make: Callable[..., object], file: Path) -> None:
    with pytest.raises(ValueError, match="token and token_file cannot both be given") as caught:
        make(token=SECRET, token_file=file)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    for text in UNFIT:
        with pytest.raises(ValueError, match=r"^token (is empty|has )") as caught:
            make(token=text)
        assert SECRET not in str(caught.value)
        # What was on the way to be raised, such as an error of an encoder, has the whole text.
        assert caught.value.__context__ is None


async def test_clients_hand_their_token_on(natives: Natives, file: Path) -> None:
    (await AsyncPolarwayClient("a:1,b:2", token=SECRET).connect()).unwrap()
    (await AsyncPolarwayClient("a:1", token_file=file).connect()).unwrap()
    PolarwayClient("a:1", token_file=str(file)).connect().unwrap()
    PolarwayClient("a:1", retry_for=1.0).connect().unwrap()
    assert natives.connected == [
        (["a:1", "b:2"], 5.0, 30.0, SECRET, None, None),
        (["a:1"], 5.0, 30.0, None, str(file), None),
        (["a:1"], 5.0, 30.0, None, str(file), None),
        (["a:1"], 5.0, 1.0, None, None, None),
    ]


def test_nothing_shows_a_token() -> None:
    token = Token.of(SECRET, None)
    options = Options(("a:1",), token=token)
    shown = [token, options, PolarwayClient(token=SECRET), LiveTableSink("a:1", "t", token=SECRET)]
    assert SECRET not in f"{shown} {token} {options}"
    assert repr(token) == "Token(***)"


def test_a_file_is_read_as_it_is_now(file: Path) -> None:
    token = Token(file=str(file))
    assert token.read().unwrap() == SECRET
    for content in ("two", "two\n", "two\r\n", "two \t\n\n"):
        file.write_text(content)
        assert token.read().unwrap() == "two"


def test_a_file_without_a_token_is_named_and_not_shown(file: Path) -> None:
    contents = ["", "\n \n", f"{SECRET}\n{SECRET}\n", f" {SECRET}", f"{SECRET}é", SECRET * 1000]
    for content in contents:
        file.write_text(content)
        error = Token(file=str(file)).read().unwrap_err()
        assert (error.kind, error.is_retryable) == ("CONFIGURATION", False)
        assert str(file) in error.message
        assert SECRET not in str(error)
    for path, told in [(file.parent, "is no regular file"), (file / "x", "cannot be read"), ("a\0b", "is no path")]:
        assert told in Token(file=str(path)).read().unwrap_err().message


async def test_a_file_that_is_gone_leaves_what_it_had(file: Path) -> None:
    latest = LatestToken(Token(file=str(file)))
    assert (await latest.read()).unwrap() == SECRET
    file.rename(file.with_name("old"))  # noqa: ASYNC240 - nothing else runs
    assert (await latest.read()).unwrap() == SECRET
    assert not await latest.is_other_than(SECRET)
    put(file, "two")
    assert await latest.is_other_than(SECRET)
    assert (await LatestToken(None).read()).unwrap() is None


async def test_a_sink_sends_its_token_and_logs_do_not_have_it(caplog: pytest.LogCaptureFixture) -> None:
    stream = Stream()
    with caplog.at_level(logging.DEBUG):
        async with running(stream, Behaviour(store=1)) as server:
            server.tokens = {SECRET}
            async with LiveTableSink(server.address, "t", token=SECRET, batch_rows=1, backoff_min=0.001) as sink:
                (await sink.push([{"id": 0}, {"id": 1}])).unwrap()
                (await sink.flush(30)).unwrap()
    assert stream.rows == [{"id": 0}, {"id": 1}]
    assert server.authorizations == [f"Bearer {SECRET}"] * 2
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("websockets.client")]
    assert "> Authorization: Bearer ***" in ours
    assert not [message for message in ours if SECRET in message]


async def test_without_a_token_there_is_no_header() -> None:
    async with running(Stream()) as server, LiveTableSink(server.address, "t"):
        pass
    assert server.authorizations == [None]


async def test_a_sink_takes_its_token_along_to_the_server_that_has_the_stream() -> None:
    stream = Stream()
    async with running(stream) as owner:
        owner.tokens = {SECRET}
        away = Behaviour(status=HTTPStatus.TEMPORARY_REDIRECT, location=owner.address, refusal="elsewhere")
        async with running(stream, away) as other, LiveTableSink(other.address, "t", token=SECRET) as sink:
            (await sink.push({"id": 0})).unwrap()
            (await sink.flush(30)).unwrap()
            assert other.authorizations == owner.authorizations == [f"Bearer {SECRET}"]
    assert stream.rows == [{"id": 0}]


async def test_a_token_that_is_not_known_ends_a_sink_at_once(file: Path) -> None:
    async with running(Stream()) as server:
        server.tokens = {"another"}
        for options in ({"token": SECRET}, {"token_file": file}, {}):
            sink = LiveTableSink(server.address, "t", **cast("Any", options))
            error = (await asyncio.wait_for(sink.connect(), 10)).unwrap_err()
            assert (error.kind, error.message) == ("UNAUTHENTICATED", "it is unauthenticated")
            assert not error.is_retryable
            assert not error.is_unavailable
            assert (await sink.push({"id": 1})).unwrap_err() == error
        assert server.authorizations == [f"Bearer {SECRET}", f"Bearer {SECRET}", None]


async def test_a_sink_goes_on_with_the_token_that_its_file_has_by_then(file: Path) -> None:
    """The server drops the connection and the old token, as it does when a token is taken away."""
    stream = Stream()
    async with running(stream, Behaviour(store=1, say="unauthenticated", code=1008)) as server:
        server.tokens = {SECRET}
        async with LiveTableSink(server.address, "t", token_file=file, batch_rows=1) as sink:
            server.tokens = {"two"}
            put(file, "two")
            (await sink.push([{"id": 0}, {"id": 1}])).unwrap()
            (await sink.flush(30)).unwrap()
        assert server.authorizations == [f"Bearer {SECRET}", "Bearer two"]
    assert stream.rows == [{"id": 0}, {"id": 1}]


async def test_a_token_that_was_replaced_while_it_was_on_the_way_is_sent_anew(file: Path) -> None:
    async with running(Stream()) as server:
        server.tokens = {"two"}
        server.on_request = lambda: put(file, "two")
        async with LiveTableSink(server.address, "t", token_file=file):
            pass
        assert server.authorizations == [f"Bearer {SECRET}", "Bearer two"]


async def test_a_sink_without_its_file_says_so(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    async with running(Stream()) as server:
        sink = LiveTableSink(server.address, "t", token_file=gone)
        error = (await asyncio.wait_for(sink.connect(), 10)).unwrap_err()
        assert (error.kind, error.is_retryable) == ("CONFIGURATION", False)
        assert error.message.startswith(f"the token file {gone} cannot be read: ")
        assert server.requests == []


def test_answers_that_ask_for_a_token_are_understood() -> None:
    for body in (b"<html>", b'{"error":{"kind":"unauthenticated","message":"no","hint":""}}'):
        refusal = answered(401, body, None, None)
        assert (refusal.kind, refusal.gets_better) == ("unauthenticated", False)
        error = refusal.error
        assert error.kind == "UNAUTHENTICATED"
        assert "token_file=" in error.hint
    low = answered(403, b'{"error":{"kind":"not_allowed","message":"no","hint":"ask"}}', None, None).error
    assert low == Error("NOT_ALLOWED", "no", hint="ask")
