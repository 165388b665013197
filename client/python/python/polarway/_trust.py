"""Whom a client trusts to vouch for servers with TLS."""

from __future__ import annotations

import asyncio
import os
import ssl
import stat
from typing import TYPE_CHECKING

from polarway.error import Error
from polarway.live_options import is_tls
from polarway.result import Err, Ok, Result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self

    from polarway.reading import Path

_HINT = "`tls_ca` names a file (PEM) with the certificates of the authorities that servers have theirs from"


class LatestTrust:
    """Whom something that connects again and again trusts: those in a file, as it is each time, or the system's."""

    def __init__(self, file: str | None, *, needed: bool) -> None:
        self._file = file
        self._needed = needed
        self._latest: ssl.SSLContext | None = None

    @classmethod
    def of(cls, addresses: Sequence[str], tls_ca: Path | None) -> Self:
        """What the argument `tls_ca` says for these servers.

        Raises:
            ValueError: it is given, and no server is with TLS: it would promise what does not hold.
        """
        needed = any(map(is_tls, addresses))
        if tls_ca is not None and not needed:
            raise ValueError("tls_ca is for servers with TLS: write wss://HOST:PORT")
        return cls(None if tls_ca is None else os.fsdecode(tls_ca), needed=needed)

    async def read(self) -> Result[ssl.SSLContext | None, Error]:
        """What TLS connections are made with, if any are. A file that cannot be read any more leaves what it had."""
        if not self._needed or (self._file is None and self._latest is not None):
            return Ok(self._latest)
        read = await asyncio.to_thread(_context, self._file)
        if isinstance(read, Ok):
            self._latest = read.unwrap()
        elif self._latest is None:
            return Err(read.unwrap_err())
        return Ok(self._latest)


def _context(file: str | None) -> Result[ssl.SSLContext, Error]:
    if file is None:
        return Ok(ssl.create_default_context())
    try:
        # Before it is opened: to open a pipe is to wait for its writer.
        if not stat.S_ISREG(os.stat(file).st_mode):
            return _unusable(f"the authorities in {file} cannot be read: it is no regular file")
        # Those of the file and no others.
        return Ok(ssl.create_default_context(cafile=file))
    except ssl.SSLError as error:
        return _unusable(f"the authorities in {file} cannot be read: {error.reason or error}")
    except OSError as error:
        return _unusable(f"the authorities in {file} cannot be read: {error.strerror}")
    except ValueError:
        return _unusable("tls_ca is no path")


def _unusable(message: str) -> Err[Error]:
    return Err(Error("CONFIGURATION", message, hint=_HINT))
