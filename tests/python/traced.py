"""Asks by our package in a program that OpenTelemetry traces: the span that a call is made in is the call's parent."""

import asyncio
import sys

from opentelemetry import context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from polarway import AsyncPolarwayClient, PolarwayClient

server, outside, inside, at_once = sys.argv[1:]


def span(traceparent):
    return TraceContextTextMapPropagator().extract({"traceparent": traceparent})


async def ask(client, traceparent):
    context.attach(span(traceparent))
    (await client.query("SELECT 1 AS one")).unwrap()


async def ask_at_once():
    async with AsyncPolarwayClient(server) as client:
        await asyncio.gather(ask(client, inside), ask(client, at_once))


with PolarwayClient(server) as client:
    client.query("SELECT 1 AS one").unwrap()
    token = context.attach(span(outside))
    client.query("SELECT 1 AS one").unwrap()
    context.detach(token)
asyncio.run(ask_at_once())
