"""What a server or the network says instead of taking rows, and what follows from it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from polarway.error import Error

UNAUTHENTICATED = "unauthenticated"
"""The kind when the server does not know the caller."""

UNTRUSTED = "untrusted"
"""The kind when the server cannot prove its name, or it is not known who is trusted to vouch for it."""


@dataclass(frozen=True)
class Refusal:
    """Why a connection did not come about, or ended.

    Attributes:
        kind: The server's name for it (docs/streams.md), or one of `unreachable`, `lost`, `no_server`, `no_token` and
            `untrusted`.
        message: One sentence that names the cause.
        hint: What to do about it.
        retry_after: Seconds after which the server wants to be asked again.
        location: The URL where the stream is, as far as that was said.
    """

    kind: str
    message: str
    hint: str = ""
    retry_after: float | None = None
    location: str | None = None

    @property
    def gets_better(self) -> bool:
        """Whether to connect again, here or elsewhere, may help."""
        return self.kind not in _FINAL

    @property
    def error(self) -> Error:
        """What a caller gets when nobody tries any more."""
        kind = _KINDS.get(self.kind, "INTERNAL")
        return Error(
            kind,
            self.message,
            hint=self.hint or _HINTS.get(self.kind, ""),
            retry_after=self.retry_after,
            is_retryable=self.gets_better,
            is_unavailable=kind in {"DRAINING", "STORE_UNAVAILABLE"},
        )


# Everything that is not here is tried again: a kind that a later server has may be of either sort, and a sink that
# gives up loses what it holds, while one that tries says in its counts that it does.
_FINAL = {
    "bad_parameter",
    "bad_request",
    "foreign_numbers",
    "frame_too_large",
    "invalid_text",
    "method_not_allowed",
    "no_server",
    "no_token",
    "not_allowed",
    "protocol",
    UNAUTHENTICATED,
    "unknown_path",
    "unknown_stream",
    "unsupported",
    UNTRUSTED,
}
_KINDS = {
    "bad_parameter": "INVALID_SETTING",
    "disk_full": "OVERLOADED",
    "draining": "DRAINING",
    "elsewhere": "DRAINING",
    "foreign_numbers": "INVALID_SETTING",
    "frame_too_large": "INVALID_SETTING",
    "idle": "DRAINING",
    "log_full": "OVERLOADED",
    "lost": "DRAINING",
    "moved": "DRAINING",
    "no_server": "INVALID_SETTING",
    "no_token": "CONFIGURATION",
    "not_allowed": "NOT_ALLOWED",
    "quota": "OVERLOADED",
    "timeout": "DRAINING",
    "too_many_connections": "OVERLOADED",
    UNAUTHENTICATED: "UNAUTHENTICATED",
    "unavailable": "STORE_UNAVAILABLE",
    "unknown_path": "INVALID_SETTING",
    "unknown_stream": "TABLE_NOT_FOUND",
    "unreachable": "DRAINING",
    UNTRUSTED: "CONFIGURATION",
}
_HINTS = {
    "foreign_numbers": "give each sink a name of its own, or none",
    "lost": "connect again; what was not acknowledged is sent again",
    "no_server": "use the address that `polarway up` or an ingest process prints behind `ws=`",
    UNAUTHENTICATED: "give the sink `token=` or `token_file=`; an operator gives tokens out",
    "unreachable": "check the address, and that the process runs with `--ws-listen`",
    UNTRUSTED: (
        "the server's certificate has to name the host as it is written here, and to be from an authority of the"
        " system, or of the file that `tls_ca` names; a server without TLS is written ws://HOST:PORT"
    ),
}
# For an end whose reason was not said, which proxies make: RFC 6455, section 7.4.
_CODES = {1002: "protocol", 1003: "unsupported", 1007: "invalid_text", 1009: "frame_too_large"}
_UNAUTHORIZED = 401
_SERVER_ERRORS = 500


def told(text: str | bytes) -> Refusal | None:
    """The error in a server's message or in the body of its answer.

    >>> told('{"error":{"kind":"log_full","message":"the log is full","hint":"wait"}}')
    Refusal(kind='log_full', message='the log is full', hint='wait', retry_after=None, location=None)
    """
    try:
        message: Any = json.loads(text)
        error: dict[str, object] = message["error"]
        return Refusal(str(error["kind"]), str(error["message"]), str(error.get("hint", "")))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def answered(status: int, body: bytes, retry_after: str | None, location: str | None) -> Refusal:
    """The refusal in an answer that was not 101."""
    said = told(body)
    if said is None:
        # No server of ours: a proxy that has lost its server will have it again, others will stay what they are.
        kind = "unreachable" if status >= _SERVER_ERRORS else "no_server"
        if status == _UNAUTHORIZED:
            kind = UNAUTHENTICATED
        said = Refusal(kind, f"the answer of the server was HTTP {status}")
    seconds = float(retry_after) if retry_after is not None and retry_after.isdecimal() else None
    return Refusal(said.kind, said.message, said.hint, seconds, location)


def closed(code: int | None, reason: str) -> Refusal:
    """The refusal in a close frame without a message before it; no code: the connection broke."""
    if code is None:
        return Refusal("lost", "the connection to the server was lost")
    return Refusal(_CODES.get(code, "lost"), f"the server closed the connection: {code} {reason}".strip())
