"""What lies in Redis while several machines tell each other what they decided and heard, and the only ways in which it changes.

``retain:machines``        hash, machine -> when it last had told and read everything, how far, and whether it left in good order
``retain:log:<machine>``   stream of what that machine recorded; an entry's id is the place of the record in the machine's own log
``retain:at:<machine>``    hash: ``from`` and ``sent``, the last places before the stream and in it
``retain:grounds:<hash>``  what decisions share (``serving.grounds``), for an hour
``retain:turn:<hash>``     whose turn it is with a customer

Nothing of it is the truth: each machine's ledger is. What is lost here is written here again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from serving.ledger import mark
from serving.resp import Connection, RedisError, Word
from serving.segments import START, Place, Record

MACHINES, LOG, AT, GROUNDS, TURN = "retain:machines", "retain:log:", "retain:at:", "retain:grounds:", "retain:turn:"
READ_AT_ONCE = 200
KEPT_S = 86_400
"""What a machine that never comes back left behind is gone then."""
GROUNDS_S = 3600
NOTHING = START
"""Before every record, as the last one that is known."""
_APPEND = """
if redis.call('HGET', KEYS[1], 'sent') ~= ARGV[1] then return 0 end
for i = 3, #ARGV, 4 do
  redis.call('XADD', KEYS[2], ARGV[i], 'after', ARGV[i + 1], 'kind', ARGV[i + 2], 'body', ARGV[i + 3])
end
redis.call('HSET', KEYS[1], 'sent', ARGV[2])
return 1
"""
_BEGIN = "redis.call('DEL', KEYS[2]) redis.call('HSET', KEYS[1], 'from', ARGV[1], 'sent', ARGV[1]) return 1"
_FREE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end"


class Read(NamedTuple):
    """How far another machine's log was read."""

    last: Place
    mark: int
    """Of the record there (``ledger.mark``): it must be the one that stands there now."""


NOTHING_READ = Read(NOTHING, 0)


class Machine(msgspec.Struct, frozen=True):
    """What a machine says of itself."""

    beat: str
    """Another one each time."""
    sent: Place
    """Its last record that it has told."""
    got: dict[str, Read]
    """By machine: the last record of it that stands in this one's ledger, on disk."""
    has_left: bool = False


class Span(NamedTuple):
    """What of a machine's log lies in its stream: the records after one place and up to another."""

    after: Place
    sent: Place


class Told(NamedTuple):
    """A record of another machine."""

    place: Place
    after: Place
    """The record before it."""
    kind: int
    body: bytes


def identity(place: Place) -> str:
    """A place as an id of the stream, which orders as places do."""
    return f"{place.segment}-{place.offset}"


def place(identity: bytes) -> Place:
    """The place that an id stands for."""
    segment, _, offset = identity.partition(b"-")
    return Place(int(segment), int(offset))


def after(last: Place) -> Place:
    """The first place behind a record."""
    return Place(last.segment, last.offset + 1)


def before(end: Place) -> Place:
    """A place before ``end`` and behind every record before it."""
    return Place(end.segment, end.offset - 1) if end.offset else Place(max(end.segment - 1, 0), 2**62 if end.segment > 1 else 0)


class Store:
    """One connection's view of it. Every call ends within ``within_s``, or all of them together when ``until`` says.

    Each method raises RedisError where Redis is not there in time, or says no.
    """

    def __init__(self, connection: Connection, within_s: float = 0.0) -> None:
        self.connection, self._within_s, self._end = connection, within_s, 0.0

    def until(self, seconds: float) -> None:
        """What is called from now on ends within so many seconds, taken together."""
        self._end = time.monotonic() + seconds

    def look(self, me: str) -> tuple[dict[str, Machine], Span | None]:
        """What all machines say of themselves, and what lies in my own stream; None where Redis knows nothing of it."""
        found, span = self._calls(["HGETALL", MACHINES], ["HMGET", AT + me, "from", "sent"])
        return _machines(found), _span(span)

    def take(self, name: str, token: str, for_ms: int, me: str) -> tuple[bool, dict[str, Machine], Span | None]:
        """Take a turn where it is free; the rest is read after that."""
        got, found, span = self._calls(["SET", TURN + name, token, "NX", "PX", for_ms], ["HGETALL", MACHINES], ["HMGET", AT + me, "from", "sent"])
        return got is not None, _machines(found), _span(span)

    def holds(self, name: str, token: str) -> bool:
        """Whether a turn is still held."""
        return bool(self._calls(["GET", TURN + name])[0] == token.encode())

    def free(self, name: str, token: str) -> bool:
        """Give a turn back; whether it was still held."""
        return bool(self._calls(["EVAL", _FREE, 1, TURN + name, token])[0])

    def begin(self, me: str, last: Place) -> Span:
        """Empty my stream: what follows a place comes next."""
        self._calls(["EVAL", _BEGIN, 2, AT + me, LOG + me, identity(last)])
        return Span(last, last)

    def append(self, me: str, sent: Place, records: Sequence[Record]) -> bool:
        """Add records to my stream, in order, if it ends where they follow; another process of this machine may have been faster."""
        if not records:
            return True
        words: list[Word] = []
        last = sent
        for record in records:
            words += [identity(record.place), identity(last), record.kind, record.body]
            last = record.place
        try:
            (done,) = self._calls(["EVAL", _APPEND, 2, AT + me, LOG + me, identity(sent), identity(last), *words])
        except RedisError:
            # Nobody knows how much of it is there: the stream is made anew.
            self._calls(["DEL", AT + me])
            raise
        return bool(done)

    def last(self, me: str) -> Read | None:
        """The last record in my stream."""
        (found,) = self._calls(["XREVRANGE", LOG + me, "+", "-", "COUNT", 1])
        told = _told(*found[0]) if found else None
        return None if told is None else Read(told.place, mark(told.body))

    def read(self, got: Mapping[str, Place]) -> dict[str, list[Told]]:
        """What machines recorded behind the places that are known of them."""
        if not got:
            return {}
        names = list(got)
        (found,) = self._calls(["XREAD", "COUNT", READ_AT_ONCE, "STREAMS", *(LOG + name for name in names), *(identity(got[name]) for name in names)])
        return {key.decode().removeprefix(LOG): [_told(entry, fields) for entry, fields in entries] for key, entries in found or ()}

    def trim(self, me: str, last: Place) -> None:
        """Remove from my stream what everybody has."""
        self._calls(["XTRIM", LOG + me, "MINID", identity(after(last))], ["HSET", AT + me, "from", identity(last)])

    def length(self, me: str) -> int:
        """Records in my stream."""
        return int(self._calls(["XLEN", LOG + me])[0])

    def say(self, me: str, machine: Machine) -> None:
        """What a machine says of itself."""
        self._calls(["HSET", MACHINES, me, msgspec.json.encode(machine)], ["EXPIRE", LOG + me, KEPT_S], ["EXPIRE", AT + me, KEPT_S])

    def forget(self, machine: str) -> None:
        """Nobody waits for this machine any more."""
        self._calls(["HDEL", MACHINES, machine])

    def put(self, contents: Mapping[str, bytes]) -> None:
        """Lay down what decisions share."""
        commands: list[list[Word]] = [["SET", GROUNDS + name, content, "EX", GROUNDS_S] for name, content in contents.items()]
        self._calls(*commands)

    def get(self, digests: Iterable[str]) -> dict[str, bytes]:
        """What decisions share, as far as it is there."""
        names = list(digests)
        found = self._calls(*(["GET", GROUNDS + name] for name in names))
        return {name: content for name, content in zip(names, found, strict=True) if content is not None}

    def _calls(self, *commands: Sequence[Word]) -> list[Any]:
        within_s = self._within_s or self._end - time.monotonic()
        return self.connection.calls(commands, within_s=within_s) if commands else []


def _machines(found: object) -> dict[str, Machine]:
    words = found if isinstance(found, list) else []
    try:
        return {name.decode(): msgspec.json.decode(said, type=Machine) for name, said in zip(words[::2], words[1::2], strict=True)}
    except (ValueError, AttributeError) as error:
        raise RedisError(f"{MACHINES} in Redis holds what no machine says; empty that database") from error


def _span(found: object) -> Span | None:
    words = found if isinstance(found, list) else []
    return Span(place(words[0]), place(words[1])) if len(words) == 2 and None not in words else None


def _told(entry: bytes, fields: Sequence[bytes]) -> Told:
    said = dict(zip(fields[::2], fields[1::2], strict=True))
    try:
        return Told(place(entry), place(said[b"after"]), int(said[b"kind"]), said[b"body"])
    except (KeyError, ValueError) as error:
        raise RedisError(f"{LOG}* in Redis holds what no machine says; empty that database") from error
