"""What type checkers have to see. Nothing here runs; pyright and mypy read it, both in strict mode."""

from __future__ import annotations

from typing_extensions import Never, assert_never, assert_type

from polarway import Err, Nothing, Ok, Option, Result, Some, is_err, is_none, is_ok, is_some


def divide(x: int) -> Result[float, str]:
    if x == 0:
        return Result.err("division by zero")
    return Result.ok(100 / x)


def find(key: str) -> Option[int]:
    return Option.of({"id": 7}.get(key))


def the_guide() -> None:
    result: Result[int, str] = Result.ok(42)
    result.map(lambda x: x * 2)
    result = Result.err("failed to read file")
    result.or_else(lambda _: Result.ok(0))
    assert_type(Result.ok(5).and_then(divide), Result[float, str])


def constructors() -> None:
    assert_type(Ok(1), Ok[int])
    assert_type(Err("e"), Err[str])
    assert_type(Result.ok(1), Result[int, Never])
    assert_type(Result.err("e"), Result[Never, str])
    assert_type(Some(1), Some[int])
    assert_type(Option.some(1), Option[int])
    assert_type(Option.nothing(), Option[Never])


def both_readings_of_ok_and_err(result: Result[int, str]) -> None:
    assert_type(result.ok(), Option[int])
    assert_type(result.err(), Option[str])
    assert_type(Ok(1).ok(), Option[int])
    assert_type(Err("e").err(), Option[str])


def result_methods(result: Result[int, str]) -> None:
    assert_type(result.map(float), Result[float, str])
    assert_type(result.map_err(len), Result[int, int])
    assert_type(result.and_then(divide), Result[float, str])
    assert_type(result.or_else(lambda e: divide(len(e))), Result[int | float, str])
    assert_type(result.unwrap(), int)
    assert_type(result.unwrap_err(), str)
    assert_type(result.unwrap_or(None), int | None)
    assert_type(result.unwrap_or_else(lambda e: e.encode()), int | bytes)
    assert_type(result.expect("m"), int)
    assert_type(result.expect_err("m"), str)
    assert_type(result.inspect(print).inspect_err(print), Result[int, str])
    assert_type(result.zip(divide(1)), Result[tuple[int, float], str])
    assert_type(list(result), list[int])


def errors_add_up(result: Result[int, str], other: Result[bytes, KeyError]) -> None:
    assert_type(result.zip(other), Result[tuple[int, bytes], str | KeyError])
    assert_type(result.and_then(lambda _: other), Result[bytes, str | KeyError])


def flattened(result: Result[Result[int, KeyError], str], option: Option[Option[int]]) -> None:
    assert_type(result.flatten(), Result[int, KeyError | str])
    assert_type(option.flatten(), Option[int])


def guards_narrow(result: Result[int, str], option: Option[int]) -> None:
    if is_ok(result):
        assert_type(result, Ok[int])
    if is_err(result):
        assert_type(result, Err[str])
    if is_some(option):
        assert_type(option, Some[int])
    if is_none(option):
        assert_type(option, Nothing)


def guards_narrow_variants_both_ways(result: Result[int, str], option: Option[int]) -> None:
    either = result.variant
    if is_ok(either):
        assert_type(either, Ok[int])
    else:
        assert_type(either, Err[str])
    maybe = option.variant
    if is_none(maybe):
        assert_type(maybe, Nothing)
    else:
        assert_type(maybe, Some[int])


def isinstance_narrows(result: Result[int, str]) -> int:
    either = result.variant
    if isinstance(either, Ok):
        return either.ok_value
    return len(either.err_value)


def match_on_the_class(result: Result[int, str], option: Option[int]) -> int:
    match result:
        case Ok(value):
            return int(value)
        case Err(error):
            return len(error)
        case _:
            pass
    match option:
        case Some(value):
            return int(value)
        case _:
            return 0


def match_is_exhaustive(result: Result[int, str]) -> int:
    match result.variant:
        case Ok(value):
            assert_type(value, int)
            return value
        case Err(error):
            assert_type(error, str)
            return len(error)


def match_is_exhaustive_for_options(option: Option[int]) -> int:
    variant = option.variant
    match variant:
        case Some(value):
            assert_type(value, int)
            return value
        case Nothing():
            return 0
        case _:
            assert_never(variant)


def covariant(ok: Ok[bool], err: Err[KeyError], some: Some[bool]) -> None:
    results: list[Result[int, LookupError]] = [ok, err]
    options: list[Option[int]] = [some, Nothing()]
    assert_type((results, options), tuple[list[Result[int, LookupError]], list[Option[int]]])


def option_methods(option: Option[int], result: Result[int, str]) -> None:
    assert_type(option.map(str), Option[str])
    assert_type(option.and_then(lambda _: find("id")), Option[int])
    assert_type(option.or_else(lambda: Some("")), Option[int | str])
    assert_type(option.filter(lambda x: x > 1), Option[int])
    assert_type(option.unwrap(), int)
    assert_type(option.unwrap_or(""), int | str)
    assert_type(option.unwrap_or_else(list[str]), int | list[str])
    assert_type(option.expect("m"), int)
    assert_type(option.ok_or("e"), Result[int, str])
    assert_type(option.ok_or_else(lambda: "e"), Result[int, str])
    assert_type(option.zip(Some("")), Option[tuple[int, str]])
    assert_type(result.ok().ok_or(3), Result[int, int])


def of_none(text: str | None) -> None:
    assert_type(Option.of(text), Option[str])


def truth_is_refused(result: Result[int, str]) -> None:
    if result:  # pyright: ignore[reportGeneralTypeIssues]
        pass


def nothing_changes(ok: Ok[int]) -> None:
    ok.ok_value = 3  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def errors_have_to_fit() -> Result[int, str]:
    return Err(3)  # type: ignore[arg-type]  # pyright: ignore[reportReturnType]
