from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polarway import (
    Err,
    Nothing,
    Ok,
    Option,
    Result,
    Some,
    collect,
    collect_option,
    partition,
    partition_option,
    sequence,
    sequence_option,
    traverse,
    traverse_option,
)
from strategies import option_functions, options, plain_functions, result_functions, results, values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@given(st.lists(values), result_functions)
def test_row_32_sequence_of_map_is_traverse(items: list[object], f: Callable[[object], Result[object, object]]) -> None:
    assert sequence(map(f, items)) == traverse(items, f)


@given(st.lists(values), option_functions)
def test_row_32_sequence_of_map_is_traverse_for_options(
    items: list[object], f: Callable[[object], Option[object]]
) -> None:
    assert sequence_option(map(f, items)) == traverse_option(items, f)


@given(st.lists(results))
def test_row_32_first_error_wins(given_results: list[Result[object, object]]) -> None:
    errors = [r for r in given_results if r.is_err()]
    expected = errors[0] if errors else Ok([r.unwrap() for r in given_results])
    assert sequence(given_results) == expected


@given(st.lists(values))
def test_row_32_traverse_with_the_pure_function_is_the_list(items: list[object]) -> None:
    assert traverse(items, Ok) == Ok(items)
    assert traverse_option(items, Some) == Some(items)


@given(st.lists(results), plain_functions)
def test_row_32_map_before_or_after_is_the_same(
    given_results: list[Result[object, object]], f: Callable[[object], object]
) -> None:
    after = sequence(given_results).map(lambda found: [f(value) for value in found])
    assert sequence(result.map(f) for result in given_results) == after


@given(st.lists(results), st.lists(results))
def test_row_32_sequence_of_a_concatenation(
    one: list[Result[object, object]], two: list[Result[object, object]]
) -> None:
    assert sequence(one + two) == sequence(one).zip(sequence(two)).map(lambda both: both[0] + both[1])


@given(st.lists(results))
def test_row_32_partition_keeps_everything_in_order(given_results: list[Result[object, object]]) -> None:
    found, errors = partition(given_results)
    assert found == [value for result in given_results for value in result.ok()]
    assert errors == [error for result in given_results for error in result.err()]
    assert collect(given_results) == (Err(errors) if errors else Ok(found))


@given(st.lists(options))
def test_row_32_partition_of_options_tells_the_places(given_options: list[Option[object]]) -> None:
    found, missing = partition_option(given_options)
    assert found == [value for option in given_options for value in option]
    assert all(given_options[place] is Nothing() for place in missing)
    assert len(found) + len(missing) == len(given_options)
    assert collect_option(given_options) == (Err(missing) if missing else Ok(found))


def test_row_32_nothing_is_taken_after_the_first_error() -> None:
    taken: list[int] = []

    def feed() -> Iterator[int]:
        for item in range(10):
            taken.append(item)
            yield item

    def refuse_two(item: int) -> Result[int, str]:
        return Err("two") if item == 2 else Ok(item)

    assert traverse(feed(), refuse_two) == Err("two")
    assert taken == [0, 1, 2]


def test_row_32_a_stop_iteration_of_the_callback_is_not_the_end_of_the_items() -> None:
    def exhausted(_: int) -> Result[int, str]:
        raise StopIteration

    def exhausted_option(_: int) -> Option[int]:
        raise StopIteration

    with pytest.raises(RuntimeError):
        traverse([1], exhausted)
    with pytest.raises(RuntimeError):
        traverse_option([1], exhausted_option)


def test_row_32_what_is_no_result_is_named() -> None:
    wrong: list[object] = [3]
    with pytest.raises(TypeError, match=r"sequence: got 3 \(int\), not a Result"):
        sequence(wrong)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"traverse: str returned '3' \(str\), not a Result"):
        traverse([3], str)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"partition: got 3 \(int\), not a Result"):
        partition(wrong)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"collect: got 3 \(int\), not a Result"):
        collect(wrong)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"sequence_option: got 3 \(int\), not an Option"):
        sequence_option(wrong)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"collect_option: got 3 \(int\), not an Option"):
        collect_option(wrong)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
