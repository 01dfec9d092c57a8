"""One decision: proposals through the funnel, priced, put in order, with reasons and with everything that was withheld. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from serving.decisions import reasons
from serving.decisions.control import Arm, arm, instead
from serving.decisions.eligibility import CONTROL, EVERYTHING, STAGES, Objection, Passed, for_everything, may_profile, passing
from serving.decisions.exploring import NONE, Mixture, draw, exploring, random, settled
from serving.decisions.facts import Alike, Ask, Customer, Lens, Owned, Reason, Shop, Withheld, looked_at
from serving.decisions.matrix import Strategy, strategy
from serving.decisions.policy import Policy
from serving.decisions.scoring import PURPOSE, Pricing, SeatPrices, Worth
from serving.decisions.standing import is_complaining

Source = Literal["fresh", "materialised", "previous_model", "popularity", "none"]
"""The rung of the ladder that answered."""
OVER_BUDGET = "over_budget"
"""The code of an answer whose caller's time was up before scoring."""
_DEPTHS = {stage: place for place, stage in enumerate(STAGES)}
"""How far down the funnel each stage is; what is no stage of it comes after."""


class Offered(msgspec.Struct, frozen=True):
    """One proposal of an answer."""

    worth: Worth
    reasons: tuple[Reason, ...]
    p_shown: float
    """Probability with which this slot showed it."""
    strategy: Strategy | None
    """Field of the strategy matrix; None where what was bought must not be looked at."""


class Decision(msgspec.Struct, frozen=True):
    """What to propose, what not, and how sure we are."""

    offers: tuple[Offered, ...]
    withheld: tuple[Withheld, ...]
    """Every offer that a rule objected to; one that others merely outrank is a candidate."""
    source: Source
    degraded: tuple[str, ...]
    is_personal: bool
    arm: Arm = "policy"
    """The group of the customer."""
    exploration: bool = False
    """Whether chance had a part in what is shown."""
    probability: float = 1.0
    """Probability of these offers in this order."""
    candidates: tuple[Worth, ...] = ()
    """Everything that priority or chance chose from, best first."""
    chances: tuple[float, ...] = ()
    """Probability with which each candidate is shown in any of the slots; they sum to the number of slots."""
    mixture: Mixture = NONE
    """How the slots were filled from the candidates."""
    stage: str | None = None
    """Lifecycle stage of the customer; None where it must not be looked at."""
    instead: tuple[Offered, ...] = ()
    """Of whoever is contacted with nothing as a control: what would have been shown otherwise, drawn as it is drawn for the others."""


def decide(
    ask: Ask,
    customer: Customer | None,
    shop: Shop,
    policy: Policy,
    *,
    source: Source = "fresh",
    degraded: Iterable[str] = (),
    is_over: Callable[[], bool] = lambda: False,
    customer_id: str | None = None,
    prices: SeatPrices | None = None,
    as_if: Arm | None = None,
) -> Decision:
    """Decide for one customer; None is a customer that nobody knows.

    Args:
        ask: the question.
        customer: what the rules may know of the customer.
        shop: offers and items; one snapshot for the whole decision.
        policy: the rules of the house.
        source: the best rung that rows and models allow.
        degraded: what was already missing.
        is_over: whether the caller's time is up; asked before scoring, after which popularity decides.
        customer_id: of somebody unknown, whose group is fixed all the same.
        prices: of money and seats, as a list solved for them.
        as_if: the group that the customer is taken to be in.
    """
    codes = list(degraded)
    may_know = customer is not None and ask.personalised and may_profile(customer, policy)
    group = _group(customer, customer_id, policy, ask, may_know=may_know, as_if=as_if)
    is_personal = may_know and group != "control"
    if customer is None:
        codes.append("unknown_customer")
    elif group == "control":
        codes.append("control_group")
    elif not is_personal:
        codes.append("not_personalised")
    elif not customer.owned:
        codes.append("no_history")
    person = customer if is_personal else None
    passed, objections = _through(ask, customer, person, group, shop, policy, is_personal=is_personal)
    if passed and is_over():
        codes.append(OVER_BUDGET)
        person = None
    priced = Pricing.of(ask, person, shop, policy, prices).worths(passed) if passed else []
    ranked, candidates, more = _arbitrate(priced, group)
    mixture = _mixture(ask, customer, person, group, policy, len(ranked))
    drawn = draw(mixture, policy.exploration.seed, ask.chance or "")
    other: tuple[Offered, ...] = ()
    if customer is not None and group == "control" and any(stage == CONTROL and EVERYTHING in named for named, stage, _ in objections):
        # Nobody is told; it is kept, so that those to whom it was shown can be compared with those to whom it would have been.
        group_else = instead(customer.customer_id, policy.groups)
        other = decide(ask, customer, shop, policy, source=source, degraded=degraded, is_over=is_over, prices=prices, as_if=group_else).offers
    if person is None or not person.owned or not any(person.likings.values()):
        source = "popularity"
    offered = _offered([ranked[place] for place in drawn.order], drawn.p, person, ask, shop, customer is None)
    return Decision(
        offers=offered,
        withheld=_withheld([*objections, *more], candidates),
        source=source if offered else "none",
        degraded=tuple(codes),
        is_personal=is_personal,
        arm=group,
        exploration=mixture.share > 0,
        probability=drawn.joint,
        candidates=tuple(ranked),
        chances=mixture.chances,
        mixture=mixture,
        stage="potential" if customer is None else None if not is_personal else customer.scores.stage,
        instead=other,
    )


def _group(customer: Customer | None, customer_id: str | None, policy: Policy, ask: Ask, *, may_know: bool, as_if: Arm | None) -> Arm:
    """The group of the customer. Chance spares whoever is vulnerable or complaining, and whoever must be treated like everybody."""
    identity = customer_id if customer is None else customer.customer_id
    group = as_if or ("policy" if identity is None else arm(identity, policy.groups))
    if group == "random" and (customer is None or not may_know or _is_spared(customer, ask, policy)):
        return "policy"
    return group


def _is_spared(customer: Customer, ask: Ask, policy: Policy) -> bool:
    return customer.is_vulnerable or is_complaining(customer, ask, policy)


def _through(
    ask: Ask, customer: Customer | None, person: Customer | None, group: Arm, shop: Shop, policy: Policy, *, is_personal: bool
) -> tuple[list[Passed], list[Objection]]:
    """Proposals through the funnel. The control group is contacted only to put right what it complained of."""
    is_held = group == "control" and not ask.is_inbound and not (customer is not None and is_complaining(customer, ask, policy))
    if is_held:
        objection = for_everything(ask, customer)
        return [], [((EVERYTHING,), CONTROL, "no_contact_group") if objection is None else objection]
    return passing(ask, customer, _proposals(ask, person, shop), shop, policy, is_personal=is_personal)


def _mixture(ask: Ask, customer: Customer | None, person: Customer | None, group: Arm, policy: Policy, count: int) -> Mixture:
    """How much of the answer is left to chance."""
    if ask.chance is None or customer is None or person is None or _is_spared(customer, ask, policy):
        return settled(count, ask.max_offers)
    if group == "random":
        return random(count, ask.max_offers)
    return exploring(count, ask.max_offers, policy.exploration.floor, policy.exploration.most)


def _proposals(ask: Ask, person: Customer | None, shop: Shop) -> list[tuple[Lens, Sequence[Alike]]]:
    """Every offer, and the items that stand for themselves, under each lens of the goal."""
    lenses = looked_at(ask.goal)
    if person is None and ask.goal == "best":
        lenses = ("cross_sell",)
    proposals: list[tuple[Lens, Sequence[Alike]]] = []
    found: dict[str, tuple[Alike, ...]] = {}
    for lens in lenses:
        # Under ``best`` an offer is looked at as what it is for; under a named goal the others are withheld, and said to be.
        offers = shop.offers_for[lens] if ask.goal == "best" and person is not None else shop.offered
        purpose = PURPOSE[lens]
        alone = found.get(purpose)
        if alone is None:
            listed = None if person is None else person.likings.get(purpose)
            alone = found[purpose] = shop.alone.of([one.item for one in listed]) if listed else shop.alone_popular
        proposals.append((lens, (*offers, *alone)))
    return proposals


def _arbitrate(priced: list[Worth], group: Arm) -> tuple[list[Worth], set[str], list[Objection]]:
    """Candidates, one per offer and per item, and their ids: first what a list has for the customer, then the best; equal ones by offer id.

    What is expected to bring nothing is no candidate; only the random group, which is there to tell, does not ask.
    """
    # What was priced stands lens by lens, so that of the looks at one offer that are worth the same the first lens stands first.
    keyed = sorted([(not one.is_listed, -one.priority, one.passed.offer.offer_id, place) for place, one in enumerate(priced)])
    ranked: list[Worth] = []
    objections: list[Objection] = []
    items: set[str | None] = set()
    offers: set[str] = set()
    wants_gain = group != "random"
    for _, cost, offer_id, place in keyed:
        if offer_id in offers:
            continue
        one = priced[place]
        gain, item = one.gain, one.item
        if one.contact == math.inf:
            objections.append(((offer_id,), "arbitration", "limit_used_up"))
        elif wants_gain and (cost >= 0 or (gain is not None and gain <= 0)):
            objections.append(((offer_id,), "arbitration", "no_expected_gain" if one.effect is None else "no_incremental_gain"))
        elif item is not None and item in items:
            objections.append(((offer_id,), "arbitration", "same_item_offered"))
        else:
            ranked.append(one)
            offers.add(offer_id)
            items.add(item)
    return ranked, offers, objections


def _offered(chosen: Sequence[Worth], p: Sequence[float], person: Customer | None, ask: Ask, shop: Shop, is_unknown: bool) -> tuple[Offered, ...]:
    """What is shown, with reasons and its field of the strategy matrix."""
    owned: Mapping[str, Owned] = {} if person is None else person.owned
    risk = None
    if ask.explain and person is not None and any(one.passed.lens == "retention" for one in chosen):
        signs = reasons.of_risk(person, shop.moment, shop.currency, ask.language)
        risk = reasons.at_risk(person.scores, signs, shop, ask.language)
    found = []
    for one, probability in zip(chosen, p, strict=True):
        item = None if one.item is None else shop.items[one.item]
        tag = None if person is None and not is_unknown else strategy(bool(owned), owned, item, one.passed.lens, ask.at)
        said = tuple(reasons.of_offer(one, shop, owned, risk, ask.language)) if ask.explain else ()
        found.append(Offered(one, said, probability, tag))
    return tuple(found)


def _withheld(objections: Iterable[Objection], candidates: set[str]) -> tuple[Withheld, ...]:
    """Each offer once, with the objection furthest down the funnel; what another lens let through (a candidate, by its id) is not withheld."""
    deepest: dict[str, Withheld] = {}
    for offer_ids, stage, rule in objections:
        for offer_id in offer_ids:
            if offer_id in candidates:
                continue
            before = deepest.get(offer_id)
            if before is None or (before.stage != stage and _depth(stage) > _depth(before.stage)):
                deepest[offer_id] = Withheld(offer_id, stage, rule)
    return tuple(deepest.values())


def _depth(stage: str) -> int:
    """How far down the funnel a stage is."""
    return _DEPTHS.get(stage, len(STAGES))


__all__ = ["OVER_BUDGET", "Decision", "Offered", "Source", "decide"]
