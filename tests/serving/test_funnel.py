"""The funnel beside a plain one that asks every rule of every proposal, one after another: on random shops both say the same."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from serving.decisions import credit
from serving.decisions.eligibility import for_everything, passing
from serving.decisions.facts import LENSES, Ask, Contact, Customer, Item, Lens, Offer, Owned, Scores, Shop
from serving.decisions.policy import Law, Limit, Policy, Suitability
from serving.decisions.standing import Standing, consented, standing

NOW = datetime(2026, 3, 1, 21, tzinfo=UTC)
CHANNELS = ("email", "sms", "call_center")
KINDS = ("coupon", "discount", "service", "product", "loan")
RULES = Policy(
    laws=(Law(name="no_loans", kinds=("loan",), regions=("north",)), Law(name="no_sms", kinds=("coupon",), channels=("sms",))),
    suitability=(
        Suitability(name="big", fact="stage", value="growing", **{"is": "equal"}, kinds=("discount",), lenses=("cross_sell", "repeat")),
        Suitability(name="risky", fact="churn", **{"is": "at_least"}, value=0.7, kinds=("service",)),
        Suitability(name="named", fact="churn", **{"is": "at_least"}, value=0.5, only_named=True),
    ),
    channel_limits={"email": (Limit(most=1, days=1), Limit(most=2, days=7)), "sms": (Limit(most=2, days=7),)},
    remedies={"price": ("coupon", "discount"), "quality": ("coupon", "discount")},
)


LAWLESS = RULES.model_copy(update={"laws": ()})
"""Where no law looks at who somebody is, what was said of terms is remembered from one customer to the next."""


@pytest.mark.parametrize("seed", range(150))
def test_judging_terms_once_is_judging_every_proposal(seed: int) -> None:
    draw = random.Random(seed)
    shop, customer, ask = _shop(draw), _customer(draw), _ask(draw)
    _agrees(shop, customer, ask, RULES, is_personal=customer is not None and draw.random() < 0.8)


@pytest.mark.parametrize("seed", range(30))
def test_what_was_said_to_others_of_the_same_terms_is_what_would_be_said(seed: int) -> None:
    draw = random.Random(seed)
    shop = _shop(draw)
    for _ in range(25):
        customer, ask = _customer(draw), replace(_ask(draw), at=NOW + timedelta(hours=draw.randrange(-72, 72)))
        policy = LAWLESS if draw.random() < 0.9 else RULES
        _agrees(shop, customer, ask, policy, is_personal=customer is not None and draw.random() < 0.8)


@pytest.mark.parametrize("seed", range(40))
def test_so_it_is_where_the_same_few_are_asked_about_again_and_again_by_two_houses(seed: int) -> None:
    # Whoever stands alike is told what was remembered of the other, so they must be few to meet; they differ in one thing or another.
    draw = random.Random(seed)
    shop = _shop(draw)
    first = replace(_customer(draw) or Customer("C1"), consents=frozenset({"*:*"}), complaint_at=None, scores=Scores(0.2, 50.0, "small", "mature"))
    mailed = tuple(Contact(NOW - timedelta(hours=hours), "email", f"O{number}") for number, hours in enumerate((100, 50, 2)))
    changes = [{}, {"cause": "quality"}, {"cause": "price"}, {"scores": Scores(0.9, 50.0, "small", "mature")}, {"contacts": mailed[:2]}]
    people = [replace(first, **each) for each in (*changes, {"contacts": mailed[2:]}, {"contacts": mailed[:1]}, {"contacts": mailed[1:]})]
    asks = [replace(_ask(draw), at=NOW, channels=CHANNELS[:2], exclude=frozenset(), is_inbound=True) for _ in range(2)]
    for _ in range(50):
        _agrees(shop, draw.choice(people), draw.choice(asks), draw.choice((RULES, LAWLESS)), is_personal=True)


@pytest.mark.parametrize("seed", range(15))
def test_where_laws_hold_what_was_said_to_one_is_not_said_to_who_lives_elsewhere(seed: int) -> None:
    draw = random.Random(seed)
    shop = _shop(draw)
    for _ in range(25):
        customer, ask = _customer(draw), replace(_ask(draw), channels=CHANNELS, exclude=frozenset(), is_inbound=True)
        customer = customer if customer is None else replace(customer, contacts=(), complaint_at=None, consents=frozenset({"*:*"}), cause=None)
        _agrees(shop, customer, ask, RULES, is_personal=customer is not None)


def test_a_law_of_the_north_holds_there_though_the_south_was_asked_first() -> None:
    shop = Shop(NOW, {}, (), (Offer("O1", "Loan", "loan"),), 90)
    ask = Ask("best", NOW, ("email",), is_inbound=True)
    for region, may in (("south", True), ("north", False), ("south", True)):
        customer = Customer("C1", frozenset({"*:*"}), region=region, country="NL", scores=Scores(stage="mature"))
        passed, _ = passing(ask, customer, [(lens, shop.offered) for lens in LENSES], shop, RULES, is_personal=True)
        assert bool(passed) is may


@pytest.mark.parametrize("seed", range(40))
def test_so_it_is_where_most_have_nothing_of_their_own_to_be_asked(seed: int) -> None:
    draw = random.Random(seed)
    shop = _plain_shop(draw)
    for _ in range(25):
        customer, ask = _customer(draw), replace(_ask(draw), at=NOW + timedelta(hours=draw.choice((-1, 0, 5))))
        ask = ask if draw.random() < 0.2 else replace(ask, exclude=frozenset())
        customer = customer if customer is None or draw.random() < 0.2 else replace(customer, contacts=())
        listed = [shop.alone[item] for item in draw.sample([*shop.items], draw.randrange(12))]
        _agrees(shop, customer, ask, LAWLESS, is_personal=customer is not None and draw.random() < 0.8, alone=listed)


def test_the_channel_that_the_customer_asked_for_stands_first_whoever_was_asked_about_before() -> None:
    for preferred in ("sms", None, "call_center", "push", "sms"):
        customer = Customer("C1", frozenset({"*:*"}), preferred_channel=preferred)
        assert consented(customer, CHANNELS, "marketing") == tuple(sorted(CHANNELS, key=lambda channel: channel != preferred))
        assert consented(replace(customer, unsubscribed=frozenset({"*"})), CHANNELS, "marketing") == ()
        assert consented(replace(customer, unsubscribed=frozenset({"sms"})), CHANNELS, "marketing") == tuple(
            sorted({*CHANNELS} - {"sms"}, key=lambda channel: (channel != preferred, CHANNELS.index(channel)))
        )


def _agrees(shop: Shop, customer: Customer | None, ask: Ask, policy: Policy, *, is_personal: bool, alone: Sequence[Offer] = ()) -> None:
    groups = (*shop.offered, *shop.alike(alone))
    proposals: list[tuple[Offer, Lens]] = [(offer, lens) for lens in LENSES for offer in (*shop.offers, *alone)]
    passed, objections = passing(ask, customer, [(lens, groups) for lens in LENSES], shop, policy, is_personal=is_personal)
    found = {(one.offer.offer_id, one.lens): (one.channels, one.items) for one in passed}
    # What is remembered of others changes nothing, not even the order: a receipt is made again byte for byte, by a process that remembers nothing.
    assert passing(ask, customer, [(lens, groups) for lens in LENSES], replace(shop), policy, is_personal=is_personal) == (passed, objections)
    if for_everything(ask, customer) is not None:
        assert not passed
        assert objections == [for_everything(ask, customer)]
        return
    known = standing(ask, customer, shop, policy, is_personal=is_personal)
    plain = [_plainly(known, offer, lens) for offer, lens in proposals]
    assert found == {(offer.offer_id, lens): one for (offer, lens), one in zip(proposals, plain, strict=True) if not isinstance(one[0], str)}
    said = [(offer.offer_id, *one) for (offer, _), one in zip(proposals, plain, strict=True) if isinstance(one[0], str)]
    assert [(offer_id, stage, rule) for offer_ids, stage, rule in objections for offer_id in offer_ids] == said


def _plainly(known: Standing, offer: Offer, lens: Lens) -> Any:
    """Stage and rule of the first objection; else channels and items."""
    ask, customer, policy, shop = known.ask, known.customer, known.policy, known.shop
    if offer.offer_id in ask.exclude:
        return "consent", "excluded_by_caller"
    channels = list(known.retention if lens == "retention" else known.marketing)
    if not channels:
        return "consent", "no_consent_retention" if lens == "retention" else "no_consent_marketing"
    if offer.valid_from is not None and ask.at < offer.valid_from:
        return "eligibility", "not_yet_valid"
    if offer.valid_to is not None and ask.at >= offer.valid_to:
        return "eligibility", "expired"
    if offer.stock is not None and offer.stock <= 0:
        return "eligibility", "out_of_stock"
    channels = [one for one in channels if offer.channels is None or one in offer.channels]
    if not channels:
        return "eligibility", "channel"
    items = [shop.items[one] for one in offer.items if one in shop.items]
    for rule, holds in (
        ("not_on_sale", lambda one: (one.launched_at or ask.at) <= ask.at and (one.retired_at is None or ask.at < one.retired_at)),
        ("no_ware", lambda one: one.is_offerable),
        ("out_of_stock", lambda one: one.stock is None or one.stock > 0),
        ("minimum_age", lambda one: _is_old(customer, one.minimum_age)),
    ):
        items = [one for one in items if holds(one)]
        if offer.items and not items:
            return "eligibility", rule
    region, country = (None, None) if customer is None else (customer.region, customer.country)
    for law in policy.laws:
        if law.covers(offer.kind, region, country):
            channels = [one for one in channels if law.channels and one not in law.channels]
            if not channels:
                return "eligibility", law.name
    is_named = offer.audience is not None and customer is not None and customer.customer_id in offer.audience
    has_price = offer.discount_rate is not None or offer.discount_amount is not None or offer.kind in ("discount", "coupon")
    if is_named and has_price and not offer.is_individual_price:
        return "eligibility", "individual_price_not_declared"
    if not _is_old(customer, offer.minimum_age):
        return "eligibility", "minimum_age"
    if offer.regions is not None and (customer is None or not {region, country} & set(offer.regions)):
        return "eligibility", "region"
    if offer.audience is not None and (customer is None or not {customer.customer_id, customer.relation} & set(offer.audience)):
        return "eligibility", "audience"
    price = max((one.price for one in items if one.price is not None), default=None)
    if (rule := credit.objection(offer, price, customer)) is not None:
        return "eligibility", rule
    if customer is not None:
        if offer.is_once and offer.offer_id in customer.accepted:
            return "applicability", "once_is_enough"
        if offer.goal not in ("any", lens):
            return "applicability", "other_goal"
        if known.is_personal and customer.scores.stage not in policy.lifecycle.get(lens, (customer.scores.stage,)):
            return "applicability", "lifecycle_stage"
        if known.is_personal and items and lens != "retention":
            items = [one for one in items if (one.item_id in customer.owned) == (lens == "repeat")]
            if not items:
                return "applicability", "never_bought" if lens == "repeat" else "already_bought"
    for rule in known.unsuitable:
        if not rule.only_named and lens in rule.lenses and (not rule.kinds or offer.kind in rule.kinds):
            return "suitability", rule.name
    if customer is not None and lens == "retention" and known.kinds is not None and offer.kind not in known.kinds:
        return "suitability", f"cause_{customer.cause}"
    suited = [one for one in items if one.suitability is None or _suits(known, one, lens)]
    if items and not suited:
        return "suitability", items[0].suitability
    if known.has_open_complaint and offer.kind not in policy.complaint_kinds:
        return "suppression", "open_complaint"
    channels = [one for one in channels if one not in known.quiet]
    if not channels:
        return "suppression", "quiet_hours"
    if known.limit is not None:
        return "fatigue", known.limit
    if offer.offer_id in known.repeated:
        return "fatigue", f"same_offer_{policy.same_offer_limit.rule}"
    free = [one for one in channels if one not in known.limits]
    return (tuple(free), tuple(one.item_id for one in suited)) if free else ("fatigue", known.limits[channels[-1]])


def _suits(known: Standing, item: Item, lens: Lens) -> bool:
    rule = next((one for one in known.policy.suitability if one.name == item.suitability), None)
    return rule is not None and known.is_personal and not (rule in known.unsuitable and lens in rule.lenses)


def _is_old(customer: Customer | None, minimum: int | None) -> bool:
    born = None if customer is None else customer.birth_year
    return not minimum or (born is not None and NOW.year - born - 1 >= minimum)


def _some(draw: random.Random, share: float, *values: Any) -> Any:
    """One of the values, or more often none."""
    return draw.choice(values) if draw.random() < share else None


def _shop(draw: random.Random) -> Shop:
    def item(name: str) -> Item:
        one = Item(name, name, draw.random(), _some(draw, 0.8, 5.0, 50.0, 500.0), suitability=_some(draw, 0.1, "big", "named", "nobody"))
        one = replace(one, minimum_age=_some(draw, 0.1, 18), stock=_some(draw, 0.2, 0.0, 3.0), is_offerable=draw.random() < 0.9)
        day = timedelta(days=1)
        return replace(one, launched_at=_some(draw, 0.1, NOW - day, NOW + day), retired_at=_some(draw, 0.1, NOW - day, NOW, NOW + day))

    items = {name: item(name) for name in (f"I{n}" for n in range(12))}

    def offer(name: str) -> Offer:
        covered = tuple(draw.sample([*items, "gone"], draw.choice((0, 1, 1, 3))))
        one = Offer(name, name, draw.choice(KINDS), draw.choice(("any", "any", *LENSES)), covered, _some(draw, 0.3, 0.1))
        one = replace(one, valid_from=_some(draw, 0.1, NOW, NOW + timedelta(1)), valid_to=_some(draw, 0.1, NOW, NOW + timedelta(1)))
        one = replace(one, channels=_some(draw, 0.3, ("email",), ("sms", "email"), ("push",)), regions=_some(draw, 0.1, ("north",), ("FR",)))
        one = replace(one, audience=_some(draw, 0.2, ("C1",), ("vip",), ("C2",)), is_individual_price=draw.random() < 0.3)
        one = replace(one, minimum_age=_some(draw, 0.1, 18), stock=_some(draw, 0.1, 0.0, 5.0))
        return replace(one, is_once=draw.random() < 0.2, needs_credit=draw.random() < 0.2)

    return Shop(NOW, items, tuple(items)[:3], tuple(offer(f"O{n}") for n in range(25)), 90)


def _plain_shop(draw: random.Random) -> Shop:
    """Few terms, and items whose sale nothing limits, but for a few in some shops."""
    new = NOW - timedelta(minutes=30)
    items = {f"I{n}": Item(f"I{n}", f"I{n}", draw.random(), 5.0, launched_at=_some(draw, 0.1, new)) for n in range(12)}
    for odd in draw.sample([*items], draw.choice((0, 0, 1))):
        items[odd] = replace(items[odd], stock=_some(draw, 0.5, 0.0), retired_at=_some(draw, 0.5, NOW, NOW + timedelta(hours=3)))
    offers: list[Offer] = []
    for _ in range(6):
        like = Offer("", "", draw.choice(KINDS), draw.choice(("any", *LENSES)), channels=_some(draw, 0.3, ("email",), ("sms", "email")))
        like = replace(like, valid_to=_some(draw, 0.1, NOW, NOW + timedelta(hours=3)), is_once=draw.random() < 0.1)
        sizes = (0, 1, 1, 1, 3) if draw.random() < 0.3 else (0, 1)
        for _ in range(draw.randrange(1, 5)):
            name, covered = f"O{len(offers)}", draw.sample([*items], draw.choice(sizes))
            offers.append(replace(like, offer_id=name, name=name, items=tuple(covered)))
    return Shop(NOW, items, tuple(items)[:3], tuple(offers), 90)


def _customer(draw: random.Random) -> Customer | None:
    if draw.random() < 0.1:
        return None
    consents = draw.choice((("*:*",), ("*:*",), ("email:marketing",), ("*:retention", "sms:marketing"), ()))
    contacts = [
        Contact(NOW - timedelta(days=draw.uniform(0, 10)), _some(draw, 0.9, *CHANNELS), f"O{draw.randrange(4)}") for _ in range(draw.randrange(3))
    ]
    return Customer(
        "C1",
        frozenset(consents),
        is_credit_blocked=draw.random() < 0.2,
        credit_limit=_some(draw, 0.5, 40.0),
        relation=_some(draw, 0.5, "vip"),
        region=_some(draw, 0.7, "north", "south"),
        country=_some(draw, 0.7, "FR", "DE"),
        birth_year=_some(draw, 0.7, 1980, 2010),
        time_zone="UTC",
        preferred_channel=_some(draw, 0.5, *CHANNELS),
        complaint_at=_some(draw, 0.1, NOW - timedelta(days=3)),
        contacts=tuple(sorted(contacts, key=lambda one: one.at)),
        accepted=frozenset(f"O{n}" for n in range(25) if draw.random() < 0.2),
        owned={f"I{n}": Owned(1, 5) for n in range(12) if draw.random() < 0.4},
        cause=_some(draw, 0.4, "price", "quality"),
        scores=Scores(draw.random(), draw.uniform(0, 100), "small", draw.choice(("mature", "growing", "lost"))),
    )


def _ask(draw: random.Random) -> Ask:
    exclude = frozenset(f"O{draw.randrange(25)}" for _ in range(2))
    at = NOW - timedelta(hours=draw.choice((-2, 0, 9)))
    return Ask("best", at, draw.choice((CHANNELS, ("email",), ("sms",))), is_inbound=draw.random() < 0.5, exclude=exclude)
