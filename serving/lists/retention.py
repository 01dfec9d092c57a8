"""A retention list: whom to contact with what, within a budget, with a control group, at prices that a call can use. Reads, never writes."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from retain.errors import ConfigError
from retain.tables import CHANNELS
from serving.answers import Answers
from serving.decisions import groups, lists, pacing
from serving.decisions.actions import Action, actions, stocked
from serving.decisions.budget import Solved
from serving.decisions.facts import HABITS, Ask, Scores, Shop
from serving.decisions.figures import Floats
from serving.decisions.pacing import Plan
from serving.decisions.policy import Policy
from serving.decisions.prices import Own, Prices
from serving.effects import in_money
from serving.lists import choosing, holdout, persuasion
from serving.lists.choosing import Asked, Entry
from serving.lists.persuasion import Persuasion
from serving.lists.power import Power, power
from serving.pulls import Pull
from serving.rows import RowsCard

BLOCK = 5_000
"""Customers who are held as objects at once."""
INBOUND = ("web", "in_app", "store")
"""Channels on which customers come to us: nobody is called there."""
PRICED = ("margin", "spend", "purchase")
"""Outcomes of effects that can be told in money."""
NO_EFFECTS = "no effects are estimated (grade D): gains are propensity x value, which says who buys and not whom a contact changes"
STATES = ("contacted", "held_out", "price", "no_gain", *groups.GROUPS[1:4], "cut")
"""What became of who might have been on the list; before them stand the reasons for which the others might not."""


@dataclass(frozen=True)
class Retention:
    """A list and everything that is said of it."""

    asked: Asked
    run: str
    """The same list has the same one: arguments, rows, models, and whom what came in since, or other campaigns, leave on it."""
    at: datetime
    what: tuple[Action, ...]
    entries: tuple[Entry, ...]
    """The chosen, the most above the prices first."""
    solved: Solved
    reached: float
    """What the chosen gain, control group included, as offers are compared."""
    prices: Prices
    apart: Mapping[int, Own]
    """By position: whom the list leaves out though the prices alone would not, and what makes a call say the same."""
    groups_of: NDArray[np.bool_]
    """(customers, 2) who might have been on it, and who of them is held out."""
    chance: Floats
    """(customers,) of not being held out; NaN of whoever was not drawn."""
    plan: Plan | None
    """What it means calls to use, where the limits are spent by calls."""
    runs_until: datetime
    """Until then its effects are counted, and whoever is held out is proposed none of its offers."""
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
        return max(0.0, 1.0 - self.reached / self.solved.bound) if self.solved.bound > 0 else 0.0

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
    found = _priced(answers, policy, pull, free, value, msgspec.structs.replace(shop, contact_cost=known), what, asked.campaign)
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
    names = [rows.id(each) for each in free.tolist()]
    drawn = answers.campaigns.drawn(asked.campaign, pull.at)
    is_held, chance = holdout.arms(asked.campaign, names, stratum, asked.holdout, found.is_spared, drawn)
    case, solved = choosing.solved(asked, what, found, is_held)
    entries, kept = choosing.cut(case, found, solved, free, is_held, chance, stratum)
    final = np.full(len(free), -1, dtype=np.int64)
    final[kept] = [each.action for each in entries]
    # Of whoever is held out the group says it: no call proposes what the campaign holds back.
    apart = choosing.apart(case, found, solved.prices, (final >= 0) | is_held)
    chosen = free[np.flatnonzero(solved.choice >= 0)]
    state[chosen] = "cut"
    for entry in entries:
        state[entry.position] = "held_out" if entry.is_held_out else "contacted"
    models = {
        **{task: answers.champions.model_id(task) for task in ("churn", "clv")},
        "uplift": rows.card.models.get("uplift"),
        "rows": rows.card.version,
    }
    best_gain = np.full(len(rows), np.nan)
    best_gain[free] = best
    groups_of, drawn_with = np.zeros((len(rows), 2), dtype=bool), np.full(len(rows), np.nan)
    groups_of[free], groups_of[free[is_held], 1] = [True, False], True
    # Without a control group only those on the list have a part in the campaign.
    part = np.arange(len(free)) if asked.holdout else kept
    drawn_with[free[part]] = chance[part]
    run = _run([msgspec.to_builtins(asked), models, policy.version, pull.at], groups_of, drawn_with, entries)
    until = pull.at + timedelta(days=asked.valid_days)
    return Retention(
        asked=asked,
        run=run,
        at=pull.at,
        what=what,
        entries=entries,
        solved=solved,
        reached=float(case.gain[kept, final[kept]].sum(dtype=np.float64)),
        prices=replace(
            _prices(asked, what, solved),
            made_at=pull.at,
            valid_until=until,
            rows=rows.card.version,
            models=models,
            contact_cost={name: float(cost) for name, cost in costs.items() if cost is not None},
            run=run,
        ),
        apart={int(free[place]): own for place, own in apart.items()},
        groups_of=groups_of,
        chance=drawn_with,
        plan=pacing.plan(case.take(np.flatnonzero(~is_held)), solved.prices) if asked.is_by_calls else None,
        runs_until=max(until, pull.at + timedelta(days=shop.horizon_days)),
        state=state,
        best_gain=best_gain,
        groups=groups.counted(codes[is_open]),
        uncosted=tuple(each for each in wanted if each not in known),
        powers=_powers(pull, found, entries, free, kept, shop),
        models=models,
        policy=policy.version,
        notes=_notes(rows.card),
    )


def _run(of: list[Any], groups_of: NDArray[np.bool_], chance: Floats, entries: tuple[Entry, ...]) -> str:
    """A list's own name. Two lists of a campaign that differ in anybody never share it, so that neither is written over the other."""
    found = hashlib.sha256(msgspec.json.encode(of, order="deterministic"))
    chosen = [(each.position, each.action, each.is_held_out) for each in entries]
    for part in (groups_of, chance, np.array(chosen, dtype=np.int64)):
        found.update(part.tobytes())
    return found.hexdigest()[:12]


def _prices(asked: Asked, what: tuple[Action, ...], solved: Solved) -> Prices:
    """What was solved, by the names of channels and offers, and the terms that were given."""
    units, channels, offers = solved.prices[1:].tolist(), sorted(asked.seats), sorted(stocked(what))
    return Prices(
        money=float(solved.prices[0]),
        seats=dict(zip(channels, units[: len(channels)], strict=True)),
        stock=dict(zip(offers, units[len(channels) :], strict=True)),
        campaign=asked.campaign,
        margin_rate=asked.margin_rate,
        saved_share=asked.saved_share,
        only=tuple(sorted({each.offer.offer_id for each in what})) if asked.is_by_calls else None,
    )


def _shop(shop: Shop, asked: Asked) -> Shop:
    return shop if asked.margin_rate is None else msgspec.structs.replace(shop, margin_rate=asked.margin_rate, margin_basis="declared")


def _policy(policy: Policy, asked: Asked) -> Policy:
    return policy if asked.saved_share is None else policy.model_copy(update={"saved_share": asked.saved_share})


def _priced(
    answers: Answers,
    policy: Policy,
    pull: Pull,
    free: NDArray[np.intp],
    value: Floats,
    shop: Shop,
    what: tuple[Action, ...],
    campaign: str,
) -> Persuasion:
    """Every action of everybody who is free, block by block."""
    ask, parts, known = Ask("retention", pull.at, tuple(shop.contact_cost)), [], pull.rows.card.effects
    for start in range(0, max(len(free), 1), BLOCK):
        block = free[start : start + BLOCK]
        people = []
        for position in block.tolist():
            row = pull.rows.row(position)
            scores = Scores(float(pull.churn[position]), float(value[position]), row.stored.band, row.stored.stage)
            person = pull.fresh.on(row.customer(pull.at, scores), pull.at)
            held_out = answers.campaigns.held_out(person.customer_id, pull.at, but=campaign)
            if held_out:
                person = msgspec.structs.replace(person, held_out=held_out)
            if known.names and shop.margin_rate != pull.rows.shop.margin_rate:
                person = msgspec.structs.replace(
                    person, effects=in_money(known, pull.rows.array("effect")[position].tolist(), scores.clv, shop.margin_rate)
                )
            people.append(person)
        parts.append(persuasion.persuasion(people, ask, what, shop, policy, known.outcome == "purchase"))
    return persuasion.joined(parts)


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
