"""Which statements may be sent a second time because nobody knows what became of the first.

What changes something is not among them, whatever the error: the native client has sent it again already where that is
safe, under one key, and after that an error of the last server tells nothing of an answer that was lost before it.

When in doubt a statement counts as one that changes something.
"""

from __future__ import annotations

import re

_READS = re.compile(r"[\s(]*(SELECT|WITH|VALUES|TABLE|SHOW|DESCRIBE|DESC|EXPLAIN)\b", re.IGNORECASE)
# Of WITH … INSERT, SELECT … INTO, EXPLAIN ANALYZE of anything.
_CHANGES = re.compile(r"\b(INSERT|UPDATE|DELETE|MERGE|INTO|CREATE|DROP|ALTER|TRUNCATE|COPY)\b", re.IGNORECASE)
_QUOTED = re.compile(r"""--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|"(?:[^"]|"")*\"""", re.DOTALL)
# What other dialects quote or escape with: there the pattern above may take code for text.
_FOREIGN = re.compile(r"[\\`]|\$\w*\$")


def always() -> bool:
    """Of calls that change nothing, or nothing more the second time."""
    return True


def never() -> bool:
    """Of uploads, whose rows may be readable only once, and of calls that would answer something else."""
    return False


def changes_nothing(sql: str) -> bool:
    """Whether a statement surely changes nothing.

    >>> changes_nothing("SELECT * FROM t WHERE verb = 'insert'"), changes_nothing("WITH a AS (VALUES (1)) TABLE a")
    (True, True)
    >>> changes_nothing("CREATE VIEW v AS SELECT 1"), changes_nothing("EXPLAIN ANALYZE INSERT INTO t VALUES (1)")
    (False, False)
    """
    code = sql if _FOREIGN.search(sql) else _QUOTED.sub(" ", sql)
    return _READS.match(code) is not None and _CHANGES.search(code) is None
