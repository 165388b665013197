"""What a client proves with who it is."""

from __future__ import annotations

import asyncio
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from polarway.error import Error
from polarway.result import Err, Ok, Result

if TYPE_CHECKING:
    from polarway.reading import Path

# A path that leads to something else than a token is not read into memory.
_LONGEST = 4096
_HINT = "a token is one word of letters, digits and punctuation; its file has it on one line and nothing else"


@dataclass(frozen=True, repr=False)
class Token:
    """A token as it is, or the file that has it. It is not shown: `Token(***)`.

    Attributes:
        text: The token.
        file: Path of the file; what ends it of white space is no part of the token.
    """

    text: str | None = None
    file: str | None = None

    def __repr__(self) -> str:
        return "Token(***)"

    @classmethod
    def of(cls, token: str | None, token_file: Path | None) -> Token | None:
        """What the arguments `token` and `token_file` say.

        Raises:
            ValueError: both are given, or the token is none. The error does not show it.

        >>> Token.of("s3cret", None), Token.of(None, None)
        (Token(***), None)
        """
        if token_file is None:
            if token is None:
                return None
            fault = _fault(token)
            if fault is not None:
                raise ValueError(f"token {fault}")
            return cls(text=token)
        if token is not None:
            raise ValueError("token and token_file cannot both be given")
        return cls(file=os.fsdecode(token_file))

    def read(self) -> Result[str, Error]:
        """The token as it is now. With a file it blocks for that."""
        if self.file is None:
            return Ok(self.text or "")
        try:
            # Before it is opened: to open a pipe is to wait for its writer.
            if not stat.S_ISREG(os.stat(self.file).st_mode):
                return _unusable(f"the token file {self.file} is no regular file")
            with open(self.file, "rb") as file:
                data = file.read(_LONGEST + 1)
        except OSError as error:
            return _unusable(f"the token file {self.file} cannot be read: {error.strerror}")
        except ValueError:
            return _unusable("token_file is no path")
        # No byte is lost, whatever it is: the check below tells of those that are no ASCII.
        text = data.rstrip().decode("latin-1")
        fault = _fault(text)
        return Ok(text) if fault is None else _unusable(f"the token in {self.file} {fault}")


class LatestToken:
    """The token of something that connects again and again: as it is each time."""

    def __init__(self, token: Token | None) -> None:
        self._token = token
        self._latest: str | None = None

    async def read(self) -> Result[str | None, Error]:
        """The token, if there is one. A file that cannot be read any more leaves what it had."""
        token = self._token
        if token is None or token.file is None:
            return Ok(None if token is None else token.text)
        read = await asyncio.to_thread(token.read)
        if isinstance(read, Ok):
            self._latest = read.unwrap()
        elif self._latest is None:
            return Err(read.unwrap_err())
        return Ok(self._latest)

    async def is_other_than(self, sent: str | None) -> bool:
        """Whether it has been replaced since `sent` was read."""
        read = await self.read()
        return isinstance(read, Ok) and read.unwrap() != sent


def _fault(token: str) -> str | None:
    """What is wrong with it, without showing it."""
    if not token:
        return "is empty"
    if len(token) > _LONGEST:
        return f"has more than {_LONGEST} bytes"
    if not all("!" <= sign <= "~" for sign in token):
        return "has a sign that cannot be in a header"
    return None


def _unusable(message: str) -> Err[Error]:
    return Err(Error("CONFIGURATION", message, hint=_HINT))
