from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from polarway.live_encoding import Payload
from polarway.live_window import Window, first_number


class Log:
    """A server that stores each number once, and forgets what is behind `durable` when it dies."""

    def __init__(self) -> None:
        self.stored: list[tuple[int, bytes]] = []
        self.durable = 0

    @property
    def last(self) -> int:
        return self.stored[-1][0] if self.stored else 0

    def take(self, data: bytes) -> None:
        header, _, rows = data.partition(b"\n")
        number = int(header[1:])
        if number > self.last:
            assert rows
            self.stored.append((number, rows))

    def die(self) -> None:
        self.stored = self.stored[: self.durable]


@given(st.lists(st.sampled_from(["push", "send", "lose", "sync", "ack", "break", "die"]), max_size=80))
def test_a_window_loses_and_doubles_nothing(steps: list[str]) -> None:
    """Whatever breaks between pushing, sending, storing and acknowledging."""
    log, window = Log(), Window(1, 1000, 1 << 20)
    pushed: list[bytes] = []
    acknowledged = 0

    def connect() -> None:
        before = window.resume(log.last).unwrap()
        if before is not None:
            log.take(before.data)

    for step in [*steps, "break", *["send"] * len(steps), "sync", "ack"]:
        if step == "push":
            pushed.append(b"row %d" % len(pushed))
            window.add(Payload(pushed[-1].decode(), 1))
        elif step in {"send", "lose"}:
            frame = window.take()
            if frame is not None and step == "send":
                log.take(frame.data)
            elif frame is not None:
                connect()
        elif step == "sync":
            log.durable = len(log.stored)
        elif step == "ack":
            acknowledged += window.acknowledge(log.stored[log.durable - 1][0] if log.durable else 0).rows
        elif step == "break":
            connect()
        else:
            log.die()
            connect()
        assert window.rows == len(pushed) - acknowledged
        assert acknowledged <= log.durable
    assert [rows for _, rows in log.stored] == pushed
    assert (window.frames, window.bytes, window.rows) == (0, 0, 0)
    assert window.oldest == window.newest + 1


def test_what_arrived_before_the_connection_broke_is_asked_for_and_not_sent_again() -> None:
    window = Window(1, 10, 1000)
    for text in ("a", "b", "c", "d"):
        window.add(Payload(text, 1))
    sent = [window.take() for _ in range(3)]
    assert [frame.data for frame in sent if frame] == [b"#1\na", b"#2\nb", b"#3\nc"]
    probe = window.resume(2).unwrap()
    assert probe is not None
    assert (probe.data, probe.rows) == (b"#2\n", 0)
    again = [window.take() for _ in range(3)]
    assert [frame.data for frame in again if frame] == [b"#3\nc", b"#4\nd"]
    assert window.acknowledge(2).rows == 2
    assert (window.oldest, window.frames) == (3, 2)


def test_a_server_that_has_less_than_was_acknowledged_gets_what_follows() -> None:
    window = Window(1, 10, 1000)
    window.add(Payload("a", 1))
    window.take()
    window.acknowledge(1)
    window.add(Payload("b", 1))
    assert window.resume(0).unwrap() is None
    frame = window.take()
    assert frame is not None
    assert frame.data == b"#2\nb"


def test_numbers_that_were_never_sent_are_somebody_elses() -> None:
    window = Window(5, 10, 1000)
    window.add(Payload("a", 1))
    assert window.resume(4).is_ok()
    assert window.resume(5).unwrap_err() == 5


def test_a_window_is_bounded_in_frames_and_bytes() -> None:
    window = Window(1, 2, 1000)
    window.add(Payload("a", 1))
    assert not window.is_full
    window.add(Payload("a", 1))
    assert window.is_full
    window = Window(1, 100, 10)
    window.add(Payload("0123456789", 1))
    assert window.is_full
    window.take()
    assert window.is_full
    window.acknowledge(1)
    assert not window.is_full


def test_first_numbers_are_above_all_that_were_acknowledged() -> None:
    assert first_number(named=False, last=0, now=1.8e9) == 1
    assert first_number(named=True, last=0, now=1.8e9) == 1_800_000_000_000_001
    assert first_number(named=True, last=2_000_000_000_000_000, now=1.8e9) == 2_000_000_000_000_001
