"""What is said of a retention list, on the screen, on its page and in its manifest: the same sentences and figures everywhere. Pure."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from retain.tables import CHANNELS
from serving.decisions.actions import stocked
from serving.decisions.groups import GROUPS
from serving.lists.power import Power
from serving.lists.retention import Retention

KINDS = {
    "persuadable": "a contact is expected to gain",
    "sure": "stay anyway, as far as effects say",
    "lost_cause": "likelier to leave than not, and no contact is expected to gain",
    "sleeping_dog": "a contact does harm: the effect's interval lies below zero",
    "undecided": "no effect is estimated, so nobody is sorted",
}
WHY = {
    "inactive": "no purchase in a year",
    "not_scored": "no risk or value is predicted",
    "involuntary": "likely to leave for reasons outside what is sold: no offer",
    "no_consent": "no consent to any of these channels",
    "no_consent_retention": "no consent to be contacted on these channels in order to be kept",
    "no_contact_group": "in the no-contact group of the house",
    "price": "gains, but less than what it would take from others",
    "no_gain": "no contact is expected to gain more than it costs",
    "cut": "on the edge of the limits after the control group was drawn",
    "minor": "not of age",
    "refuses_profiling": "wants nothing chosen by what is known of them",
    "do_not_contact": "asked not to be contacted at all",
    "open_complaint": "a complaint is open: it is put right before anything is offered",
    **{name: KINDS[name] for name in GROUPS[1:4]},
}
"""Why a customer is not on the list, where the name of the rule does not say it."""
LIMIT = re.compile(r"(?:same_offer_|(\w+)_)?max_(\d+)_per_(\d+)d")
"""How a limit on contacts is named: of everything, of one offer, of a channel or of a level of relation."""
MANY = 100
"""Campaigns that nobody waits for."""
NAMES = {"purchase": "buyers", "margin": "margin per customer"}


def why(name: str) -> str:
    """A reason in words."""
    limit, campaign = LIMIT.fullmatch(name), name.removeprefix("held_out_of_")
    if limit is not None:
        who, most, days = limit.groups()
        if who in CHANNELS:
            return f"had {most} by {who.replace('_', ' ')} in {days} days already, the most there may be"
        return f"had {most} in {days} days already, the most {'there may be' if who is None else f'that a relation of level {who} has earned'}"
    if campaign != name:
        return f"in the control group of the running campaign {campaign}"
    if name.startswith("cause_"):
        return f"likely to leave because of {name.removeprefix('cause_').replace('_', ' ')}, which none of these offers answers"
    return WHY.get(name, name.replace("_", " "))


def grade(result: Retention) -> str:
    """The weakest evidence behind the actions that were chosen."""
    return max((each.grade for each in result.entries), default="D")


def total(result: Retention) -> tuple[float, float, float]:
    """Expected gain of all contacts, and the sums of the ends of their intervals."""
    chosen = result.contacted
    return sum(each.gain for each in chosen), sum(each.low for each in chosen), sum(each.high for each in chosen)


def spent(result: Retention) -> float:
    """Money that the contacts are expected to take."""
    return sum(each.cost for each in result.contacted)


def prices(result: Retention, currency: str) -> list[str]:
    """What one more of anything is worth."""
    said = []
    if result.asked.budget is not None:
        worth = f"one more {currency or 'unit'} is worth {result.prices.money:,.2f}" if result.prices.money > 0 else "more money would bring nothing"
        said.append(f"budget: {spent(result):,.2f} of {result.asked.budget:,.2f} {currency}; {worth}".replace("  ", " "))
    for channel, seats in sorted(result.asked.seats.items()):
        used = sum(result.what[each.action].channel == channel for each in result.contacted)
        price = result.prices.seats[channel]
        worth = f"one more seat is worth {price:,.2f} {currency}".rstrip() if price > 0 else "more seats would bring nothing"
        said.append(f"{channel.replace('_', ' ')}: {used} of {seats:,.0f} seats; {worth}")
    for offer, stock in sorted(stocked(result.what).items()):
        used = sum(result.what[each.action].offer.offer_id == offer for each in result.contacted)
        price = result.prices.stock[offer]
        worth = f"one more is worth {price:,.2f} {currency}".rstrip() if price > 0 else "more of it would bring nothing"
        said.append(f"offer {offer}: {used} of {stock:,.0f} in stock; {worth}")
    return said


def powers(result: Retention, currency: str) -> list[str]:
    """What the campaign will be able to show, before it starts."""
    kept = len(result.held_out) if not result.asked.holdout else 0
    said = (
        [f"{kept:,} stay held out until {result.runs_until:%Y-%m-%d}: an earlier list of this name drew them, and nobody changes sides"]
        if kept
        else []
    )
    return [*said, *(_power(name, each, currency) for name, each in result.powers.items())]


def _power(name: str, note: Power, currency: str) -> str:
    if note.at_end is None or note.all_along is None:
        return f"{NAMES[name]}: no effect can be shown, because nobody is held out or nobody is contacted"

    def told(value: float) -> str:
        if name != "purchase":
            return f"{value:,.2f} {currency}".rstrip()
        return f"{100 * value:.{0 if value >= 0.1 else 2}{'f' if value >= 0.1 else 'g'}} points"

    if name == "purchase" and note.at_end > max(note.baseline, 1 - note.baseline):
        return f"{NAMES[name]}: no effect can be shown, because {note.contacted:,} contacted and {note.held_out:,} held out are too few"
    base = f"{note.baseline:.0%} buy anyway" if name == "purchase" else f"{told(note.baseline)} come anyway"
    said = f"{NAMES[name]}: with {note.contacted:,} contacted and {note.held_out:,} held out ({base}) you will see effects above {told(note.at_end)} "
    said += f"by one look at the end, above {told(note.all_along)} where you look at any time"
    if note.likely is None:
        return said
    said += f"; the list expects {told(note.likely)}"
    rounds = note.rounds
    if rounds is None or rounds == 1:
        return said
    if rounds > MANY:
        return f"{said}: no number of campaigns like this will show that; hold out more, or contact more"
    return f"{said}: {rounds:,} campaigns of this size would be needed to see that"


def evidence(result: Retention) -> list[str]:
    """On what the gains rest."""
    used = {each.grade for each in result.entries}
    said = [*result.notes]
    if "D" in used or not used:
        count = sum(each.grade == "D" for each in result.entries)
        which = f" ({count} of {len(result.entries)} chosen)" if used - {"D"} else ""
        said.append(f"at grade D{which} no uplift is claimed: the share of a loss that an accepted offer keeps is assumed, not measured")
    if not result.entries and result.left_out.get("no_gain"):
        said.append(
            "nobody is worth a contact at these costs and that share (--saved-share, else saved_share of configs/decisions.yaml); "
            "`retain train uplift` and `retain publish` estimate what contacts change"
        )
    return said


def manifest(result: Retention, currency: str, customers: int) -> dict[str, Any]:
    """The list in counts and figures: enough to say what it was made of, and to compare it with another."""
    gain, low, high = total(result)
    return {
        "kind": "retention list",
        "run": result.run,
        "campaign": result.asked.campaign,
        "arguments": msgspec.to_builtins(result.asked, order="deterministic"),
        "as_of": result.at.isoformat(),
        "customers": customers,
        "contacted": len(result.contacted),
        "held_out": len(result.held_out),
        "left_out": result.left_out,
        "groups": dict(result.groups),
        "expected_gain": [gain, low, high],
        "expected_cost": spent(result),
        "runs_until": result.runs_until.isoformat(),
        "offers": sorted({each.offer.offer_id for each in result.what}),
        "prices": {
            "money": result.prices.money,
            "seats": dict(result.prices.seats),
            "stock": dict(result.prices.stock),
            "valid_until": f"{result.prices.valid_until:%Y-%m-%dT%H:%M:%S%z}",
        },
        "below_best": result.below_best,
        "power": msgspec.to_builtins(result.powers),
        "evidence": grade(result),
        "said": [*prices(result, currency), *powers(result, currency), *evidence(result)],
        "currency": currency,
        "models": dict(result.models),
        "policy": result.policy,
        "order": "above_price: expected gain less what the contact takes from others at the prices; equal ones by customer_id",
    }
