"""Values and functions for property tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st

from polarway import Err, Nothing, Ok, Option, Result, Some

if TYPE_CHECKING:
    from collections.abc import Callable

# A busy machine would fail an example that has to be ready at some time.
patient = settings(deadline=None)

values = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3)
results: st.SearchStrategy[Result[object, object]] = st.builds(Ok[object], values) | st.builds(Err[object], values)
options: st.SearchStrategy[Option[object]] = st.builds(Some[object], values) | st.builds(Nothing)


def _of_one(_: object) -> object: ...
def _of_none() -> object: ...


plain_functions: st.SearchStrategy[Callable[[object], object]] = st.functions(like=_of_one, returns=values, pure=True)
result_functions: st.SearchStrategy[Callable[[object], Result[object, object]]] = st.functions(
    like=_of_one, returns=results, pure=True
)
option_functions: st.SearchStrategy[Callable[[object], Option[object]]] = st.functions(
    like=_of_one, returns=options, pure=True
)
option_suppliers: st.SearchStrategy[Callable[[], Option[object]]] = st.functions(
    like=_of_none, returns=options, pure=True
)
