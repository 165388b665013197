"""TLS: whom clients trust, that nothing leaves it, and what is said when a server cannot prove its name."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import pytest

from ingest_server import Behaviour, Stream, running
from polarway import AsyncPolarwayClient, LiveTableSink, Ok, PolarwayClient
from polarway import _session as session_module
from polarway._trust import LatestTrust

if TYPE_CHECKING:
    from pathlib import Path

    from polarway import Error
    from polarway._calls import Cancels
    from polarway._polarway import Done, NativeClient

# Of all sinks here: it is seen where it should not be if something is sent there.
TOKEN = "-".join(["a", "t0ken"])
HERE, ELSEWHERE = "IP:127.0.0.1", "DNS:elsewhere.example"


class Certified:
    """A certificate that is its own authority, and the server's side of it."""

    def __init__(self, directory: Path, name: str, subject: str = HERE) -> None:
        self.file = directory / f"{name}.pem"
        key = directory / f"{name}.key"
        subjects = ["-subj", f"/CN={name}", "-addext", f"subjectAltName={subject}"]
        make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subjects]
        subprocess.run([*make, "-out", self.file, "-keyout", key], check=True, capture_output=True, timeout=60)
        self.serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.serving.load_cert_chain(self.file, key)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    return Certified(tmp_path_factory.mktemp("ours"), "ours")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    return Certified(tmp_path_factory.mktemp("other"), "other")


def sink_of(address: str, **options: object) -> LiveTableSink:
    given: dict[str, Any] = {"batch_rows": 5, "backoff_min": 0.001, "backoff_max": 0.01, "token": TOKEN, **options}
    return LiveTableSink(address, "t", **given)


async def refused(address: str, **options: object) -> Error:
    """Why a sink does not connect."""
    sink = sink_of(address, **options)
    return (await asyncio.wait_for(sink.connect(), 10)).unwrap_err()


async def test_clients_hand_their_authorities_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    connected: list[tuple[object, ...]] = []

    class Call:
        def cancel(self) -> None:
            pass

    class Natives:
        def connect(self, *arguments: object) -> Cancels:
            *given, done = arguments
            connected.append(tuple(given))
            cast("Done[NativeClient]", done)(cast("NativeClient", object()), None)
            return Call()

    monkeypatch.setattr(session_module, "NativeClient", Natives())
    file = tmp_path / "ca.pem"
    (await AsyncPolarwayClient("https://a:1", tls_ca=file).connect()).unwrap()
    PolarwayClient("https://a:1,https://b:2", tls_ca=str(file)).connect().unwrap()
    assert connected == [
        (["https://a:1"], 5.0, 30.0, None, None, str(file)),
        (["https://a:1", "https://b:2"], 5.0, 30.0, None, None, str(file)),
    ]


async def test_row_47_a_sink_sends_over_tls_to_who_it_trusts(ours: Certified) -> None:
    stream = Stream()
    # The second connection is made anew, with the same authorities.
    async with (
        running(stream, Behaviour(store=1), tls=ours.serving) as server,
        sink_of(server.address, tls_ca=ours.file) as sink,
    ):
        (await sink.push([{"id": number} for number in range(20)])).unwrap()
        (await asyncio.wait_for(sink.flush(), 30)).unwrap()
    assert [row["id"] for row in stream.rows] == list(range(20))
    assert server.authorizations == [f"Bearer {TOKEN}"] * 2


async def test_row_47_a_server_of_another_authority_or_name_is_refused_at_once(
    ours: Certified, other: Certified, tmp_path: Path
) -> None:
    misnamed = Certified(tmp_path, "misnamed", ELSEWHERE)
    cases: list[tuple[Certified, dict[str, object], str]] = [
        (ours, {"tls_ca": other.file}, "self-signed certificate"),
        (ours, {}, "self-signed certificate"),
        (misnamed, {"tls_ca": misnamed.file}, "not valid for '127.0.0.1'"),
    ]
    for certified, options, cause in cases:
        async with running(Stream(), tls=certified.serving) as server:
            error = await refused(server.address, **options)
            assert (error.kind, error.is_retryable, error.is_unavailable) == ("CONFIGURATION", False, False)
            assert error.message.startswith(f"no TLS connection to {server.address}: ")
            assert cause in error.message
            assert "tls_ca" in error.hint
            assert server.requests == []


async def test_row_47_without_tls_nothing_is_sent_to_who_has_it(ours: Certified) -> None:
    async with running(Stream(), tls=ours.serving) as server:
        address = server.address.replace("wss", "ws")
        error = await refused(address, connect_timeout=0.5)
        assert server.requests == []
    assert error.kind == "DRAINING"
    assert "is written wss://" in error.hint


async def test_row_47_with_tls_nothing_is_sent_to_who_has_none(ours: Certified) -> None:
    async with running(Stream()) as server:
        error = await refused(server.address.replace("ws", "wss"), tls_ca=ours.file, connect_timeout=0.5)
        assert server.requests == []
    assert error.kind == "DRAINING"
    assert "is written ws://" in error.hint


async def test_row_47_a_redirect_does_not_leave_tls(ours: Certified) -> None:
    stream = Stream()
    async with running(stream, tls=ours.serving) as owner, running(stream) as plain:
        for target, is_followed in [(owner, True), (plain, False)]:
            location = f"ws://{target.address.partition('://')[2]}"
            away = Behaviour(status=HTTPStatus.TEMPORARY_REDIRECT, location=location, refusal="elsewhere")
            # Asked again and again, it says the same.
            async with running(stream, *[away] * 1000, tls=ours.serving) as first:
                sink = sink_of(first.address, tls_ca=ours.file, connect_timeout=0.5)
                connected = await asyncio.wait_for(sink.connect(), 10)
                await sink.aclose()
            assert isinstance(connected, Ok) is is_followed
            assert len(target.requests) == is_followed


async def test_a_handshake_that_is_cut_off_is_tried_again(ours: Certified) -> None:
    """By a server that is being started anew, for example."""

    async def cut(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(cut, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        error = await refused(f"wss://127.0.0.1:{port}", tls_ca=ours.file, connect_timeout=0.5)
    assert (error.kind, error.is_retryable) == ("DRAINING", True)


async def test_authorities_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("no certificate\n")
    for file in (tmp_path, tmp_path / "gone", nothing):
        error = await refused("wss://127.0.0.1:1", tls_ca=file)
        assert (error.kind, error.is_retryable) == ("CONFIGURATION", False)
        assert error.message.startswith(f"the authorities in {file} cannot be read: ")
        assert "PEM" in error.hint
    assert (await refused("wss://127.0.0.1:1", tls_ca="a\0b")).message == "tls_ca is no path"


async def test_authorities_are_those_of_the_file_each_time(ours: Certified, other: Certified, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(ours.file.read_bytes())
    trust = LatestTrust.of(["wss://a:1"], file)

    async def trusted() -> object:
        context = (await trust.read()).unwrap()
        assert context is not None
        return [authority["subject"] for authority in context.get_ca_certs()]

    assert await trusted() == [((("commonName", "ours"),),)]
    file.write_bytes(other.file.read_bytes())
    assert await trusted() == [((("commonName", "other"),),)]
    file.unlink()
    assert await trusted() == [((("commonName", "other"),),)]


async def test_without_tls_nobody_is_to_be_trusted(ours: Certified) -> None:
    assert (await LatestTrust.of(["ws://a:1"], None).read()).unwrap() is None
    with pytest.raises(ValueError, match="tls_ca is for servers with TLS"):
        LiveTableSink("a:1", "t", tls_ca=ours.file)
    with pytest.raises(ValueError, match="some addresses are with TLS and some without"):
        LiveTableSink("a:1,wss://b:2", "t")
