from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError
from typing import TYPE_CHECKING

import pytest
from hypothesis import given

from polarway import Err, Nothing, Ok, Option, Some, UnwrapError, is_none, is_some
from strategies import option_functions, option_suppliers, options, plain_functions, values

if TYPE_CHECKING:
    from collections.abc import Callable


@given(options)
def test_row_31_functor_identity(option: Option[object]) -> None:
    assert option.map(lambda x: x) == option


@given(options, plain_functions, plain_functions)
def test_row_31_functor_composition(
    option: Option[object], f: Callable[[object], object], g: Callable[[object], object]
) -> None:
    assert option.map(f).map(g) == option.map(lambda x: g(f(x)))


@given(values, option_functions)
def test_row_31_monad_left_identity(value: object, f: Callable[[object], Option[object]]) -> None:
    assert Option.some(value).and_then(f) == f(value)


@given(options)
def test_row_31_monad_right_identity(option: Option[object]) -> None:
    assert option.and_then(Some) == option


@given(options, option_functions, option_functions)
def test_row_31_monad_associativity(
    option: Option[object], f: Callable[[object], Option[object]], g: Callable[[object], Option[object]]
) -> None:
    assert option.and_then(f).and_then(g) == option.and_then(lambda x: f(x).and_then(g))


@given(options, option_suppliers, option_suppliers)
def test_row_31_or_else_is_associative_with_nothing_as_unit(
    option: Option[object], f: Callable[[], Option[object]], g: Callable[[], Option[object]]
) -> None:
    assert option.or_else(f).or_else(g) == option.or_else(lambda: f().or_else(g))
    assert option.or_else(Nothing) == option
    assert Nothing().or_else(f) == f()


@given(options, option_functions)
def test_row_31_and_then_is_map_and_flatten(option: Option[object], f: Callable[[object], Option[object]]) -> None:
    assert option.and_then(f) == option.map(f).flatten()


@given(options, options)
def test_row_31_zip_needs_both(one: Option[object], two: Option[object]) -> None:
    assert one.zip(two) == one.and_then(lambda a: two.map(lambda b: (a, b)))


@given(options)
def test_row_31_some_or_none(option: Option[object]) -> None:
    assert option.is_some() is not option.is_none()
    assert (is_some(option), is_none(option)) == (option.is_some(), option.is_none())
    assert len(list(option)) == option.is_some()
    assert option.filter(lambda _: True) == option
    assert option.filter(lambda _: False) is Nothing()


@given(options)
def test_row_31_copies_are_equal(option: Option[object]) -> None:
    twins = [copy.copy(option), copy.deepcopy(option)]
    twins += [pickle.loads(pickle.dumps(option, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]  # noqa: S301
    for twin in twins:
        assert twin == option
        assert hash(twin) == hash(option)
        assert repr(twin) == repr(option)
        assert (twin is option) or option.is_some()


def test_row_31_the_guide_as_printed() -> None:
    assert repr(Option.some(42).map(lambda x: x * 2)) == "Some(84)"
    assert Option.nothing().unwrap_or(0) == 0
    opt = Option.some("data.parquet").and_then(lambda path: Some(len(path))).and_then(lambda n: Some(n + 1))
    assert opt == Some(13)


def test_row_31_a_value_that_is_false_is_a_value() -> None:
    empty: list[object] = [None, 0, False, "", []]
    for value in empty:
        option = Option.some(value)
        assert option.is_some()
        assert option != Option.nothing()
        assert option.unwrap_or("default") is value
    assert Option.of(None) is Nothing()
    assert Option.of(0) == Some(0)


def test_row_31_and_then_with_a_callback_that_returns_no_option() -> None:
    def half(x: int) -> float:
        return x / 2

    with pytest.raises(TypeError, match=r"and_then: .*half returned 2\.5 \(float\), not an Option"):
        Some(5).and_then(half)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"or_else: .* returned None \(NoneType\), not an Option"):
        Nothing().or_else(lambda: None)  # type: ignore[arg-type,return-value]  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"flatten: got 5 \(int\), not an Option"):
        Some(5).flatten()  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


def test_row_31_unwrap_of_nothing() -> None:
    with pytest.raises(UnwrapError, match=r"unwrap of Nothing\(\)"):
        Nothing().unwrap()
    with pytest.raises(UnwrapError, match="the job has no id"):
        Nothing().expect("the job has no id")
    assert Some(1).unwrap() == Some(1).expect("m") == 1


def test_row_31_match() -> None:
    def read(option: Option[int]) -> str:
        match option.variant:
            case Some(value):
                return f"value {value}"
            case Nothing():
                return "nothing"

    assert [read(Some(1)), read(Nothing())] == ["value 1", "nothing"]


def test_row_31_to_result() -> None:
    assert Some(None).ok_or("e") == Some(None).ok_or_else(lambda: "e") == Ok(None)
    assert Nothing().ok_or("e") == Nothing().ok_or_else(lambda: "e") == Err("e")


def test_row_31_defaults_are_made_only_when_needed() -> None:
    def unused() -> str:
        raise AssertionError

    assert Some(1).unwrap_or_else(unused) == 1
    assert Some(1).ok_or_else(unused) == Ok(1)
    assert Nothing().unwrap_or_else(lambda: "made") == "made"


def test_row_31_inspect_sees_and_passes() -> None:
    seen: list[object] = []
    some = Some(1)
    assert some.inspect(seen.append) is some
    assert Nothing().inspect(seen.append) is Nothing()
    assert seen == [1]


def test_row_31_nothing_changes() -> None:
    some = Some(1)
    for change in ("some_value", "other"):
        with pytest.raises(FrozenInstanceError):
            setattr(some, change, 2)
        with pytest.raises(AttributeError):
            setattr(Nothing(), change, 2)
    assert not hasattr(some, "__dict__")
    assert Some[int](1) == some


def test_row_31_truth_is_refused() -> None:
    for option in (Some(1), Some(0), Nothing()):
        with pytest.raises(TypeError, match=r"is_some\(\) or is_none\(\)"):
            bool(option)


def test_row_31_there_are_two_cases() -> None:
    with pytest.raises(TypeError, match="two cases"):
        type("Third", (Option,), {})
    with pytest.raises(TypeError, match="abstract"):
        Option()  # type: ignore[abstract]  # pyright: ignore[reportAbstractUsage]
