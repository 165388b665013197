from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError
from typing import TYPE_CHECKING

import pytest
from hypothesis import given

from polarway import Err, Nothing, Ok, Option, Result, Some, UnwrapError, is_err, is_ok
from strategies import plain_functions, result_functions, results, values

if TYPE_CHECKING:
    from collections.abc import Callable


@given(results)
def test_row_31_functor_identity(result: Result[object, object]) -> None:
    assert result.map(lambda x: x) == result
    assert result.map_err(lambda e: e) == result


@given(results, plain_functions, plain_functions)
def test_row_31_functor_composition(
    result: Result[object, object], f: Callable[[object], object], g: Callable[[object], object]
) -> None:
    assert result.map(f).map(g) == result.map(lambda x: g(f(x)))
    assert result.map_err(f).map_err(g) == result.map_err(lambda e: g(f(e)))


@given(values, result_functions)
def test_row_31_monad_left_identity(value: object, f: Callable[[object], Result[object, object]]) -> None:
    assert Result.ok(value).and_then(f) == f(value)
    assert Result.err(value).or_else(f) == f(value)


@given(results)
def test_row_31_monad_right_identity(result: Result[object, object]) -> None:
    assert result.and_then(Ok) == result
    assert result.or_else(Err) == result


@given(results, result_functions, result_functions)
def test_row_31_monad_associativity(
    result: Result[object, object],
    f: Callable[[object], Result[object, object]],
    g: Callable[[object], Result[object, object]],
) -> None:
    assert result.and_then(f).and_then(g) == result.and_then(lambda x: f(x).and_then(g))
    assert result.or_else(f).or_else(g) == result.or_else(lambda e: f(e).or_else(g))


@given(results, plain_functions)
def test_row_31_map_is_and_then_ok(result: Result[object, object], f: Callable[[object], object]) -> None:
    assert result.map(f) == result.and_then(lambda x: Ok(f(x)))


@given(results, result_functions)
def test_row_31_and_then_is_map_and_flatten(
    result: Result[object, object], f: Callable[[object], Result[object, object]]
) -> None:
    assert result.and_then(f) == result.map(f).flatten()


@given(results, results)
def test_row_31_zip_takes_the_first_error(one: Result[object, object], two: Result[object, object]) -> None:
    assert one.zip(two) == one.and_then(lambda a: two.map(lambda b: (a, b)))


@given(results)
def test_row_31_exactly_one_of_value_and_error(result: Result[object, object]) -> None:
    assert result.is_ok() is not result.is_err()
    assert (is_ok(result), is_err(result)) == (result.is_ok(), result.is_err())
    assert (result.ok().is_some(), result.err().is_some()) == (result.is_ok(), result.is_err())
    assert list(result) == list(result.ok())


@given(results)
def test_row_31_copies_are_equal(result: Result[object, object]) -> None:
    twins = [copy.copy(result), copy.deepcopy(result)]
    twins += [pickle.loads(pickle.dumps(result, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]  # noqa: S301
    for twin in twins:
        assert twin == result
        assert type(twin) is type(result)
        assert hash(twin) == hash(result)
        assert repr(twin) == repr(result)


def test_row_31_the_guide_as_printed() -> None:
    result: Result[int, str] = Result.ok(42)
    assert repr(result.map(lambda x: x * 2)) == "Ok(84)"
    result = Result.err("Failed to read file")
    assert repr(result.or_else(lambda _: Result.ok(0))) == "Ok(0)"

    def safe_divide(x: int) -> Result[float, str]:
        if x == 0:
            return Result.err("Division by zero")
        return Result.ok(100 / x)

    assert repr(Result.ok(5).and_then(safe_divide)) == "Ok(20.0)"
    assert repr(Result.ok(0).and_then(safe_divide)) == "Err('Division by zero')"


def test_row_31_a_value_that_is_false_is_a_value() -> None:
    empty: list[object] = [None, 0, False, "", []]
    for value in empty:
        assert Ok(value).is_ok()
        assert Ok(value).ok() == Some(value)
        assert Err(value).is_err()
        assert Err(value).err() == Some(value)
        assert Ok(value).unwrap_or("default") is value


def test_row_31_names_of_the_class_build_and_names_of_the_object_ask() -> None:
    assert Result.ok(3) == Ok(3)
    assert Result.err(3) == Err(3)
    result: Result[int, str] = Result.ok(3)
    assert result.ok() == Some(3)
    assert result.err() is Nothing()
    failed: Result[int, str] = Result.err("e")
    assert failed.ok() is Nothing()
    assert failed.err() == Some("e")


def test_row_31_and_then_with_a_callback_that_returns_no_result() -> None:
    def half(x: int) -> float:
        return x / 2

    with pytest.raises(TypeError, match=r"and_then: .*half returned 2\.5 \(float\), not a Result"):
        Ok(5).and_then(half)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"or_else: .*half returned 2\.5 \(float\), not a Result"):
        Err(5).or_else(half)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"flatten: got 5 \(int\), not a Result"):
        Ok(5).flatten()  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


def test_row_31_and_then_with_an_async_callback_says_so() -> None:
    async def later(x: int) -> Result[int, str]:
        return Ok(x)

    with pytest.raises(TypeError, match=r"returned <coroutine .*, not a Result: await it first"):
        Ok(5).and_then(later)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_row_31_unwrap_keeps_the_cause() -> None:
    cause = FileNotFoundError("a.parquet")
    with pytest.raises(UnwrapError, match=r"unwrap of Err\(FileNotFoundError\('a\.parquet'\)\)") as caught:
        Err(cause).unwrap()
    assert caught.value.error is cause
    assert caught.value.__cause__ is cause

    with pytest.raises(UnwrapError, match="the file is needed: 404") as caught:
        Err(404).expect("the file is needed")
    assert caught.value.error == 404
    assert caught.value.__cause__ is None


def test_row_31_unwrap_err_of_a_value() -> None:
    with pytest.raises(UnwrapError, match=r"unwrap_err of Ok\(42\)"):
        Ok(42).unwrap_err()
    with pytest.raises(UnwrapError, match="no: 42"):
        Ok(42).expect_err("no")
    assert Err("e").unwrap_err() == Err("e").expect_err("no") == "e"


def test_row_31_an_unwrap_error_survives_a_pickle() -> None:
    error = UnwrapError("unwrap", KeyError("id"))
    twin: object = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert isinstance(twin, UnwrapError)
    assert (str(twin), repr(twin.error), repr(twin.__cause__)) == ("unwrap", "KeyError('id')", "KeyError('id')")


def test_row_31_match() -> None:
    def read(result: Result[int, str]) -> str:
        match result.variant:
            case Ok(0):
                return "zero"
            case Ok(value):
                return f"value {value}"
            case Err(error):
                return f"error {error}"

    assert [read(Ok(0)), read(Ok(1)), read(Err("e"))] == ["zero", "value 1", "error e"]


def test_row_31_inspect_sees_and_passes() -> None:
    seen: list[object] = []
    ok, err = Ok(1), Err("e")
    assert ok.inspect(seen.append).inspect_err(seen.append) is ok
    assert err.inspect(seen.append).inspect_err(seen.append) is err
    assert seen == [1, "e"]


def test_row_31_unwrap_or_else_sees_the_error() -> None:
    assert Err("gone").unwrap_or_else(len) == 4
    assert Ok(1).unwrap_or_else(len) == 1


def test_row_31_nothing_changes() -> None:
    ok, err = Ok(1), Err("e")
    for change in ("ok_value", "err_value", "other"):
        with pytest.raises(FrozenInstanceError):
            setattr(ok, change, 2)
        with pytest.raises(FrozenInstanceError):
            setattr(err, change, 2)
    with pytest.raises(FrozenInstanceError):
        delattr(ok, "ok_value")
    assert not hasattr(ok, "__dict__")
    assert not hasattr(err, "__dict__")


def test_row_31_explicit_type_arguments() -> None:
    assert Ok[int](1) == Ok(1)
    assert Err[str]("e") == Err("e")


def test_row_31_equality_and_hash_go_by_case_and_content() -> None:
    distinct: list[object] = [Ok(1), Ok(2), Err(1), Some(1), 1]
    for one, this in enumerate(distinct):
        for two, that in enumerate(distinct):
            assert (this == that) is (one == two)
    assert {Ok(1), Ok(1), Err(1)} == {Ok(1), Err(1)}
    with pytest.raises(TypeError, match="unhashable"):
        hash(Ok([]))


def test_row_31_truth_is_refused() -> None:
    for result in (Ok(1), Ok(0), Err("e")):
        with pytest.raises(TypeError, match=r"is_ok\(\) or is_err\(\)"):
            bool(result)


def test_row_31_there_are_two_cases() -> None:
    with pytest.raises(TypeError, match="two cases"):
        type("Third", (Result,), {})
    with pytest.raises(TypeError, match="abstract"):
        Result()  # type: ignore[abstract]  # pyright: ignore[reportAbstractUsage]


def test_row_31_to_option_and_back() -> None:
    found: Option[int] = Ok(1).ok()
    assert found.ok_or("e") == Ok(1)
    lost: Option[int] = Err("e").ok()
    assert lost.ok_or("e") == Err("e")
