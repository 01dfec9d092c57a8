"""Requests and answers under ``/v1``: typed, strict, and the source of the OpenAPI document.

Requests refuse fields that they do not know, so that a typing error is told. Answers only ever grow.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from retain.tables import CHANNELS
from serving.contract import NAME, EventRow, TransactionRow
from serving.decisions.facts import Reason, Withheld

Id = Annotated[str, Meta(min_length=1, max_length=256, pattern=NAME)]
Word = Annotated[str, Meta(min_length=1, max_length=64, pattern=NAME)]
Moment = Annotated[datetime, Meta(tz=True)]
Channel = Literal["email", "sms", "push", "in_app", "web", "call_center", "store", "mail", "agent"]
assert set(Channel.__args__) == set(CHANNELS)  # type: ignore[attr-defined]  # noqa: S101 - the contract says the same twice
Goal = Literal["cross_sell", "repeat", "retention", "best"]
Purpose = Literal["all", "new", "repeat"]
Rung = Literal["fresh", "materialised", "previous_model"]
"""What figures of customers come from."""
OutcomeKind = Literal["shown", "opened", "clicked", "accepted", "rejected", "purchased", "unsubscribed", "complained", "returned"]
Count = Annotated[int, Meta(ge=1, le=50)]
Triple = tuple[float, float, float]
"""A figure and its 95 % interval: value, low, high."""


class Problem(Struct, frozen=True):
    """What went wrong, where, and what to do."""

    code: str
    message: str
    field: str | None = None
    row: int | None = None


class ErrorBody(Struct, frozen=True):
    """The one shape of every error."""

    error: Problem


class Context(Struct, frozen=True, forbid_unknown_fields=True):
    """The situation of the moment."""

    intent: Word | None = None
    """For example cancel, complain, buy; weighs the goals when the goal is ``best``."""
    device: Word | None = None


class DecisionRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """What to offer this customer now."""

    customer_id: Id
    request_id: Id | None = None
    """Idempotency key: the same request gives the same answer, a different one with the same key is refused."""
    goal: Goal = "best"
    personalised: bool = True
    as_of: Moment | None = None
    """Default: the clock of the workspace."""
    channel: Channel | None = None
    placement: Word | None = None
    """Where it will be shown; a placement that the rules do not name as inbound is a contact that we start."""
    context: Context | None = None
    max_offers: Annotated[int, Meta(ge=1, le=20)] = 3
    exclude: Annotated[list[Id], Meta(max_length=1000)] = field(default_factory=list)
    budget_ms: Annotated[int, Meta(ge=1, le=60_000)] | None = None
    """Once it is spent before scoring, popularity decides and the answer says so."""
    dry_run: bool = False
    """Answer without writing anything down; the answer has no decision_id."""
    explain: bool = True
    """Reasons and what was withheld."""
    language: Literal["en", "zh"] = "en"


class OfferOut(Struct, frozen=True):
    """One proposal."""

    rank: int
    offer_id: str
    name: str
    kind: str
    goal: str
    channels: list[str]
    p_shown: float
    """Probability with which this slot showed this action; 1 where nothing was left to chance."""
    accept_prob: Triple
    expected_margin: float | None
    """Incremental margin - costs where an effect is known; else probability x margin - costs, for retention x margin at risk; null where
    no margin is known."""
    margin_basis: Literal["observed", "declared", "assumed"] | None
    incremental_value: Triple | None
    """Margin that would not come without the contact; null where no effect was estimated."""
    evidence: Literal["A", "B", "C", "D"]
    """A randomised, B logged probabilities, C adjusted observational, D none: nothing incremental is claimed."""
    cost: float
    """Cost when it is used."""
    expires_at: Moment | None
    outcome_until: Moment
    """Outcomes up to here count for this decision."""
    text: str | None
    reasons: list[Reason]
    priority: float = 0.0
    """What was compared: margin x weight x lever - costs; the probability x weight x lever where no margin is known."""
    strategy: Literal["loyalty", "extension", "acquisition", "diversification"] | None = None
    """Existing or new customer by existing or new product; null where what was bought must not be looked at."""
    is_individual_price: bool = False
    """The offer declares that its price is one person's own: say so to the customer."""


class Freshness(Struct, frozen=True, omit_defaults=True):
    """How old the facts behind an answer are."""

    rows_at: Moment
    oldest_feature_s: float | None
    stale: list[str]
    events_at: Moment | None = None
    """When the last event came in that this answer knows of and the rows do not; left out where there is none."""
    as_of_rows: list[str] = field(default_factory=list)
    """What stays as it was when the rows were made although events came in: ``features`` until they are computed again, always what needs
    everybody or a model of lists (``lists``, ``band``, ``cause``); left out where nothing came in."""


class Models(Struct, frozen=True):
    """Versions behind an answer; null where a part had no model."""

    churn: str | None
    clv: str | None
    recommend: str | None
    rows: str
    uplift: str | None = None
    accept: None = None


class DecisionAnswer(Struct, frozen=True):
    """What to offer, why, and what was withheld."""

    decision_id: str | None
    request_id: str | None
    customer_id: str
    as_of: Moment
    goal: Goal
    policy: str
    arm: Literal["policy", "random", "control"]
    """The group of the customer, fixed by a hash: control is not contacted, and answered by the rules of business alone where they turn to us."""
    exploration: bool
    """Whether chance had a part in what is shown."""
    source: Literal["fresh", "materialised", "previous_model", "popularity", "none"]
    degraded: list[str]
    is_personal: bool
    offers: list[OfferOut]
    withheld: list[Withheld]
    currency: str
    assumed: list[str]
    synthetic: bool
    freshness: Freshness
    models: Models
    probability: float = 1.0
    """Exact probability of these offers in this order."""
    stage: str | None = None
    """Lifecycle stage of the customer, as every action is tagged with; null where it must not be looked at."""


class ScoresRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to score; an id may stand twice and is answered twice."""

    customer_ids: Annotated[list[Id], Meta(min_length=1)]
    explain: bool = False
    """Why each customer may leave."""
    language: Literal["en", "zh"] = "en"
    budget_ms: Annotated[int, Meta(ge=1, le=600_000)] | None = None
    """Once it is spent, the rest gets the figures that were published, with the status ``over_budget``."""


class CauseOut(Struct, frozen=True):
    """Which of the eight causes of churn is likely, and what answers it."""

    cause: str
    """One of the eight, or ``unknown``."""
    by: Literal["recorded", "rule", "none"]
    """A rule is a declared guess over what is recorded, not a finding."""
    basis: str
    remedy: str
    coupon: bool
    """Whether money off answers this cause."""


class CauseShare(Struct, frozen=True):
    """How often a cause is recorded in a value band, of its customers whose cause is recorded."""

    band: str
    cause: str
    count: int
    of: int
    share: Triple
    """With its 95 % interval."""


class PartOut(Struct, frozen=True):
    """One part of the value of customers: whether it counts, by which declared prices, and for how many there are data."""

    counted: bool
    per_event: dict[str, float]
    basis: str
    coverage: float | None
    """Share of active customers with data; null where no table records any."""


class Score(Struct, frozen=True):
    """What the models say of one customer."""

    customer_id: str
    status: Literal["ok", "no_features", "unknown", "not_profiled", "over_budget"]
    """``over_budget``: the figures as published, because the caller's time was up."""
    churn: float | None = None
    clv: float | None = None
    expected_loss: float | None = None
    band: str | None = None
    stage: str | None = None
    segment: str | None = None
    reasons: list[Reason] = field(default_factory=list)
    """Up to three true signs of leaving, strongest first; empty where nothing raises the risk, or where ``explain`` was not asked for."""
    cause: CauseOut | None = None
    """Null where ``explain`` was not asked for."""
    value_parts: dict[str, float] | None = None
    """``purchase`` (the predicted value) and the parts that are on and have data, within the horizon; their sum is what is at stake."""
    expected_orders: float | None = None
    """Within the horizon; at least the chance of one."""
    next_purchase_at: Moment | None = None
    """As likely to come before as after, beyond the horizon exactly where no purchase within it is likelier than one; null beyond a year."""


class ScoresAnswer(Struct, frozen=True):
    """One score per asked id, in the asked order."""

    scores: list[Score]
    horizon_days: int
    currency: str
    as_of: Moment
    source: Rung
    degraded: list[str]
    assumed: list[str]
    synthetic: bool
    freshness: Freshness
    """The worst of all who are asked about."""
    models: Models
    reasons_by: Literal["model", "rules"]
    """What ranks reasons: what the churn model says each feature adds, or declared rules where it cannot say."""
    value_parts: dict[str, PartOut]
    """Parts of value besides purchases."""


class RecommendationsRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """What a customer may want."""

    customer_id: Id
    purpose: Purpose = "all"
    k: Count = 10
    personalised: bool = True
    exclude: Annotated[list[Id], Meta(max_length=1000)] = field(default_factory=list)
    described: Annotated[dict[Id, Id], Meta(max_length=20)] = field(default_factory=dict)
    """What is known of somebody who has bought nothing yet, by column of the profile: ``{"country": "France"}``."""
    budget_ms: Annotated[int, Meta(ge=1, le=60_000)] | None = None
    """Once it is spent before scoring, what is popular is listed and ``degraded`` says ``over_budget``."""


class Recommendation(Struct, frozen=True):
    """One item of a ranked list."""

    rank: int
    item_id: str
    name: str
    probability: Triple
    """Of a purchase within the horizon, by how often what stood at this rank was bought."""


class RecommendationsAnswer(Struct, frozen=True):
    """A ranked list; a short one is a valid answer."""

    customer_id: str
    purpose: Purpose
    item: str
    recommendations: list[Recommendation]
    source: Literal["fresh", "materialised", "previous_model", "popularity", "none"]
    degraded: list[str]
    as_of: Moment
    assumed: list[str]
    synthetic: bool
    freshness: Freshness
    models: Models
    segment: dict[str, str] = field(default_factory=dict)
    """What the list was chosen by where there is no history: column of the profile and its word."""


class OutcomeRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """What came of a decision."""

    outcome_id: Id
    """Unique for the event; sending it again is harmless."""
    decision_id: Id
    type: OutcomeKind
    occurred_at: Moment
    offer_id: Id | None = None
    customer_id: Id | None = None
    """Only needed where the decision may be unknown here."""
    channel: Channel | None = None
    amount: Annotated[float, Meta(ge=-1e12, le=1e12)] | None = None
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}$(?!\n)")] | None = None


class OutcomeAnswer(Struct, frozen=True):
    """The outcome is on disk."""

    outcome_id: str
    duplicate: bool
    pending: bool
    """Its decision is not known yet; it is joined when it comes."""
    late: bool
    """It came after the offer's outcome window."""


class DecisionsRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """What to offer each of many customers now."""

    requests: Annotated[list[DecisionRequest], Meta(min_length=1)]
    budget_ms: Annotated[int, Meta(ge=1, le=600_000)] | None = None
    """Of all together: once it is spent, popularity decides the rest, and each of those answers says so."""


class DecisionResult(Struct, frozen=True):
    """What came of one request of many."""

    row: int
    """Its place among the requests."""
    status: int
    """As HTTP would have it, had it been asked alone."""
    decision: DecisionAnswer | None = None
    repeated: bool = False
    """Whether this request_id was answered before; left out where not."""
    error: Problem | None = None


class DecisionsAnswer(Struct, frozen=True):
    """One result per request, in order."""

    results: list[DecisionResult]


class EventsRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """What customers did and bought since the tables were read in: rows of the contract, in any order."""

    events: Annotated[list[EventRow], Meta(max_length=1000)] = field(default_factory=list)
    transactions: Annotated[list[TransactionRow], Meta(max_length=1000)] = field(default_factory=list)


class EventsAnswer(Struct, frozen=True):
    """The rows are on disk."""

    kept: int
    duplicates: int
    """Rows that were on record already; sending them again is harmless."""
    erased: int
    """Rows of customers who were erased: kept nowhere."""


class OutcomeSeen(Struct, frozen=True):
    """An outcome in a trace."""

    outcome_id: str
    type: str
    occurred_at: str
    offer_id: str | None
    amount: float | None
    late: bool


class DecisionTrace(Struct, frozen=True):
    """A logged decision: what was asked, what was answered, what came of it, and what it rested on."""

    decision_id: str
    recorded_at: Moment
    request: DecisionRequest
    answer: DecisionAnswer
    outcomes: list[OutcomeSeen]
    basis: dict[str, Any] | None
    """The customer as the rules knew them, the features that the models read, the rung of the ladder; null for decisions of older releases."""


class ChurnRow(Struct, frozen=True):
    """One customer of the churn list."""

    rank: int
    customer_id: str
    risk: float
    value: float
    expected_loss: float
    band: str
    stage: str
    channels: list[str]
    """Channels with a consent for retention or marketing."""
    reasons: list[Reason]
    cause: CauseOut
    value_parts: dict[str, float]
    """What ``value`` is made of: ``purchase`` and the parts that are on and have data."""
    expected_orders: float | None = None
    """Within the horizon; at least the chance of one."""
    next_purchase_at: Moment | None = None
    """As likely to come before as after; null beyond a year."""


class ChurnList(Struct, frozen=True):
    """Customers by what their leaving would cost; who must not be contacted is left out and counted."""

    rows: list[ChurnRow]
    left_out: dict[str, int]
    customers: int
    horizon_days: int
    currency: str
    as_of: Moment
    assumed: list[str]
    synthetic: bool
    models: Models
    source: Rung
    degraded: list[str]
    freshness: Freshness
    """The worst of all who were looked at; everybody is ranked as published."""
    reasons_by: Literal["model", "rules"] = "rules"
    """What ranks the reasons: what the churn model says each feature adds, or declared rules where it cannot say."""
    involuntary: list[ChurnRow] = field(default_factory=list)
    """Customers who are likely to leave for reasons outside what is sold: listed apart, by the same order, and proposed no coupon."""
    causes: dict[str, int] = field(default_factory=dict)
    """Likely causes of the rows and of those listed apart, counted."""
    recorded_causes: list[CauseShare] = field(default_factory=list)
    """Shares of causes among active customers whose cause is recorded; empty where no source records any."""
    value_parts: dict[str, PartOut] = field(default_factory=dict)
    """Parts of value besides purchases."""
