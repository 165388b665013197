"""Asks and sends over TLS by our package, which trusts one authority and not another."""

import asyncio
import sys

from polarway import AsyncPolarwayClient, Error, LiveTableSink, PolarwayClient

server, taker, ours, another, token = sys.argv[1:]
CONFIGURATION = "CONFIGURATION"


def blocking(authority):
    with PolarwayClient(server, token=token, tls_ca=authority, retry_for=3600) as client:
        return list(client.raising.query("SELECT 40 + 2 AS n"))


async def asked(authority):
    async with AsyncPolarwayClient(server, token=token, tls_ca=authority, retry_for=3600) as client:
        return list(await client.raising.query("SELECT 40 + 2 AS n"))


async def sent(authority):
    async with LiveTableSink(taker, "ticks", token=token, tls_ca=authority) as sink:
        (await sink.push([{"price": 1.5}, {"price": 2.5}])).unwrap()
        return (await sink.flush()).unwrap().rows


def refused(call):
    try:
        told = call()
    except Error as error:
        return error.kind
    raise AssertionError(f"trusted another authority: {told!r}")


assert blocking(ours) == [{"n": 42}]
assert asyncio.run(asked(ours)) == [{"n": 42}]
assert asyncio.run(sent(ours)) == 2
assert refused(lambda: blocking(another)) == CONFIGURATION
assert refused(lambda: asyncio.run(asked(another))) == CONFIGURATION
assert refused(lambda: asyncio.run(sent(another))) == CONFIGURATION
print("all well")
