"""What counts as JSON here: UTF-8, every key once, no NaN, nothing after the end; then what counts as content."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import inspect

from retain.errors import RetainError

T = TypeVar("T")
LONGEST_WORD, LONGEST_PATH, LONGEST_WORDS = 64, 200, 2000
"""Characters of a name, a path and a sentence that an error says back: what somebody sends may be as long as a body."""


class SyntaxProblem(RetainError):
    """The body is not JSON as RFC 8259 and good sense have it."""

    code = "syntax"


class ContentProblem(RetainError):
    """The body is JSON and says what cannot be."""

    code = "content"


def parse(body: bytes, kind: type[T]) -> T:
    """A checked object from a body.

    Raises:
        SyntaxProblem: not UTF-8, not JSON, a key twice, NaN or an infinity, nested too deeply.
        ContentProblem: names the field and, in a list, the row.
    """
    try:
        text = body.decode("utf-8")
        if text.startswith("\ufeff"):
            raise SyntaxProblem("the body is not JSON: it begins with a byte order mark")
        value = _DECODER.decode(text)
        beyond = _beyond(body)
        found = msgspec.convert(value, kind)
        if beyond is not None:
            raise beyond
        return found
    except msgspec.ValidationError as error:
        words, path = _told(error)
        field, row = _place(path) if path else (None, None)
        raise ContentProblem(plain(words, choices(kind, path))[:LONGEST_WORDS], field=field or _named(words), row=row) from error
    except RecursionError as error:
        raise SyntaxProblem("the body is nested too deeply") from error
    except UnicodeDecodeError as error:
        raise SyntaxProblem(f"the body is not UTF-8 (byte {error.start})") from error
    except (json.JSONDecodeError, msgspec.DecodeError) as error:
        raise SyntaxProblem(f"the body is not JSON: {error}") from error
    except ValueError as error:
        raise ContentProblem("a number has more digits than any number here can have") from error


def parameters(query: bytes, known: Collection[str]) -> None:
    """Refuse a query that names what a route does not know, so that a typing error is told.

    Raises:
        ContentProblem: names the first of them.
    """
    if not query:
        return
    strange = next((name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True) if name not in known), None)
    if strange is not None:
        expected = f"it knows {', '.join(known)}" if known else "it knows none"
        raise ContentProblem(f"the route does not know this parameter of the query; {expected}", field=strange[:LONGEST_WORD])


def _beyond(body: bytes) -> msgspec.ValidationError | None:
    """That a number is larger than any float: what is converted to a type says in which field.

    The stricter parser of the two looks at the text as well: it refuses halves of surrogate pairs.
    """
    try:
        msgspec.json.decode(body)
    except msgspec.ValidationError as error:
        return error
    return None


def _told(error: msgspec.ValidationError) -> tuple[str, str]:
    """The words of an error and the path that it names; no path is as long as a key that somebody makes up to look like one."""
    words, _, path = str(error).rpartition(" - at `")
    return (words, path.rstrip("`")) if words and len(path) <= LONGEST_PATH else (str(error), "")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise SyntaxProblem("a key stands twice in one object", field=_twice(pairs)[:LONGEST_WORD])
    return result


def _twice(pairs: Sequence[tuple[str, Any]]) -> str:
    """The first key that stands there again."""
    seen: set[str] = set()
    # ``add`` returns None: a key that is new is put down.
    return next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]


def _number(text: str) -> float | int:
    """14.0 is a whole number, as JSON Schema has it."""
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _constant(text: str) -> NoReturn:
    raise SyntaxProblem(f"{text} is not JSON; leave the field out or write null")


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant, parse_float=_number)


def _place(path: str) -> tuple[str | None, int | None]:
    """``$.customer_ids[3]`` as field and row, ``$.events[3].kind`` as ``events.kind`` and row."""
    field, _, rest = path.removeprefix("$").lstrip(".").partition("[")
    index, _, inner = rest.partition("]")
    return f"{field}{inner}" or None, int(index) if index.isdecimal() else None


def _named(words: str) -> str | None:
    """The field that a message names between backquotes."""
    parts = words.split("`", 2)
    return (
        parts[1][:LONGEST_WORD]
        if len(parts) > 2 and parts[1].isidentifier() and parts[1] not in ("int", "str", "object", "array", "null", "float", "bool")
        else None
    )


def plain(words: str, allowed: Sequence[object] = ()) -> str:
    """A message for people: a regular expression explains nothing, and of what was sent only a slip of a word that is right is said back."""
    if words.startswith("Invalid enum value"):
        given = _WORD.search(words)
        # A name in the wrong field is not said back to anybody: it is like none of our words.
        is_slip = given is not None and bool(get_close_matches(given[1].lower(), map(str, allowed), 1))
        expected = "one of " + ", ".join(map(str, allowed)) if allowed else "one of the words that the description of the service lists for it"
        return f"Expected {expected}" + (f"; got {given[1]}" if given and is_slip else "")
    if "matching regex" not in words:
        return words
    return "Expected a currency as three capital letters" if "A-Z" in words else "Expected text without control characters"


_WORD = re.compile(r"'([A-Za-z_ -]{1,40})'")


def choices(kind: type[Any], path: str) -> list[object]:
    """The words that a type allows at a path as msgspec tells it (``$.events[3].kind``); none where it is no choice of words."""
    found: list[inspect.Type] = [inspect.type_info(kind)]
    for step in re.findall(r"\.\w+|\[[^\]]*\]", path):
        found = [inner for each in found for inner in _within(each, step)]
    return [value for each in _alternatives(found) if isinstance(each, inspect.LiteralType) for value in each.values]


def _within(kind: inspect.Type, step: str) -> list[inspect.Type]:
    """What lies one step further inside a type."""
    result: list[inspect.Type] = []
    for each in _alternatives([kind]):
        if isinstance(each, inspect.StructType):
            result.extend(one.type for one in each.fields if f".{one.encode_name}" == step)
        elif isinstance(each, inspect.ListType):
            result.append(each.item_type)
    return result


def _alternatives(kinds: Sequence[inspect.Type]) -> list[inspect.Type]:
    """What stands in unions, and behind what only describes."""
    result: list[inspect.Type] = []
    for each in kinds:
        if isinstance(each, inspect.UnionType):
            result.extend(_alternatives(each.types))
        elif isinstance(each, inspect.Metadata):
            result.extend(_alternatives([each.type]))
        else:
            result.append(each)
    return result
