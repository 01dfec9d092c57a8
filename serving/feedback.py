"""What the ledger holds back into the tables, whole or not at all; twice changes nothing. Receipts and outcomes become ``contacts`` and
``outcomes``; facts that came in are rows of ``events`` and ``transactions``, but for those that a source has brought since.

A proposal counts as a contact once something says that it was shown: an outcome ``shown`` or an answer to it. What would have been shown first to
somebody of the control group is a contact that was not made ("ghost ads": Johnson, Lewis and Nubbemeyer, 2017): of all for whom the same stood
first, who is a control was drawn, with a chance that is known. Rows of the ledger carry ``source = ledger``; those of other sources are not touched.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from retain.digest import digest
from retain.engine import Engine, identifier, of, quoted
from retain.files import atomic_folder, read_json, write_json
from retain.tables import TABLES
from retain.workspace import STATE, State, Workspace
from serving.basis import Instead
from serving.decisions.eligibility import CONTROL
from serving.decisions.facts import Shop, Withheld
from serving.decisions.policy import Policy
from serving.entries import CLOSING, Entry, Outcome
from serving.fresh import flowed
from serving.gather import CONTACT_DAYS
from serving.grounds import Opened, opener
from serving.incoming import Fact, TableName
from serving.ledger import Ledger, reading, stamp
from serving.rows import Fed
from serving.schemas import DecisionRequest
from serving.tabled import SOURCE, contract, of_facts, together

MARK = "fed.json"
BESIDE = "state.json"
"""The state that belongs to the tables, kept among them: whoever is killed between the two finds it there."""
FED = ("contacts", "outcomes", "events", "transactions")
FACTS: tuple[TableName, ...] = ("events", "transactions")
EVERY_OFFER = frozenset({"shown", "opened", "unsubscribed", "complained"})
"""What, named without an offer, is about everything that was proposed."""


@dataclass(frozen=True)
class Flowed:
    """What flowed back."""

    contacts: int
    outcomes: int
    waiting: int
    """Outcomes whose customer nobody knows yet, and whatever lies in the future: a later run takes them."""
    is_changed: bool
    digest: str
    events: int = 0
    transactions: int = 0
    unknown: int = 0
    """Of those that wait, outcomes whose decision is not known; the others lie at or after the clock."""


class _Shown(msgspec.Struct):
    offer_id: str
    rank: int
    p_shown: float


class _Answered(msgspec.Struct):
    """As much of an answer as a contact needs."""

    offers: list[_Shown]
    arm: str
    as_of: datetime
    currency: str


class _Rested(msgspec.Struct):
    """As much of a basis as a control needs."""

    withheld: list[Withheld]
    instead: Instead | msgspec.UnsetType | None = msgspec.UNSET
    """Unset by a release that did not look at it."""


def feedback(workspace: Workspace) -> Flowed:
    """Take what the ledger holds into the tables, as far as it happened and was known before now; remember how far that was.

    Raises:
        NotReadyError: nothing was ingested.
        LockedError: somebody else is at work in the workspace.
    """
    with workspace.lock("retain feedback"):
        workspace.tidy()
        _heal(workspace)
        state, now = workspace.state(), workspace.now()
        read = reading(workspace.ledger, lambda ledger: _rows(ledger, now, state)) if workspace.ledger.is_dir() else ({}, 0, 0, None)
        made, waiting, unknown, fed = read
        with of(workspace) as engine:
            unions = {name: _union(engine, name, rows, state) for name, rows in made.items()}
            changed = {name: sql for name, sql in unions.items() if _differ(engine, name, sql)}
            if changed:
                state = _written(engine, workspace, state, changed)
        if fed is not None:
            write_json(workspace.ledger / MARK, {"digest": state.digest, **msgspec.to_builtins(fed)})
        if changed:
            # After the mark, or rows of these tables would count everything a second time.
            workspace.write_state(state)
        counts = {name: len(made.get(name, ())) for name in FED}
        return Flowed(waiting=waiting, is_changed=bool(changed), digest=state.digest, unknown=unknown, **counts)


def fed(workspace: Workspace, tables: str) -> Fed | None:
    """What of the ledger the tables of a digest know; None where they know nothing of it."""
    mark = workspace.ledger / MARK
    if not mark.is_file():
        return None
    found = read_json(mark)
    return msgspec.convert(found, Fed) if found.get("digest") == tables else None


def follow(workspace: Workspace, before: str, after: str) -> None:
    """Tables of one digest became those of another, and know of the ledger what they knew: nothing, unless the mark is theirs."""
    mark = workspace.ledger / MARK
    if mark.is_file() and (found := read_json(mark)).get("digest") == before:
        write_json(mark, {**found, "digest": after})


def _rows(ledger: Ledger, now: datetime, state: State) -> tuple[dict[str, pa.Table], int, int, Fed]:
    """What the ledger holds as rows of tables, how many wait, how many of them for a decision, and how far this went."""
    until, at, since = ledger.journal.end, stamp(now), None
    oldest = stamp(now - timedelta(days=CONTACT_DAYS))
    by_decision: dict[str, list[Outcome]] = defaultdict(list)
    outcomes: list[Outcome] = []
    waiting = unknown = 0
    for place, outcome in ledger.placed():
        is_in = flowed(outcome, at)
        if is_in:
            outcomes.append(outcome)
            by_decision[outcome.decision_id].append(outcome)
        else:
            waiting += 1
            unknown += outcome.customer_id is None
        # Whose decision has not come within the longest window of a limit is no longer waited for at every start.
        is_awaited = outcome.is_pending and outcome.received_at >= oldest
        if since is None and (is_awaited or not (is_in or outcome.customer_id is None)):
            since = place
    early: dict[TableName, list[Fact]] = {name: [] for name in FACTS}
    for place, fact in ledger.facts():
        if flowed(fact, at):
            early[fact.table].append(fact)
        else:
            waiting += 1
            since = place if since is None else min(since, place)
    contacts, shown = _contacts(ledger, by_decision, at)
    tables = {"contacts": contract("contacts", contacts), "outcomes": contract("outcomes", list(_outcomes(outcomes, shown)))}
    # Without any, a table is left as it is.
    tables |= {str(name): of_facts(name, facts, state) for name, facts in early.items() if facts}
    return tables, waiting, unknown, Fed(until if since is None else since, until, now)


def _contacts(ledger: Ledger, by_decision: Mapping[str, Sequence[Outcome]], at: str) -> tuple[list[dict[str, Any]], set[str]]:
    """Rows of contacts, and their ids."""
    opened = opener(ledger.folder)
    rows: list[dict[str, Any]] = []
    for entry in ledger.decisions():
        answer = msgspec.json.decode(entry.answer, type=_Answered)
        if answer.arm == "control" and entry.at < at:
            rows.extend(_held(entry, answer, opened))
        seen = by_decision.get(entry.decision_id)
        if not seen:
            continue
        for offer in answer.offers:
            about = [one for one in seen if one.offer_id == offer.offer_id or (one.offer_id is None and _is_about_all(one, answer))]
            if about:
                first = min(about, key=lambda one: (one.occurred_at, one.outcome_id))
                channel = next((one.channel for one in (first, *about) if one.channel is not None), None)
                times = {"occurred_at": _time(first.occurred_at), "known_at": _time(max(first.occurred_at, min(one.received_at for one in about)))}
                named = {"contact_id": contact_id(entry.decision_id, offer.offer_id), "offer_id": offer.offer_id, "is_control": False}
                row = _contact(entry, answer, opened, channel)
                rows.append({**row, **times, **named, "probability": _share(entry, answer, opened), "position": offer.rank})
    return rows, {str(row["contact_id"]) for row in rows}


def _held(entry: Entry, answer: _Answered, opened: Callable[[str], Opened]) -> Iterator[dict[str, Any]]:
    """The contact that was not made. Where nothing was proposed for another reason, or nothing would have been, nothing can be learned."""
    rested = msgspec.msgpack.decode(entry.basis, type=_Rested)
    if rested.instead is None or not any(one.stage == CONTROL for one in rested.withheld):
        return
    held = {"contact_id": entry.decision_id, "is_control": True, "probability": _share(entry, answer, opened)}
    if rested.instead is msgspec.UNSET:
        yield {**_contact(entry, answer, opened), **held, "cost": 0.0}
    else:
        other = rested.instead
        yield {**_contact(entry, answer, opened, other.channel), **held, "cost": 0.0, "offer_id": other.offer_id, "position": 1}


def _share(entry: Entry, answer: _Answered, opened: Callable[[str], Opened]) -> float:
    """Share of customers who are, or are not, in the control group, by the rules that decided: the chance of standing in this group."""
    control = opened(entry.grounds).policy.groups.control if entry.grounds else 0.0
    return control if answer.arm == "control" else 1.0 - control


def contact_id(decision_id: str, offer_id: str) -> str:
    """The contact that a proposal of a decision became."""
    return f"{decision_id}:{offer_id}"


def _is_about_all(outcome: Outcome, answer: _Answered) -> bool:
    return outcome.kind in EVERY_OFFER or len(answer.offers) == 1


def _contact(entry: Entry, answer: _Answered, opened: Callable[[str], Opened], channel: str | None = None) -> dict[str, Any]:
    request = msgspec.json.decode(entry.request, type=DecisionRequest)
    chosen = channel or request.channel
    rested = opened(entry.grounds) if entry.grounds else None
    return {
        "customer_id": entry.customer_id,
        "occurred_at": answer.as_of.astimezone(UTC),
        "known_at": answer.as_of.astimezone(UTC),
        "channel": chosen,
        "arm": answer.arm,
        "cost": None if rested is None else _cost(request, chosen, rested.shop, rested.policy),
        "currency": answer.currency or None,
        "placement": request.placement,
        "decision_id": entry.decision_id,
        "source": SOURCE,
    }


def _cost(request: DecisionRequest, channel: str | None, shop: Shop, policy: Policy) -> float | None:
    """Cost of the contact by its channel; nothing where the customer turned to us, unknown where nobody says."""
    if request.placement in policy.inbound_placements:
        return 0.0
    return shop.contact_cost.get(channel or "*", shop.contact_cost.get("*"))


def _outcomes(outcomes: Sequence[Outcome], shown: set[str]) -> Iterator[dict[str, Any]]:
    """Rows of outcomes. Who was named in the place of a decision's customer has left the channel, or complained, as well."""
    for each in outcomes:
        row = _outcome(each, shown)
        yield row
        if each.named is not None and each.kind in CLOSING:
            yield {**row, "outcome_id": f"{each.outcome_id}:named", "customer_id": each.named, "contact_id": None, "decision_id": None}


def _outcome(outcome: Outcome, shown: set[str]) -> dict[str, Any]:
    contact = None if outcome.offer_id is None else contact_id(outcome.decision_id, outcome.offer_id)
    return {
        "outcome_id": outcome.outcome_id,
        "customer_id": outcome.customer_id,
        "occurred_at": _time(outcome.occurred_at),
        "known_at": _time(max(outcome.occurred_at, outcome.received_at)),
        "kind": outcome.kind,
        "contact_id": contact if contact in shown else None,
        "decision_id": outcome.decision_id,
        "offer_id": outcome.offer_id,
        "channel": outcome.channel,
        "amount": outcome.amount,
        "currency": outcome.currency,
        "is_late": outcome.is_late,
        "source": SOURCE,
    }


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _union(engine: Engine, name: str, rows: pa.Table, state: State) -> str:
    """SQL of a table with the ledger's rows in it, in the table's order."""
    columns = ", ".join(identifier(column) for column in TABLES[name].names)
    order = [*TABLES[name].sort, *(column for column in TABLES[name].names if column not in TABLES[name].sort)]
    engine.attach({f"{name}_fed": rows})
    others = f"select {columns} from {name} where source is distinct from {quoted(SOURCE)}"
    if name in FACTS:
        engine.execute(f"create or replace view {name}_held as {others}")
        both = together(engine, name, f"{name}_held", f"{name}_fed", state.local_zone)
        if name == "transactions":
            # What is derived lies in tables of its own name that the next union replaces.
            engine.execute(f"create or replace temporary table {name}_union as {both}")
            both = f"select * from {name}_union"
    else:
        both = f"{others} union all select {columns} from {name}_fed"
    return f"select {columns} from ({both}) order by {', '.join(map(identifier, order))}"


def _differ(engine: Engine, name: str, union: str) -> bool:
    """Whether the table holds other rows of the ledger than it should."""
    columns = ", ".join(identifier(column) for column in TABLES[name].names)
    mine = f"where source = {quoted(SOURCE)}"
    held, given = f"select {columns} from {name} {mine}", f"select {columns} from ({union}) {mine}"
    count = f"select (select count(*) from ({held} except all {given})) + (select count(*) from ({given} except all {held})) as odd"
    return bool(engine.query(count)["odd"][0])


def _written(engine: Engine, workspace: Workspace, state: State, made: Mapping[str, str]) -> State:
    """Replace the tables that change, all at once; return the state that is theirs, which lies among them until it is written."""

    def emptied() -> None:
        # Between new tables and their state there is no state at all, as in ingest; ``_heal`` takes the one that lies among them.
        (workspace.root / STATE).unlink(missing_ok=True)

    with atomic_folder(workspace.tables, last=emptied) as folder:
        for name in TABLES:
            if name not in made:
                os.link(workspace.table(name), folder / f"{name}.parquet")
                continue
            engine.write(made[name], folder / f"{name}.parquet")
        counts = {**state.tables, **{name: _count(folder / f"{name}.parquet") for name in made}}
        state = state.model_copy(update={"tables": counts, "digest": digest(folder)})
        write_json(folder / BESIDE, state.model_dump(mode="json"))
    return state


def _heal(workspace: Workspace) -> None:
    beside = workspace.tables / BESIDE
    if not workspace.is_filled and beside.is_file():
        workspace.write_state(State.model_validate(read_json(beside)))


def _count(path: Path) -> int:
    import pyarrow.parquet as pq

    return int(pq.ParquetFile(path).metadata.num_rows)
