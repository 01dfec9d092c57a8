"""A retention list: whom to contact with what, within a budget, with a control group, at prices that a call can use. Reads, never writes."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import msgspec
import numpy as np
from numpy.typing import NDArray

from retain.errors import ConfigError
from retain.tables import CHANNELS
from serving.answers import Answers
from serving.decisions import budget, groups, lists
from serving.decisions.actions import Action, actions, means, stocked
from serving.decisions.budget import Prices, Solved
from serving.decisions.facts import HABITS, Ask, Scores, Shop
from serving.decisions.figures import Floats
from serving.decisions.means import Means
from serving.decisions.policy import Policy
from serving.effects import in_money
from serving.lists import holdout, persuasion
from serving.lists.persuasion import Persuasion
from serving.lists.power import Power, power
from serving.pulls import Pull
from serving.rows import Row, RowsCard

BLOCK = 5_000
"""Customers who are held as objects at once."""
STRETCHES = 3
WASTE = 0.005
"""Share of a limit that the draw of the control group may leave, or take too much, before it is solved again."""
INBOUND = ("web", "in_app", "store")
"""Channels on which customers come to us: nobody is called there."""
PRICED = ("margin", "spend", "purchase")
"""Outcomes of effects that can be told in money."""
NO_EFFECTS = "no effects are estimated (grade D): gains are propensity x value, which says who buys and not whom a contact changes"
STATES = ("contacted", "held_out", "price", "no_gain", *groups.GROUPS[1:4], "cut")
"""What became of who might have been on the list; before them stand the reasons for which the others might not."""


@dataclass(frozen=True)
class Asked:
    """What the marketer asked for."""

    campaign: str
    budget: float | None = None
    """Money; None is no limit."""
    seats: Mapping[str, float] = field(default_factory=dict)
    """By channel: contacts that can be made."""
    channel_costs: Mapping[str, float] = field(default_factory=dict)
    """By channel: cost of one contact; what is not given is what the source says."""
    holdout: float = 0.1
    """Share of the chosen who are not contacted."""
    margin_rate: float | None = None
    """Where the source knows none, or another is meant."""
    saved_share: float | None = None
    """Share of a loss that an accepted offer is assumed to keep where no effect is known; None is what the house says."""
    valid_days: float = 7.0
    """How long seats and budget are meant for, and prices hold."""
    without_holdout: str = ""
    """Why there is no control group, where there is none."""


@dataclass(frozen=True)
class Entry:
    """One customer who was chosen."""

    position: int
    action: int
    gain: float
    low: float
    high: float
    cost: float
    above_price: float
    """Gain after what it takes from others, at the prices of the list."""
    is_held_out: bool
    stratum: int
    grade: str
    """Evidence: A, B, C or D."""


@dataclass(frozen=True)
class Retention:
    """A list and everything that is said of it."""

    asked: Asked
    run: str
    """The same arguments, rows and models give the same one."""
    at: datetime
    what: tuple[Action, ...]
    entries: tuple[Entry, ...]
    """The chosen, the most above the prices first."""
    solved: Solved
    prices: Prices
    state: NDArray[np.object_]
    """(customers,) what became of each, and why."""
    best_gain: Floats
    """(customers,) the most that any open action gains; NaN where none is open."""
    groups: Mapping[str, int]
    uncosted: tuple[str, ...]
    """Channels left out because nobody says what a contact costs there."""
    powers: Mapping[str, Power]
    """By outcome: what the groups can show."""
    models: Mapping[str, str | None]
    policy: str
    notes: tuple[str, ...]

    @property
    def contacted(self) -> list[Entry]:
        """Who is to be contacted."""
        return [each for each in self.entries if not each.is_held_out]

    @property
    def held_out(self) -> list[Entry]:
        """Who is not to be contacted, to compare with."""
        return [each for each in self.entries if each.is_held_out]

    @property
    def below_best(self) -> float:
        """Share by which the chosen, control group included, may gain less than the best possible choice."""
        return max(0.0, 1.0 - sum(each.gain for each in self.entries) / self.solved.bound) if self.solved.bound > 0 else 0.0

    @property
    def left_out(self) -> dict[str, int]:
        """Who is not on the list, by why."""
        counts = Counter(self.state.tolist())
        return {name: count for name, count in sorted(counts.items(), key=lambda each: (-each[1], each[0])) if name not in STATES[:2]}


def retention(answers: Answers, asked: Asked) -> Retention:
    """Make the list of this moment.

    Args:
        answers: rows, champions, rules.
        asked: the marketer's arguments.

    Raises:
        ConfigError: no channel is left whose cost is known, or seats are given for another channel.
        RefusedError: nothing can be told in money.
    """
    pull, policy = answers.pull(), _policy(answers.policy, asked)
    rows, value, shop = pull.rows, pull.value(), _shop(answers.rows.shop, asked)
    costs = {**{name: shop.contact_cost.get(name, shop.contact_cost.get("*")) for name in CHANNELS}, **asked.channel_costs}
    wanted = tuple(asked.channel_costs) or tuple(each for each in CHANNELS if each not in INBOUND)
    known = {name: float(cost) for name in sorted(wanted, key=CHANNELS.index) if (cost := costs[name]) is not None}
    strange = sorted(set(asked.seats) - set(known))
    if strange or not known:
        raise ConfigError(
            f"what does a contact by {', '.join(strange or wanted)} cost? neither the source nor --channel-costs says so", field="channel-costs"
        )
    what = actions(shop.offers, tuple(known), known)
    reach = pull.reach(tuple(known))
    barred = {**pull.barred(reach), "not_scored": ~np.isfinite(pull.churn * value)}
    why = lists.why_left_out(barred, len(rows))
    state = np.array([*lists.LEFT_OUT, "no_gain"], dtype=object)[why]
    free = np.flatnonzero(why < 0)
    found = _priced(policy, pull, free, value, replace(shop, contact_cost=known), what)
    for row, rule in found.withheld.items():
        state[free[row]] = rule
    codes = groups.groups(pull.churn[free], found.gain, found.effect_high, np.isfinite(found.effect_high))
    is_open = (np.isfinite(found.gain) | np.isfinite(found.effect_high)).any(axis=1)
    top = found.gain.max(axis=1, initial=-np.inf)
    best = np.where(np.isfinite(top), top, np.nan)
    for name in groups.GROUPS[1:4]:
        state[free[(codes == groups.GROUPS.index(name)) & is_open]] = name
    state[free[best > 0]] = "price"
    stratum = holdout.strata(rows.array("band")[free], pull.churn[free])
    is_held = holdout.held_out(holdout.draw(asked.campaign, [rows.id(each) for each in free.tolist()]), stratum, asked.holdout)
    case, solved = _solved(asked, what, found, is_held)
    entries, kept = _cut(case, found, solved, free, is_held, stratum)
    chosen = free[np.flatnonzero(solved.choice >= 0)]
    state[chosen] = "cut"
    for entry in entries:
        state[entry.position] = "held_out" if entry.is_held_out else "contacted"
    models = {
        **{task: answers.champions.model_id(task) for task in ("churn", "clv")},
        "uplift": rows.card.models.get("uplift"),
        "rows": rows.card.version,
    }
    run = hashlib.sha256(msgspec.json.encode([msgspec.to_builtins(asked), models, policy.version, pull.at], order="deterministic"))
    best_gain = np.full(len(rows), np.nan)
    best_gain[free] = best
    units = solved.prices[1:].tolist()
    seats, stock = (
        dict(zip(sorted(names), part, strict=True))
        for names, part in ((asked.seats, units[: len(asked.seats)]), (stocked(what), units[len(asked.seats) :]))
    )
    until = pull.at + timedelta(days=asked.valid_days)
    return Retention(
        asked=asked,
        run=run.hexdigest()[:12],
        at=pull.at,
        what=what,
        entries=entries,
        solved=solved,
        prices=Prices(float(solved.prices[0]), seats, stock, asked.campaign, pull.at, until, rows.card.version, models),
        state=state,
        best_gain=best_gain,
        groups=groups.counted(codes[is_open]),
        uncosted=tuple(each for each in wanted if each not in known),
        powers=_powers(pull, found, entries, free, kept, shop),
        models=models,
        policy=policy.version,
        notes=_notes(rows.card),
    )


def _shop(shop: Shop, asked: Asked) -> Shop:
    return shop if asked.margin_rate is None else replace(shop, margin_rate=asked.margin_rate, margin_basis="declared")


def _policy(policy: Policy, asked: Asked) -> Policy:
    return policy if asked.saved_share is None else policy.model_copy(update={"saved_share": asked.saved_share})


def _priced(
    policy: Policy,
    pull: Pull,
    free: NDArray[np.intp],
    value: Floats,
    shop: Shop,
    what: tuple[Action, ...],
) -> Persuasion:
    """Every action of everybody who is free, block by block."""
    ask, parts, known = Ask("retention", pull.at, tuple(shop.contact_cost)), [], pull.rows.card.effects
    for start in range(0, max(len(free), 1), BLOCK):
        block = free[start : start + BLOCK]
        people = []
        for position in block.tolist():
            row = Row(pull.rows, position)
            scores = Scores(float(pull.churn[position]), float(value[position]), row.stored.band, row.stored.stage)
            person = pull.fresh.on(row.customer(pull.at, scores))
            if known.names and shop.margin_rate != pull.rows.shop.margin_rate:
                person = replace(person, effects=in_money(known, pull.rows.array("effect")[position].tolist(), scores.clv, shop.margin_rate))
            people.append(person)
        parts.append(persuasion.persuasion(people, ask, what, shop, policy, known.outcome == "purchase"))
    return persuasion.joined(parts)


def _solved(asked: Asked, what: tuple[Action, ...], found: Persuasion, is_held: NDArray[np.bool_]) -> tuple[Means, Solved]:
    """The choice whose contacts use the limits up: who is held out is chosen like all others and uses nothing, so the limits are stretched."""
    case = means(found.gain, found.cost, what, asked.seats, asked.budget)
    stretched = replace(case, limits=case.limits / (1.0 - asked.holdout))
    solved = budget.solve(stretched)
    for _ in range(STRETCHES):
        rows = np.flatnonzero((solved.choice >= 0) & ~is_held)
        used = case.used(rows, solved.choice)
        is_bound = (solved.prices > 0) & (used > 0)
        if not np.any(is_bound & (np.abs(used / np.maximum(case.limits, 1e-12) - 1) > WASTE)):
            break
        factor = np.where(is_bound, case.limits / np.maximum(used, 1e-12), 1.0)
        stretched = replace(case, limits=stretched.limits * np.clip(factor, 0.5, 2.0))
        solved = budget.solve(stretched)
    return case, solved


def _cut(
    case: Means, found: Persuasion, solved: Solved, free: NDArray[np.intp], is_held: NDArray[np.bool_], stratum: NDArray[np.int64]
) -> tuple[tuple[Entry, ...], NDArray[np.intp]]:
    """The chosen within the limits, contacted and held out alike, in order; and their places among the free."""
    chosen = np.flatnonzero(solved.choice >= 0)
    action = solved.choice[chosen].astype(np.int64)
    above = (case.gain[chosen, action] - case.prices(solved.prices, chosen)[np.arange(len(chosen)), action]).astype(np.float64)
    stays = holdout.affordable(above, found.cost[chosen, action], case.takes[:, action], is_held[chosen], case.limits)
    kept = chosen[stays][np.lexsort((chosen[stays], -above[stays]))]
    worth = dict(zip(chosen.tolist(), above.tolist(), strict=True))
    entries = []
    for place in kept.tolist():
        taken = int(solved.choice[place])
        gain, low, high, cost = (float(each[place, taken]) for each in (found.gain, found.low, found.high, found.cost))
        entries.append(
            Entry(
                int(free[place]),
                taken,
                gain,
                low,
                high,
                cost,
                worth[place],
                bool(is_held[place]),
                int(stratum[place]),
                persuasion.GRADES[found.grade[place, taken]],
            )
        )
    return tuple(entries), kept


def _notes(card: RowsCard) -> tuple[str, ...]:
    """What the gains rest on."""
    known = card.effects
    if not known.names:
        return (NO_EFFECTS,)
    if known.outcome not in PRICED:
        return (NO_EFFECTS, f"the effects of {card.models.get('uplift')} are on {known.outcome}, which nobody tells in money")
    grades = ", ".join(f"{name} {grade}" for name, grade in zip(known.names, known.grades, strict=True))
    return (f"effects of {card.models.get('uplift')} on {known.outcome}, by evidence: {grades}",)


def _powers(
    pull: Pull, found: Persuasion, entries: tuple[Entry, ...], free: NDArray[np.intp], kept: NDArray[np.intp], shop: Shop
) -> dict[str, Power]:
    """What contacted and held out can show of purchases, and of money.

    The share of buyers is what the churn model predicts. Money varies as it did in the last period, brought to the horizon by the square root
    of time: too wide rather than too narrow, because customers differ for longer than a period.
    """
    held = sum(each.is_held_out for each in entries)
    count = len(entries) - held
    stay = 1.0 - pull.churn[free[kept]]
    share = float(stay.mean()) if len(stay) else 0.0
    action = np.array([each.action for each in entries], dtype=np.int64)
    chance = found.keeps[kept, action] if len(kept) else np.zeros(0)
    likely = float(chance.mean()) if len(chance) and np.isfinite(chance).all() else None
    notes = {"purchase": power(count, held, share, float(np.sqrt(share * (1 - share))), likely)}
    if shop.margin_rate is not None and len(kept):
        length = shop.horizon_days / pull.rows.card.period_days
        spend = np.nan_to_num(pull.rows.array("habits")[free[kept], HABITS.index("spend")]) * shop.margin_rate
        gross = float(np.mean([each.gain + each.cost for each in entries]))
        notes["margin"] = power(count, held, float(spend.mean() * length), float(spend.std() * np.sqrt(length)), gross)
    return notes
