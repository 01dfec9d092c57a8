"""Where a list that the workspace keeps names a customer, and the list without the rows that do.

A table is read as what it is: an id is a whole cell of ``customer_id``, whatever it is made of. Elsewhere an id may also stand within a text.
"""

from __future__ import annotations

import csv
import html
import json
import re
import zipfile
from bisect import bisect_right
from collections.abc import Container, Iterator, Sequence
from functools import lru_cache, partial
from io import StringIO
from itertools import chain, zip_longest
from pathlib import Path
from typing import NamedTuple

from retain import erasure
from retain.erasure import Tombstones
from retain.files import atomic_path
from serving.export import COLUMNS
from serving.lists import files

KINDS = frozenset({".parquet", ".csv", ".xlsx", ".html", ".jsonl", ".md", ".txt"})
"""Kinds of files that may name customers."""
PHRASE = 6
"""Most words and marks of an id that is found within a text."""
_ID = "customer_id"
_OURS = frozenset((*COLUMNS, *files.COLUMNS)) - {_ID}
"""Columns of our own lists that hold figures, offers and sentences, which name nobody."""
_WORD = re.compile(r"[^\s,;\t\r\n\"'<>]+")
_MARK = "\ufeff"
_KEPT = 65_536
"""Texts of one file whose answer is kept: reasons and offers are few."""
_DARK = re.compile(r"\S+")
_TAG = re.compile(r"<[^>]*>")
_CELL = re.compile(r"<(?:\w+:)?c\b((?:[^>/]|/(?!>))*)>(.*?)</(?:\w+:)?c>", re.DOTALL)
_PLACE = re.compile(r"\br=\"([A-Z]+)(\d+)\"")
_SHARED = re.compile(r"<(?:\w+:)?si\b[^>]*>(.*?)</(?:\w+:)?si>", re.DOTALL)
_RUN = re.compile(r"<(?:\w+:)?t\b[^>]*>(.*?)</(?:\w+:)?t>", re.DOTALL)
_VALUE = re.compile(r"<(?:\w+:)?v\b[^>]*>(.*?)</(?:\w+:)?v>", re.DOTALL)
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")


class _Piece(NamedTuple):
    """Some lines of a text that go or stay together."""

    text: str
    is_named: bool


def names(path: Path, customer_id: str) -> bool:
    """Whether a list names a customer."""
    if path.suffix.lower() == ".parquet":
        return bool(erasure.held(path, customer_id))
    return _in_book(path, {customer_id}) if path.suffix.lower() == ".xlsx" else any(piece.is_named for piece in _pieces(path, {customer_id})[0])


def sweep(path: Path, buried: Tombstones) -> int:
    """Take the rows of the erased out of a list; a page or workbook that names one goes as a whole. Return how many went."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return erasure.sweep_file(path, buried)
    if suffix == ".xlsx":
        gone, kept, encoding = int(_in_book(path, buried)), [], ""
    else:
        pieces, encoding = _pieces(path, buried)
        gone, kept = sum(piece.is_named for piece in pieces), [piece.text for piece in pieces if not piece.is_named]
    if gone and suffix in (".xlsx", ".html"):
        path.unlink()
        return 1
    if gone:
        with atomic_path(path) as partial, partial.open("w", encoding=encoding, newline="") as out:
            out.writelines(kept)
    return gone


def _pieces(path: Path, wanted: Container[str]) -> tuple[list[_Piece], str]:
    """A text in pieces, and its encoding."""
    content, suffix, encoding = path.read_bytes(), path.suffix.lower(), "utf-8"
    try:
        text = content.decode()
    except UnicodeDecodeError:
        # Saved by an older spreadsheet; each byte stays what it is.
        text, encoding = content.decode("latin-1"), "latin-1"
    named = _Named(wanted)
    lines = StringIO(text, newline="").readlines()
    if suffix == ".csv":
        return list(_records(lines, named)), encoding
    if suffix == ".html":
        return [_Piece(text, any(map(named.within, map(html.unescape, _TAG.split(text)))))], encoding
    found = _strings if suffix == ".jsonl" else _whole
    return [_Piece(line, any(map(named.within, found(line.lstrip(_MARK).rstrip("\r\n"))))) for line in lines], encoding


def _records(lines: Sequence[str], named: _Named) -> Iterator[_Piece]:
    """The records of a CSV file; what cannot be read as one is looked at line by line."""
    if not lines:
        return
    first = lines[0].lstrip(_MARK)
    reader = csv.reader(chain([first], lines[1:]), delimiter=max(",;\t|", key=first.count))
    columns: list[str] | None = None
    done = 0
    try:
        for cells in reader:
            columns = cells if columns is None else columns
            yield _Piece("".join(lines[done : reader.line_num]), named.among(cells, columns))
            done = reader.line_num
    except csv.Error:
        yield from (_Piece(line, named.within(line)) for line in lines[done:])


def _in_book(path: Path, wanted: Container[str]) -> bool:
    """Whether a workbook names somebody: in a cell, or in whatever else of it is text."""
    named = _Named(wanted)
    with zipfile.ZipFile(path) as book:
        parts = {name: book.read(name).decode() for name in book.namelist() if name.endswith(".xml")}
    shared = [_shown("".join(_RUN.findall(one))) for one in _SHARED.findall(parts.pop("xl/sharedStrings.xml", ""))]
    for part in parts.values():
        columns: dict[str, str] = {}
        cells = [(place[1], place[2], _text(said, inner, shared)) for said, inner in _CELL.findall(part) if (place := _PLACE.search(said))]
        for column, row, text in cells:
            columns.setdefault(column, text if row == cells[0][1] else "")
        is_table = _ID in columns.values()
        if any(named.cell(text, columns[column] if is_table else "") for column, _, text in cells):
            return True
        if not cells and any(named.within(_shown(text)) for text in _RUN.findall(part)):
            return True
    return False


def _text(said: str, inner: str, shared: Sequence[str]) -> str:
    """What a cell shows, by its attributes and what stands in it."""
    value = "".join(_VALUE.findall(inner))
    if 't="s"' in said:
        return shared[int(value)]
    return _shown("".join(_RUN.findall(inner)) or value)


def _shown(text: str) -> str:
    """The text of a cell as its reader sees it."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), html.unescape(text))


def _whole(line: str) -> Iterator[str]:
    yield line


def _strings(line: str) -> Iterator[str]:
    """All texts and numbers of a line of JSON; the line itself where it is none."""
    try:
        waiting: list[object] = [json.loads(line)]
    except ValueError:
        waiting = [line]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += [*one, *one.values()]
        elif isinstance(one, list):
            waiting += one
        else:
            yield str(one)


class _Named:
    """Whether somebody is named, as it is asked again and again of one file."""

    def __init__(self, wanted: Container[str]) -> None:
        self.within = lru_cache(_KEPT)(partial(_within, wanted))
        """Whether a text is a name or holds one."""
        self._is = partial(_is, wanted)

    def cell(self, text: str, column: str) -> bool:
        """Whether a cell of a column names somebody."""
        return self._is(text) if column == _ID else column not in _OURS and self.within(text)

    def among(self, cells: Sequence[str], columns: Sequence[str]) -> bool:
        """Whether a record does. Where no column holds ids, any may."""
        if _ID not in columns:
            return any(map(self.within, cells))
        return any(self.cell(text, column) for text, column in zip_longest(cells, columns[: len(cells)], fillvalue=""))


def _is(wanted: Container[str], text: str) -> bool:
    """Whether a text is a name, as it is or with the quote that keeps spreadsheets from running it."""
    return text in wanted or (text[:1] == "'" and text[1:] in wanted)


def _within(wanted: Container[str], text: str) -> bool:
    """Whether a text is a name or some of its words are."""
    if _is(wanted, text) or text.strip() in wanted:
        return True
    spans = [found.span() for each in (_WORD, _DARK) for found in each.finditer(text)]
    starts, ends = (sorted(set(places)) for places in (zip(*spans, strict=True) if spans else ((), ())))
    for start in starts:
        first = bisect_right(ends, start)
        for end in ends[first : first + PHRASE]:
            if text[start:end] in wanted:
                return True
    return False
