"""What stands in an order: which products, how many, at what price, what comes back; and what an order is worth on average."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from retain.simulate.behaviour import FADING, Life
from retain.simulate.draws import Draws, Flags, Floats, Integers
from retain.simulate.market import CATEGORIES, CATEGORY_NAMES, DELIVERY_FEE, OFFER_KIND, OFFERS, Market
from retain.simulate.people import People

SLOTS = 0.75 ** np.arange(10)
"""How often each product of the personal repertoire is taken."""
EPOCH_DAYS = 200
"""Days after which a place in the repertoire falls to another product."""
MAX_LINES = 40
SALE, RETURN, GIFT, FEE, ADJUSTMENT = range(5)
LINE_KINDS = ("sale", "return", "gift", "fee", "adjustment")
SHOP_CHANNELS = ("store", "web", "in_app", "call_center")
ONLINE = (1, 2)
_TASTE_SCALE = 0.6
_MORE, _MANY = 0.18, 0.05
"""Shares of lines of at least two units, and of three."""
_GIFT = 0.008
_FEE = 0.3
_REDUCED = np.array([0.10, 0.20, 0.30])


class Choice:
    """How a block of customers chooses products."""

    def __init__(self, shop: Market, who: People) -> None:
        self.shop, self.who = shop, who
        logits = _TASTE_SCALE * who.taste @ shop.embedding.T
        logits[:, CATEGORY_NAMES.index("Baby")] += np.where(who.household >= 3, 1.0, -0.5)
        weights = np.exp(logits[None] + shop.appeal[:, None])
        self.share = weights / weights.sum(axis=2, keepdims=True)
        """(4, customers, categories) what is discovered, by quarter of the year."""
        self.usual = self.share.mean(axis=0)
        self._cumulative = np.cumsum(np.concatenate([self.share, self.usual[None]]), axis=2).astype(np.float32)

    def _product(self, season: Integers, who: Integers, day: Integers, draws: Draws) -> Integers:
        u = draws.named("category").uniform().astype(np.float32)
        category = np.minimum((self._cumulative[season, who] < u[:, None]).sum(axis=1), len(CATEGORIES) - 1)
        return self.shop.pick(category, draws.named("rank").choice(self.shop.popularity), day)

    def discover(self, who: Integers, day: Integers, quarter: Integers, draws: Draws) -> Integers:
        """A product to the taste of a customer on a day."""
        return self._product(quarter, who, day, draws)

    def repertoire(self, who: Integers, day: Integers, slot: Integers) -> Integers:
        """The product that a customer has at a place of the repertoire on a day."""
        own = self.who.draws.named("repertoire").take(who).at(slot)
        epoch = (day + 10 * EPOCH_DAYS + own.named("phase").below(EPOCH_DAYS)) // EPOCH_DAYS
        # The epoch's first day stands for the day: within one epoch the product stays while it is sold.
        return self._product(np.full(len(who), 4), who, day, own.at(epoch))


@dataclass(frozen=True)
class Baskets:
    """Orders of a block sorted by customer and day, and their lines."""

    who: Integers
    day: Integers
    state: Integers
    second: Integers
    """Second of the UTC day."""
    channel: Integers
    """Position in SHOP_CHANNELS."""
    offer: Integers
    """Offer that was used, -1 if none."""
    contact: Integers
    """Contact behind that offer, -1 if none."""
    amount: Floats
    """Sum of the lines."""
    first_product: Integers
    draws: Draws
    has_fee: Flags
    line_order: Integers
    """Order of each line; fees are not among them."""
    line_number: Integers
    product: Integers
    quantity: Integers
    is_gift: Flags
    line_amount: Floats
    discount: Floats
    return_day: Integers
    """Day on which the line comes back; a day far off for those that stay."""


NEVER = 100_000


def fill(life: Life, choice: Choice, wave_offer: Integers, quarter_of: Integers, first: int) -> Baskets:
    """What stood in each order of a block; ``wave_offer`` is the offer of each contact, ``quarter_of`` the season of each day from ``first``."""
    who, shop = choice.who, choice.shop
    row = np.lexsort((life.orders.day, life.orders.who))
    buyer, day, contact, state = life.orders.who[row], life.orders.day[row], life.orders.detail[row], life.order_state[row].astype(np.int64)
    draws = who.draws.named("order").take(buyer).at(day)
    channel = np.minimum((who.channel_share[buyer] < draws.named("channel").uniform()[:, None]).sum(axis=1), len(SHOP_CHANNELS) - 1)
    offered = np.where(contact >= 0, wave_offer[contact], 0) if len(wave_offer) else np.zeros(len(contact), dtype=np.int64)
    accepts = (contact >= 0) & draws.named("accepts").chance(who.accepts[buyer, OFFER_KIND[offered]])
    offer = np.where(accepts, offered, -1)

    mean = who.basket_lines[buyer]
    size = np.minimum(1 + np.floor(np.log(draws.named("size").uniform()) / np.log1p(-1 / mean)).astype(np.int64), MAX_LINES)
    of = np.repeat(np.arange(len(row)), size)
    number = np.arange(len(of)) - np.repeat(np.cumsum(size) - size, size)
    line = draws.named("line").take(of).at(number)
    by, on = buyer[of], day[of]
    is_habit = line.named("habit").chance(who.habit[by])
    product = np.zeros(len(of), dtype=np.int64)
    usual, new = np.flatnonzero(is_habit), np.flatnonzero(~is_habit)
    product[usual] = choice.repertoire(by[usual], on[usual], line.named("slot").take(usual).choice(SLOTS))
    product[new] = choice.discover(by[new], on[new], quarter_of[on[new] - first], line.take(new))
    # Whoever takes up an offer for a category has something of it in the basket.
    focus = np.array([CATEGORY_NAMES.index(offer.category) if offer.category else -1 for offer in OFFERS])
    led = np.flatnonzero((number == 0) & (offer[of] >= 0) & (focus[offer[of]] >= 0))
    product[led] = shop.pick(focus[offer[of[led]]], line.named("led").take(led).choice(shop.popularity), on[led])

    many = line.named("quantity").uniform()
    quantity = 1 + (many < _MORE).astype(np.int64) + (many < _MANY)
    gross = shop.price[product] * quantity
    rate = np.where(line.named("reduced").chance(reduced_share(who)[by]), _REDUCED[line.named("reduction").below(len(_REDUCED))], 0.0)
    by_offer = np.array([offer.discount_rate or 0.0 for offer in OFFERS])
    by_coupon = np.array([offer.discount_amount or 0.0 for offer in OFFERS])
    takes = offer[of] >= 0
    discount = gross * np.minimum(rate + np.where(takes, by_offer[offer[of]], 0.0), 0.6)
    discount = np.where(takes & (number == 0), np.minimum(discount + by_coupon[offer[of]], 0.6 * gross), discount)
    is_gift = (number > 0) & line.named("gift").chance(_GIFT)
    discount = np.where(is_gift, 0.0, np.round(discount, 2))
    amount = np.where(is_gift, 0.0, np.round(gross - discount, 2))
    back = return_share(shop, who)[by, shop.category[product]] * np.where(state[of] == FADING, 1.5, 1.0)
    comes_back = ~is_gift & line.named("returned").chance(back)
    has_fee = np.isin(channel, ONLINE) & draws.named("fee").chance(_FEE)
    return Baskets(
        who=buyer,
        day=day,
        state=state,
        second=_second(who, buyer, channel, draws),
        channel=channel,
        offer=offer,
        contact=np.where(accepts, contact, -1),
        amount=np.bincount(of, amount, minlength=len(row)) + DELIVERY_FEE * has_fee,
        first_product=product[np.cumsum(size) - size],
        draws=draws,
        has_fee=has_fee,
        line_order=of,
        line_number=number,
        product=product,
        quantity=quantity,
        is_gift=is_gift,
        line_amount=amount,
        discount=discount,
        return_day=np.where(comes_back, on + 3 + line.named("return_day").below(18), NEVER),
    )


def _second(who: People, buyer: Integers, channel: Integers, draws: Draws) -> Integers:
    """Second of the UTC day: near the favourite hour, in shops and on the phone only while they are open."""
    hour = who.hour[buyer] + 1.7 * draws.named("hour").normal()
    local = np.clip(hour, np.array([8.0, 6.1, 6.1, 9.0])[channel], np.array([19.9, 22.9, 22.9, 17.9])[channel])
    # An hour behind the clock on the wall in winter, so that shops in summer open at nine.
    return ((local - 1) * 3600).astype(np.int64) + draws.named("second").below(60)


def reduced_share(who: People) -> Floats:
    """Share of a customer's lines bought at a reduced price."""
    return np.clip(0.14 + 0.06 * who.thrift, 0.02, 0.4)


def return_share(shop: Market, who: People) -> Floats:
    """(customers, categories) share of lines that come back."""
    habit = np.exp(0.5 * who.draws.named("returns").normal() - 0.125)
    return np.minimum(habit[:, None] * shop.return_rate[None], 0.5)


def worth(choice: Choice, quarter: int) -> tuple[Floats, Floats]:
    """Expected money and margin of one order per customer around the clock, net of what comes back."""
    who, shop = choice.who, choice.shop
    count = len(who.number)
    kept = 1 - return_share(shop, who)
    units = 1 + _MORE + _MANY
    off = reduced_share(who) * _REDUCED.mean()
    price, gain = shop.mean_prices(0)
    discovered = choice.share[quarter] * kept
    spend, margin = discovered @ price, discovered @ gain
    usual_spend, usual_margin = np.zeros(count), np.zeros(count)
    everyone = np.arange(count)
    for slot, weight in enumerate(SLOTS / SLOTS.sum()):
        product = choice.repertoire(everyone, np.zeros(count, dtype=np.int64), np.full(count, slot))
        stays = kept[everyone, shop.category[product]] * weight
        usual_spend += stays * shop.price[product]
        usual_margin += stays * (shop.price - shop.unit_cost)[product]
    list_money = who.habit * usual_spend + (1 - who.habit) * spend
    list_margin = who.habit * usual_margin + (1 - who.habit) * margin
    lines = (who.basket_lines - _GIFT * (who.basket_lines - 1)) * units
    fee = DELIVERY_FEE * _FEE * (who.channel_share[:, max(ONLINE)] - who.channel_share[:, min(ONLINE) - 1])
    return lines * list_money * (1 - off) + fee, lines * (list_margin - list_money * off)
