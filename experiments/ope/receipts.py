"""Logged decisions straight from the ledger: what stood first, with which probability, what came of it, and what other rules would have done.

Each receipt is made again from what it rested on, once by the rules that decided and once by those that are judged: decisions are pure, so the
probability of every candidate is known exactly for both. The action is what stands first; a decision that proposed nothing is one too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from retain.engine import of
from retain.errors import NotReadyError
from retain.facts import VALUED
from retain.workspace import Workspace
from serving.basis import Basis, made, unpacked
from serving.decisions.decide import Decision
from serving.decisions.facts import Offer
from serving.decisions.policy import Policy
from serving.entries import Entry, Outcome
from serving.fresh import flowed
from serving.grounds import opener
from serving.ledger import Ledger, reading, stamp
from serving.schemas import DecisionRequest

if TYPE_CHECKING:
    import pandas as pd

By = Literal["kind", "offer"]
Reward = Literal["accepted", "amount", "spend"]
NOTHING = "nothing"
"""The action of a decision that proposed nothing."""
LOGGED, JUDGED = "log", "rules"
"""Fronts of the columns with probabilities: by the rules that decided, and by those that are judged."""
_SAME = 1e-9
"""How far the probability of a receipt may lie from that of the decision made again."""
_TAKEN = ("accepted", "purchased")
LAG = timedelta(days=1)
"""Order lines may end so long before a window does."""


@dataclass(frozen=True)
class Receipts:
    """Decisions as a plain table, and what was left out of it."""

    table: pd.DataFrame
    control: int
    """Decisions of the control group, for whom no rules are judged."""
    changed: int
    """Decisions that this release makes otherwise, or of which an older release kept too little."""
    waiting: int = 0
    """Decisions at or after the clock of the workspace, of which nothing can have come yet."""


class _First(msgspec.Struct):
    offer_id: str
    p_shown: float


class _Answered(msgspec.Struct):
    """As much of an answer as is compared."""

    offers: list[_First]
    arm: str
    as_of: datetime


def receipts(workspace: Workspace, rules: Policy | None = None, *, by: By = "kind", reward: Reward = "accepted") -> Receipts:
    """The decisions of a workspace: action, probability, reward, context, and the probabilities of every action by the log's and by other rules.

    The reward is null until the longest window of the shop is over: a shorter one for what has a shorter window would choose decisions by what
    was done.

    Args:
        workspace: with a ledger.
        rules: what is judged, with the log's own groups; None where another policy is.
        by: what one action is: a kind of offers, or an offer.
        reward: ``accepted`` is one where what stood first was accepted or bought, ``amount`` the money of such purchases, ``spend`` all that the
            customer bought in the shop's window, the same for all, whether it is told of the decision or not.

    Raises:
        NotReadyError: nothing was decided yet.
    """
    import pandas as pd

    if not (workspace.ledger / "log").is_dir():
        raise NotReadyError(f"nothing was decided in {workspace.root} yet; let the service decide (`retain serve`), or give a table of decisions")
    now = workspace.now()
    found = reading(workspace.ledger, lambda ledger: _read(ledger, rules, by, now))
    if not found.rows:
        raise NotReadyError(
            f"{workspace.root}: none of the logged decisions can be compared ({found.control} of the control group, {found.changed} that this "
            f"release decides otherwise, {found.waiting} at or after its clock, {now:%Y-%m-%d %H:%M} UTC); let time pass or decide more, or give a "
            "table of decisions"
        )
    until = now
    if reward == "spend":
        rewards, last = _spent(workspace, found.rows)
        # A window that the tables do not hold is as open as one that is not over.
        until = min(now, last + LAG)
    else:
        rewards = [_told(row.came, reward) for row in found.rows]
    table = pd.DataFrame([row.columns for row in found.rows])
    is_open = [row.at + timedelta(days=row.longest) > until for row in found.rows]
    table["reward"] = pd.Series(rewards, dtype=float).mask(pd.Series(is_open))
    fronts = [name for name in table.columns if name.startswith((f"{LOGGED}:", f"{JUDGED}:"))]
    return Receipts(table.fillna(dict.fromkeys(fronts, 0.0)), found.control, found.changed, found.waiting)


@dataclass(frozen=True)
class _Row:
    columns: dict[str, Any]
    at: datetime
    horizon: int
    """Days of the shop's own window."""
    longest: int
    """Days of the longest window of any offer."""
    came: Sequence[Outcome]
    """In its window, of what stood first."""


@dataclass
class _Found:
    rows: list[_Row]
    control: int = 0
    changed: int = 0
    waiting: int = 0


def _read(ledger: Ledger, rules: Policy | None, by: By, now: datetime) -> _Found:
    came: dict[str, list[Outcome]] = defaultdict(list)
    for _, outcome in ledger.placed():
        if flowed(outcome, stamp(now)) and not outcome.is_late:
            came[outcome.decision_id].append(outcome)
    again, found = _again(ledger, rules), _Found([])
    for entry in ledger.decisions():
        answer = msgspec.json.decode(entry.answer, type=_Answered)
        at = answer.as_of.astimezone(UTC)
        if at >= now:
            found.waiting += 1
            continue
        if answer.arm == "control":
            found.control += 1
        elif (same := again(entry, answer)) is None:
            found.changed += 1
        else:
            first = answer.offers[0].offer_id if answer.offers else None
            own = [each for each in came.get(entry.decision_id, ()) if each.offer_id in (None, first)]
            found.rows.append(_Row(_columns(entry, same, by), at, same.horizon, same.longest, own))
    return found


@dataclass(frozen=True)
class _Again:
    """A decision made again."""

    request: DecisionRequest
    basis: Basis
    was: Decision
    other: Decision | None
    """By the rules that are judged."""
    horizon: int
    longest: int


def _again(ledger: Ledger, rules: Policy | None) -> Callable[[Entry, _Answered], _Again | None]:
    """Makes decisions again; None where that cannot be done, or what stands first is another or as likely as never before."""
    opened = opener(ledger.folder)

    @cache
    def judged(grounds: str) -> Policy | None:
        # Who is in which group is no matter of the rules: another salt would compare other customers.
        return None if rules is None else rules.model_copy(update={"groups": opened(grounds).policy.groups})

    @cache
    def longest(grounds: str) -> int:
        shop = opened(grounds).shop
        return max([shop.horizon_days, *(offer.outcome_days or 0 for offer in shop.offers)])

    def make(entry: Entry, answer: _Answered) -> _Again | None:
        basis = unpacked(entry.basis)
        if basis is None or not entry.grounds:
            return None
        rested, other = opened(entry.grounds), judged(entry.grounds)
        request = msgspec.json.decode(entry.request, type=DecisionRequest)
        was = made(request, entry.decision_id, basis, rested.shop, rested.policy)
        if not _is_same(was, answer):
            return None
        new = None if other is None else made(request, entry.decision_id, basis, rested.shop, other)
        return _Again(request, basis, was, new, rested.shop.horizon_days, longest(entry.grounds))

    return make


def _columns(entry: Entry, same: _Again, by: By) -> dict[str, Any]:
    """A decision as a row of the table, but for its reward."""
    mine = _chances(same.was, by)
    action = _named(same.was.offers[0].worth.passed.offer, by) if same.was.offers else NOTHING
    policies = {f"{LOGGED}:{name}": chance for name, chance in mine.items()}
    if same.other is not None:
        policies |= {f"{JUDGED}:{name}": chance for name, chance in _chances(same.other, by).items()}
    return {
        "decision_id": entry.decision_id,
        "customer_id": entry.customer_id,
        "action": action,
        "probability": mine[action],
        **_context(same.request, same.basis),
        **policies,
    }


def _is_same(was: Decision, answer: _Answered) -> bool:
    if not was.offers or not answer.offers:
        return not was.offers and not answer.offers
    first = answer.offers[0]
    return was.offers[0].worth.passed.offer.offer_id == first.offer_id and abs(was.offers[0].p_shown - first.p_shown) <= _SAME


def _chances(decision: Decision, by: By) -> dict[str, float]:
    """Probability of each action to stand first."""
    found: dict[str, float] = defaultdict(float)
    for place, one in enumerate(decision.candidates):
        chance = decision.mixture.at(0, place) if decision.mixture.slots else 0.0
        if chance > 0:
            found[_named(one.passed.offer, by)] += chance
    return dict(found) or {NOTHING: 1.0}


def _named(offer: Offer, by: By) -> str:
    return offer.kind if by == "kind" else offer.offer_id


def _context(request: DecisionRequest, basis: Basis) -> dict[str, Any]:
    """What was known before: of the question, and of the customer where that may be looked at. No protected attribute."""
    customer = basis.customer
    known: Mapping[str, Any] = {} if customer is None else {
        "stage": customer.scores.stage,
        "band": customer.scores.band,
        "churn": customer.scores.churn,
        "clv": customer.scores.clv,
        "recency_days": customer.habits.recency_days,
        "orders": customer.habits.orders,
        "spend": customer.habits.spend,
        "contacts": float(len(customer.contacts)),
    }  # fmt: skip
    return {"goal": request.goal, "channel": request.channel or "any", "placement": request.placement, **known}


def _told(came: Sequence[Outcome], reward: Reward) -> float:
    if reward == "accepted":
        return float(any(each.kind in _TAKEN for each in came))
    return float(sum(each.amount or 0.0 for each in came if each.kind == "purchased"))


def _spent(workspace: Workspace, rows: Sequence[_Row]) -> tuple[list[float], datetime]:
    """Money that each customer spent in the shop's window after the decision, returns taken off; and when the last order line was."""
    import pandas as pd

    asked = pd.DataFrame({
        "place": range(len(rows)),
        "customer_id": [row.columns["customer_id"] for row in rows],
        "since": pd.to_datetime([row.at for row in rows], utc=True),
        "until": pd.to_datetime([row.at + timedelta(days=row.horizon) for row in rows], utc=True),
    })  # fmt: skip
    with of(workspace) as engine:
        found = engine.query(
            f"""
            select a.place, cast(coalesce(sum(cast(t.amount as decimal(38, 6))), 0) as double) as spent
            from asked as a left join transactions as t
                on t.customer_id = a.customer_id and {VALUED} and t.occurred_at > a.since and t.occurred_at <= a.until
            group by a.place order by a.place
            """,
            asked=asked,
        )
        last = engine.query("select max(occurred_at) as last from transactions")["last"].iloc[0]
    return [float(value) for value in found["spent"]], datetime.min.replace(tzinfo=UTC) if pd.isna(last) else last.to_pydatetime()
