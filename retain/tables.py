"""The contract with every user's data: eight tables, their columns, types, units and keys.

Column names live here and nowhere else. Every fact carries two times in UTC: ``occurred_at``, when it happened, and ``known_at``,
when we knew of it (default: the same). Money is in the currency of the row, rates are shares of one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from retain.errors import DataError

Kind = Literal["string", "float", "int", "bool", "timestamp", "strings"]

ARROW: dict[Kind, str] = {
    "string": "string",
    "float": "double",
    "int": "int64",
    "bool": "bool",
    "timestamp": "timestamp[us, tz=UTC]",
    "strings": "list<string>",
}
SQL: dict[Kind, str] = {
    "string": "VARCHAR",
    "float": "DOUBLE",
    "int": "BIGINT",
    "bool": "BOOLEAN",
    "timestamp": "TIMESTAMPTZ",
    "strings": "VARCHAR[]",
}

CHANNELS = ("email", "sms", "push", "in_app", "web", "call_center", "store", "mail", "agent")
PURPOSES = ("marketing", "service", "retention", "profiling")
CAUSES = ("price", "inconvenience", "staff", "core_service", "response", "competition", "ethics", "involuntary")
"""The eight causes of churn."""
STAGES = ("potential", "acquired", "growing", "mature", "declining", "won_back")
"""Stages of a customer's life; which one it is is declared in ``configs/segments.yaml``."""


@dataclass(frozen=True)
class Column:
    """One column of a contract table."""

    name: str
    kind: Kind
    meaning: str
    unit: str = ""
    required: bool = False
    """A row without it is quarantined, a source without it is refused."""
    choices: tuple[str, ...] = ()
    derived: bool = False
    """Made at ingest from other columns; a source cannot give it."""


@dataclass(frozen=True)
class Table:
    """One contract table."""

    name: str
    meaning: str
    key: tuple[str, ...]
    """Rows with the same key and equal content are one row; with different content the later-known one wins, the other is counted."""
    columns: tuple[Column, ...]
    sort: tuple[str, ...] = ("customer_id", "occurred_at")
    required: bool = False
    open: bool = False
    """Whether a source may declare further columns (descriptive ones, of customers)."""
    by_name: dict[str, Column] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        self.by_name.update({column.name: column for column in self.columns})

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in the contract's order."""
        return tuple(column.name for column in self.columns)


def _c(name: str, kind: Kind, meaning: str, unit: str = "", choices: tuple[str, ...] = ()) -> Column:
    return Column(name, kind, meaning, unit, choices=choices)


def _r(name: str, kind: Kind, meaning: str, unit: str = "", choices: tuple[str, ...] = ()) -> Column:
    return Column(name, kind, meaning, unit, required=True, choices=choices)


def _d(name: str, kind: Kind, meaning: str, unit: str = "") -> Column:
    return Column(name, kind, meaning, unit, derived=True)


_TIMES = (
    _r("occurred_at", "timestamp", "When it happened."),
    _c("known_at", "timestamp", "When we knew of it; the same as occurred_at unless the source says otherwise."),
)
_SOURCE = (_d("source", "string", "Name of the source mapping that brought the row."),)

CUSTOMERS = Table(
    "customers",
    "Descriptive: who they are. One row per customer and version; occurred_at is when the description became true.",
    ("customer_id", "occurred_at"),
    (
        _r("customer_id", "string", "The customer."),
        *_TIMES,
        _c("joined_at", "timestamp", "When the relation began."),
        _c("consents", "strings", "Granted consents as channel:purpose, for example email:marketing; * stands for any."),
        _c("do_not_contact", "bool", "On a do-not-contact or bereavement list."),
        _c("refuses_profiling", "bool", "Has refused personalised decisions."),
        _c("is_minor", "bool", "Under age: never profiled, never contacted for marketing."),
        _c("is_vulnerable", "bool", "In a group that exploration and pressure must spare."),
        _c("relation", "string", "Kind of relation.", choices=("general", "enterprise", "internal", "distributor")),
        _c("relation_level", "string", "How much contact is earned.", choices=("basic", "reactive", "accountable", "proactive", "partner")),
        _c("acquisition_channel", "string", "Where the customer came from."),
        _c("acquisition_cost", "float", "Cost of acquiring the customer.", "currency"),
        _c("time_zone", "string", "The customer's zone, for quiet hours."),
        _c("language", "string", "Preferred language."),
        _c("preferred_channel", "string", "Channel the customer asked for."),
        _c("region", "string", "Region."),
        _c("country", "string", "Country."),
        _c("gender", "string", "Gender; protected, never a feature."),
        _c("age_band", "string", "Age as an ordered band."),
        _c("birth_year", "int", "Year of birth."),
        _c("income_band", "string", "Income as an ordered band."),
        _c("education", "string", "Education."),
        _c("occupation", "string", "Occupation."),
        _c("marital_status", "string", "Marital status; protected, never a feature."),
        _c("household_size", "int", "People in the household.", "people"),
        _c("children", "int", "Children in the household.", "people"),
        _c("household_type", "string", "Composition of the household."),
        _c("home_ownership", "string", "Owns or rents."),
        _c("industry", "string", "Industry of a firm."),
        _c("firm_size", "string", "Size of a firm as a band."),
        _c("firm_revenue_band", "string", "Revenue of a firm as a band."),
        _c("values", "string", "Psychographic: values and attitude, from surveys."),
        _c("lifestyle", "string", "Psychographic: lifestyle, from surveys."),
        _c("risk_attitude", "string", "Psychographic: attitude to risk, from surveys."),
        _c("openness", "string", "Psychographic: openness to the new, from surveys."),
        _c("profile_grade", "string", "Fit with the target profile.", choices=("A", "B", "C", "eliminated")),
        _c("loyalty_tier", "string", "Tier in the loyalty programme."),
        _c("credit_limit", "float", "Credit granted.", "currency"),
        _c("is_credit_blocked", "bool", "No sale on credit."),
        _c("identities", "strings", "Other ids of the same person as system:id."),
        _c("verified_at", "timestamp", "When the record was last checked for authenticity."),
        _c("firm_reaction", "string", "How the firm has reacted to the customer.", choices=("yielding", "caring", "adaptive", "indifferent")),
        *_SOURCE,
    ),
    open=True,
)

PRODUCTS = Table(
    "products",
    "What is sold. One row per product and version.",
    ("product_id", "occurred_at"),
    (
        _r("product_id", "string", "The product."),
        *_TIMES,
        _c("name", "string", "Name."),
        _c("category_path", "string", "Categories from wide to narrow, joined by ' > '."),
        _d("category", "string", "The category used for recommendation: the level that the mapping names."),
        _c("brand", "string", "Brand."),
        _c("manufacturer", "string", "Maker."),
        _c("package_size", "string", "Package."),
        _c("price", "float", "List price.", "currency"),
        _c("unit_cost", "float", "Cost of one unit.", "currency"),
        _c("margin_rate", "float", "Margin as a share of the price."),
        _c("text", "string", "Description."),
        _c("is_sellable", "bool", "Whether it may be proposed; postage, fees and adjustments may not."),
        _c("stock", "float", "Units in stock.", "units"),
        _c("minimum_age", "int", "Lawful age to buy.", "years"),
        _c("suitability", "string", "Rule that says for whom it is unsuitable."),
        _c("launched_at", "timestamp", "When it came to market."),
        _c("retired_at", "timestamp", "When it left the market."),
        *_SOURCE,
    ),
    sort=("product_id", "occurred_at"),
)

TRANSACTIONS = Table(
    "transactions",
    "What they buy, one row per order line; returns negative. A row without a customer is an anonymous sale where the mapping allows it.",
    ("order_id", "line_id"),
    (
        _r("order_id", "string", "The order, basket or invoice."),
        _c("line_id", "string", "The line; where a source has none, equal rows are separate sales and all are kept."),
        _c("customer_id", "string", "The customer; null for an anonymous sale."),
        _r("product_id", "string", "The product; null is quarantined."),
        *_TIMES,
        _c(
            "kind",
            "string",
            "What the line is; free is a sale without money that counts as a purchase.",
            choices=("sale", "return", "gift", "fee", "adjustment", "free"),
        ),
        _r("quantity", "float", "Units; negative on returns.", "units"),
        _r("amount", "float", "What the company receives for the line; negative on returns.", "currency"),
        _c("discount", "float", "Discount given, as a positive amount.", "currency"),
        _c("margin", "float", "Margin of the line.", "currency"),
        _c("currency", "string", "ISO currency."),
        _c("channel", "string", "Channel of the sale."),
        _c("store_id", "string", "Shop."),
        _c("region", "string", "Region of the sale."),
        _c("salesperson_id", "string", "Who sold."),
        _c("offer_id", "string", "Offer that was used."),
        _c("campaign_id", "string", "Campaign behind the sale."),
        _c("payment", "string", "Means of payment."),
        _c("returned_order_id", "string", "Order that a return belongs to."),
        _d("local_hour", "int", "Hour of the day where the customer lives.", "hours"),
        _d("local_weekday", "int", "Day of the week where the customer lives; Monday is 1.", "days"),
        _d("order_number", "int", "Number of this order in the customer's purchases, as far as then known; null unless a purchase.", "orders"),
        _d("order_gap_days", "int", "Calendar days since the customer's purchase before, as far as then known; null on the first.", "days"),
        *_SOURCE,
    ),
    required=True,
)

EVENTS = Table(
    "events",
    "Behavioral: what they do, besides buying.",
    ("event_id",),
    (
        _c("event_id", "string", "The event; where a source has none, equal rows are separate events."),
        _r("customer_id", "string", "The customer."),
        *_TIMES,
        _r(
            "kind",
            "string",
            "What happened.",
            choices=(
                "visit",
                "view",
                "search",
                "cart",
                "wishlist",
                "app_open",
                "share",
                "review",
                "rating",
                "complaint",
                "complaint_resolved",
                "support_call",
                "inquiry",
                "referral",
                "points_earned",
                "points_spent",
                "survey",
                "switch_intent",
                "default",
            ),
        ),
        _c("channel", "string", "Where."),
        _c("product_id", "string", "Product meant."),
        _c("value", "float", "Points, stars, seconds or money, by kind."),
        _c("score", "float", "Survey score, for example NPS 0 to 10."),
        _c("expected_score", "float", "Expectation before, in a satisfaction survey."),
        _c("perceived_score", "float", "Perception after, in a satisfaction survey."),
        _c("question", "string", "Survey question or attribute, functional or dysfunctional, for Kano."),
        _c("driver", "string", "Perceived-value driver meant: product, service, staff, image, money, time, mental, bodily."),
        _c("text", "string", "Words of the customer."),
        _c("cause", "string", "Cause given.", choices=CAUSES),
        _c("service_gap", "string", "Service gap behind a complaint.", choices=("knowledge", "standard", "delivery", "communication")),
        _c("compensation", "float", "What was paid to put it right.", "currency"),
        _c("resolved_at", "timestamp", "When a complaint was closed."),
        _c("session_id", "string", "Session."),
        _c("duration_s", "float", "How long.", "seconds"),
        _c("campaign_id", "string", "Campaign behind the event."),
        _c("device", "string", "Device."),
        _c("location", "string", "Place."),
        _c("staff_id", "string", "Who served."),
        *_SOURCE,
    ),
)

OFFERS = Table(
    "offers",
    "What may be proposed. One row per offer and version.",
    ("offer_id", "occurred_at"),
    (
        _r("offer_id", "string", "The offer."),
        *_TIMES,
        _c("name", "string", "Name shown to people."),
        _r("kind", "string", "What kind.", choices=("discount", "coupon", "bundle", "product", "service", "repair", "loyalty", "information")),
        _c("goal", "string", "What it is for.", choices=("cross_sell", "repeat", "retention", "any")),
        _c("product_ids", "strings", "Products covered."),
        _c("category", "string", "Category covered."),
        _c("discount_rate", "float", "Discount as a share of the price."),
        _c("discount_amount", "float", "Discount as money.", "currency"),
        _c("cost", "float", "Cost when used.", "currency"),
        _c("margin", "float", "Margin when used, before cost.", "currency"),
        _c("valid_from", "timestamp", "First moment of validity."),
        _c("valid_to", "timestamp", "End of validity, exclusive."),
        _c("channels", "strings", "Channels on which it may be proposed; null means all."),
        _c("regions", "strings", "Regions where it is lawful; null means all."),
        _c("audience", "strings", "Customers or relations it is limited to; null means all."),
        _c("minimum_age", "int", "Lawful age.", "years"),
        _c("stock", "float", "How many are left; null means no limit.", "units"),
        _c("is_once", "bool", "Whether once is enough."),
        _c("needs_credit", "bool", "Sold on credit."),
        _c("is_individual_price", "bool", "Declares an individual price."),
        _c("lever", "float", "Business weight; 1 is neutral."),
        _c("outcome_days", "int", "Window in which an outcome counts.", "days"),
        _c("text", "string", "Words for the customer or script for the agent."),
        _c("campaign_id", "string", "Campaign it belongs to."),
        *_SOURCE,
    ),
    sort=("offer_id", "occurred_at"),
)

CONTACTS = Table(
    "contacts",
    "Promotional: what was sent to whom, when, by which channel and at what cost; the treatment log.",
    ("contact_id",),
    (
        _c("contact_id", "string", "The contact; where a source has none, equal rows are separate contacts."),
        _r("customer_id", "string", "The customer."),
        *_TIMES,
        _c("channel", "string", "Channel."),
        _c("offer_id", "string", "Offer proposed."),
        _c("campaign_id", "string", "Campaign."),
        _c("arm", "string", "Arm of the campaign, control included."),
        _c("is_control", "bool", "Drawn as a control: nothing was sent."),
        _c("probability", "float", "Probability with which this arm was drawn."),
        _c("cost", "float", "Cost of the contact.", "currency"),
        _c("currency", "string", "ISO currency."),
        _c("placement", "string", "Where it was shown."),
        _c("position", "int", "Rank in which it was shown."),
        _c("creative", "string", "Text or picture used."),
        _c("script", "string", "Script used."),
        _c("decision_id", "string", "Decision behind the contact."),
        _c("staff_id", "string", "Who made the contact."),
        _c("market_block", "string", "Market block of the promotion."),
        *_SOURCE,
    ),
)

OUTCOMES = Table(
    "outcomes",
    "What came of a contact or decision.",
    ("outcome_id",),
    (
        _c("outcome_id", "string", "The outcome; where a source has none, equal rows are separate outcomes."),
        _r("customer_id", "string", "The customer."),
        *_TIMES,
        _r(
            "kind",
            "string",
            "What came of it.",
            choices=("shown", "opened", "clicked", "accepted", "rejected", "purchased", "unsubscribed", "complained", "returned"),
        ),
        _c("contact_id", "string", "The contact."),
        _c("decision_id", "string", "The decision."),
        _c("offer_id", "string", "The offer."),
        _c("campaign_id", "string", "The campaign."),
        _c("channel", "string", "Channel of the answer."),
        _c("amount", "float", "Money that came of it.", "currency"),
        _c("currency", "string", "ISO currency."),
        _c("is_late", "bool", "Came after the offer's outcome window."),
        *_SOURCE,
    ),
)

SUBSCRIPTIONS = Table(
    "subscriptions",
    "Contracts. One row per contract and version; occurred_at is when the version became true.",
    ("subscription_id", "occurred_at"),
    (
        _r("subscription_id", "string", "The contract."),
        _r("customer_id", "string", "The customer."),
        *_TIMES,
        _r("started_at", "timestamp", "Start."),
        _c("ends_at", "timestamp", "Agreed end."),
        _c("ended_at", "timestamp", "Real end."),
        _c("end_cause", "string", "Cause of the end.", choices=CAUSES),
        _c("plan", "string", "Plan."),
        _c("product_id", "string", "Product."),
        _c("price", "float", "Price per period.", "currency"),
        _c("currency", "string", "ISO currency."),
        _c("period_days", "int", "Length of a period.", "days"),
        _c("is_renewed_automatically", "bool", "Renews itself."),
        _c("notice_days", "int", "Notice to give.", "days"),
        _c("exit_fee", "float", "Fee on leaving early.", "currency"),
        _c("switching_risk", "float", "Switching cost: risk, 0 to 1."),
        _c("switching_evaluation", "float", "Switching cost: evaluation, 0 to 1."),
        _c("switching_learning", "float", "Switching cost: learning, 0 to 1."),
        _c("switching_setup", "float", "Switching cost: set-up, 0 to 1."),
        _c("switching_benefits", "float", "Switching cost: benefits lost.", "currency"),
        _c("switching_money", "float", "Switching cost: money lost.", "currency"),
        _c("switching_personal", "float", "Switching cost: personal bonds, 0 to 1."),
        _c("switching_brand", "float", "Switching cost: brand bonds, 0 to 1."),
        *_SOURCE,
    ),
)

TABLES: dict[str, Table] = {table.name: table for table in (CUSTOMERS, PRODUCTS, TRANSACTIONS, EVENTS, OFFERS, CONTACTS, OUTCOMES, SUBSCRIPTIONS)}

PROTECTED = frozenset({"gender", "marital_status", "values", "household_type", "birth_year", "is_minor", "is_vulnerable"})
"""Never a feature and never in a rule that scores. Of these, age and vulnerability are only read to spare and to obey the law."""
# fmt: off
SENSITIVE = frozenset({
    "biometric", "creed", "criminal", "diagnosis", "disability", "ethnic", "ethnicity", "genetic", "health", "nationality", "orientation", "party",
    "passport", "political", "pregnancy", "pregnant", "race", "religion", "religious", "sex", "sexual", "sexuality", "ssn", "union",
})
# fmt: on
"""Words in column names of special categories of personal data; such columns never enter the tables as descriptive ones."""


def is_sensitive(name: str) -> bool:
    """Whether a column's name speaks of a special category of personal data."""
    return not SENSITIVE.isdisjoint(re.split(r"[^a-z]+", name.lower()))


def is_protected(name: str) -> bool:
    """Whether a column, ``table.column``, ``view:column`` or ``view__column`` is an attribute that nothing may learn or decide from.

    >>> is_protected("profile__gender"), is_protected("customers.religion"), is_protected("purchases__orders_30d")
    (True, True, False)
    """
    column = name.lower().replace("__", ".").replace(":", ".").rpartition(".")[2]
    return column in PROTECTED or is_sensitive(column)


def table(name: str) -> Table:
    """The contract table called ``name``.

    Raises:
        DataError: there is none.
    """
    if name not in TABLES:
        raise DataError(f"{name!r} is no contract table; the tables are {', '.join(TABLES)}")
    return TABLES[name]


def missing(name: str, present: Iterable[str]) -> list[str]:
    """Required columns of a table that are not among ``present``, in the contract's order."""
    given = set(present)
    return [column.name for column in table(name).columns if column.required and column.name not in given]
