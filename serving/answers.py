"""From a checked request to an answer: rows, champions and the rules of the house brought together. Reads, never writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import groupby
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from retain.tables import CHANNELS
from retain.workspace import Workspace
from serving import schemas
from serving.basis import Basis, decided, impersonal
from serving.champions import SCORED, Champions, open_champions
from serving.decisions.causes import Causes, causes
from serving.decisions.decide import OVER_BUDGET, Source
from serving.decisions.eligibility import may_profile
from serving.decisions.facts import Customer, Estimate, Language, Liking, Scores
from serving.decisions.policy import Policy, policy
from serving.decisions.prices import Prices
from serving.decisions.scoring import purposes
from serving.effects import in_money
from serving.fresh import Fresh
from serving.ledger import Ledger
from serving.lists import prices, running
from serving.lists.prices import Tariff
from serving.lists.running import Campaigns
from serving.overlay import KEPT, Overlay
from serving.pulls import Pull, Said
from serving.rows import Row, Rows, open_rows, versions
from training.contracts import Floats
from training.controls import controls
from training.package import champion

BLOCK = 20_000


@dataclass(frozen=True)
class Answers:
    """What one process answers from; opened once, never changed, so that one answer has one version of everything."""

    rows: Rows
    champions: Champions
    policy: Policy
    clock: Callable[[], datetime]
    fresh: Fresh = field(default_factory=Fresh)
    degraded: tuple[str, ...] = ()
    """What is known to be missing from the start."""
    causes: Causes = field(default_factory=Causes)
    prices: Tariff | None = None
    """Of money, seats and stock, as the last list solved for them."""
    overlay: Overlay = field(default_factory=Overlay)
    """Rows that were made again since publication."""
    refused: tuple[str, ...] = ()
    """What was named since and did not open, so that these answer on: ``previous_rows``, ``churn_previous_model`` and the like."""
    apart: tuple[str, ...] = ()
    """``machines_apart`` while other machines of the shop may know what this one does not."""
    troubles: tuple[str, ...] = ()
    """What fails beside whoever answers: ``rows_not_made`` while rows are not made again for what came in, and the like."""
    campaigns: Campaigns = field(default_factory=Campaigns)
    """Who is held out of what."""

    @classmethod
    def open(cls, workspace: Workspace, fresh: Fresh | None = None) -> Answers:
        """Open rows and champions of a workspace, verified; what does not verify is answered by the version before.

        Raises:
            NotReadyError: nothing was published.
            IntegrityError: the rows do not verify.
        """
        rows = open_rows(workspace)
        return cls.on(workspace, rows, open_champions(workspace, rows.card.columns, rows.card.vocabulary), fresh)

    @classmethod
    def on(cls, workspace: Workspace, rows: Rows, champions: Champions, fresh: Fresh | None = None) -> Answers:
        """Answers from opened rows and champions, by the rules, prices and clock of a workspace; what does not fit is named in ``degraded``."""
        state = workspace.state()
        clock = state.clock()
        codes = [*champions.degraded, *(code for code in rows.card.degraded if code.startswith(("recommend", "uplift")))]
        if versions(workspace)[0].name != rows.card.version:
            codes.append("previous_rows")
        if state.digest != rows.card.data_digest:
            codes.append("rows_of_older_tables")
        folder = champion(workspace, "recommend")
        if folder is not None and folder.name != rows.card.models.get("recommend"):
            codes.append("lists_of_other_model")
        if champions.model_id("clv") != rows.card.models.get("clv"):
            codes.append("bands_of_other_model")
        if champions.model_id("churn") != rows.card.models.get("churn"):
            codes.append("reasons_of_other_model")
        if rows.card.wishes != controls().model_dump():
            codes.append("lists_of_other_wishes")
        campaigns = running.load(workspace, clock())
        codes += [f"held_out_unknown_{each}" for each in campaigns.broken]
        codes = list(dict.fromkeys(codes))
        return cls(rows, champions, policy(), clock, fresh or Fresh(), tuple(codes), causes(), prices.load(workspace, clock()), campaigns=campaigns)

    @cached_property
    def codes(self) -> tuple[str, ...]:
        """What is degraded whoever asks."""
        return tuple(dict.fromkeys((*self.degraded, *self.refused, *self.apart, *self.troubles)))

    @cached_property
    def is_previous(self) -> bool:
        """Whether a champion of before stands in: at the start, or because the one that is named now did not open."""
        return any(code.endswith("_previous_model") for code in self.codes)

    @cached_property
    def _oldest(self) -> timedelta:
        return timedelta(days=self.policy.max_age_days)

    @cached_property
    def _freshest(self) -> timedelta:
        return timedelta(hours=self.policy.fresh_hours)

    @cached_property
    def _has_parts(self) -> bool:
        return any(each.counted for each in self.rows.card.parts.values())

    def changed(self, **changes: Any) -> Answers:
        """The same rows and champions with something else beside them; what was computed for everybody is not computed again."""
        other = replace(self, **changes)
        if "everybody" in self.__dict__:
            other.__dict__["everybody"] = self.everybody
        return other

    def decision(
        self,
        request: schemas.DecisionRequest,
        decision_id: str | None,
        is_over: Callable[[], bool] = lambda: False,
        unknown: str | None = None,
    ) -> tuple[schemas.DecisionAnswer, dict[str, datetime], Basis]:
        """Decide; say until when outcomes count for each offer, and what the decision rested on. ``unknown`` is why nothing may be proposed."""
        return decided(request, decision_id, self.basis(request, unknown), self.rows.shop, self.policy, is_over)

    def heed(self, ledger: Ledger) -> None:
        """Take in what calls have used of the limits of the last list, where its limits are spent by calls."""
        if self.prices is not None:
            self.prices.heed(ledger, self.policy)

    def basis(self, request: schemas.DecisionRequest, unknown: str | None = None) -> Basis:
        """Everything that a decision reads and that may be different tomorrow; nothing personal where it must not choose."""
        at = self.at(request.as_of)
        row = self.row(request.customer_id, at)
        source, codes = self.rung(row, at)
        wrong = self._wrong_time(at, is_now=request.as_of is None) or unknown
        if request.context is not None and request.context.intent is not None and request.context.intent not in self.policy.intents:
            codes = (*codes, "unknown_intent")
        customer = None if row is None else self._customer(row, at, explain=request.explain, purposes=purposes(request.goal))
        at_prices = None if self.prices is None else self.prices.to(request.customer_id, at, self.rows.card.version)
        if row is not None and customer is not None:
            customer = self._held_to(customer, row, at, at_prices)
        is_personal = customer is not None and request.personalised and may_profile(customer, self.policy)
        return Basis(
            at=at,
            customer=customer if customer is None or is_personal else impersonal(customer),
            features=row.raw.tobytes() if row is not None and is_personal else b"",
            features_at=row.features_at if row is not None and is_personal else b"",
            source=source,
            degraded=codes if wrong is None else (*self.codes, wrong),
            refused=wrong,
            freshness=self.freshness(row, at),
            models=self.models,
            prices=at_prices,
        )

    def recommendations(self, request: schemas.RecommendationsRequest, is_over: Callable[[], bool] = lambda: False) -> schemas.RecommendationsAnswer:
        """A ranked list of items: the customer's own; without history what the segments of the customer buy; else what is popular.

        What is popular is listed as well where the caller's time is up before anything is scored (``is_over``).
        """
        at = self.clock()
        row = self.row(request.customer_id, at)
        rung, codes = self.rung(row, at)
        is_late = is_over()
        customer = None if row is None or is_late else self._customer(row, at)
        if is_late:
            codes = (*codes, OVER_BUDGET)
        elif customer is None:
            codes = (*codes, "unknown_customer")
        may_be = self.policy.profiling == "opt_out" if customer is None else may_profile(customer, self.policy)
        is_personal = request.personalised and may_be and not is_late
        if customer is not None and not is_personal:
            codes = (*codes, "not_personalised")
        shop, excluded = self.rows.shop, set(request.exclude)
        segment: dict[str, str] = {}
        listed: Sequence[Liking] = ()
        if is_personal and row is not None and customer is not None and row.has_history:
            listed = row.likings(request.purpose, customer.scores.churn, 50)
        elif is_personal:
            codes = codes if row is None else (*codes, "no_history")
            segment, is_understood = self._segment(row, request.described)
            codes = codes if is_understood else (*codes, "description_not_understood")
            listed = () if request.purpose == "repeat" else self.rows.segment_likings(segment, 50)
        found = [(one.item, one.p) for one in listed if one.item in shop.items and one.item not in excluded and self._is_on_sale(one.item, at)]
        source: Source = "popularity" if segment or not listed else rung
        if not found and not listed:
            found = [(item, Estimate(*[shop.items[item].share] * 3)) for item in shop.popular if item not in excluded and self._is_on_sale(item, at)]
        best = [schemas.Recommendation(rank, item, shop.items[item].name, p.triple) for rank, (item, p) in enumerate(found[: request.k], start=1)]
        return schemas.RecommendationsAnswer(
            customer_id=request.customer_id,
            purpose=request.purpose,
            item=shop.item_kind,
            recommendations=best,
            source=source if best else "none",
            degraded=list(codes),
            as_of=at,
            assumed=list(shop.assumed),
            synthetic=shop.synthetic,
            freshness=self.freshness(row, at),
            models=self.models,
            segment=segment,
        )

    def _segment(self, row: Row | None, described: dict[str, str]) -> tuple[dict[str, str], bool]:
        """What is known of somebody without history, by column: the tables' words before the caller's; and whether all of the latter are segments."""
        words = {**described, **({} if row is None else row.segments)}
        known = {column: words[column] for column in self.rows.card.segments.rows(words)}
        return known, set(described) <= set(known)

    def churn_list(self, top: int, channel: str | None = None, language: Language = "en") -> schemas.ChurnList:
        """Customers by expected loss, with consent applied now: outcomes that came in since the rows were made count too."""
        pull = self.pull(language)
        source, degraded = self.rung(None, pull.at)
        said = Said(self.models, source, degraded, self._freshness_of_all(pull.at))
        return pull.churners(top, CHANNELS if channel is None else (channel,), said)

    def pull(self, language: Language = "en") -> Pull:
        """What a list of this moment is made of."""
        scores = self.rows.array("scores") if self.is_scored else self.everybody
        churn, clv = (scores[:, SCORED.index(task)] for task in SCORED)
        return Pull(self.rows, self.fresh, self.causes, self.clock(), churn, clv, language, self.policy.groups)

    def row(self, customer_id: str, at: datetime) -> Row | None:
        """The row of a customer, made again since publication where something came in by that moment; None of nobody known."""
        row = self.rows.get(customer_id)
        made = None if row is None else self.overlay.get(customer_id)
        return row if made is None or at < made.known_at else made.row

    def score(self, rows: Sequence[Row]) -> list[Scores]:
        """Scores of rows by the champions; bands and stages are those of the rows."""
        found: list[Scores] = []
        for of, group in groupby(rows, key=attrgetter("rows")):
            same = list(group)
            if self.is_scored if of is self.rows else self._scored(of):
                found.extend(row.stored for row in same)
                continue
            values = self.predict(np.array([row.position for row in same], dtype=np.intp), of).tolist()
            for row, (churn, clv) in zip(same, values, strict=True):
                stored = row.stored
                found.append(Scores(None if np.isnan(churn) else churn, None if np.isnan(clv) else clv, stored.band, stored.stage))
        return found

    def at(self, as_of: datetime | None) -> datetime:
        """The moment that is asked about, in UTC."""
        try:
            return self.clock() if as_of is None else as_of.astimezone(UTC)
        except OverflowError:
            return datetime(1, 1, 1, tzinfo=UTC) if as_of is not None and as_of.year < 5000 else datetime(9999, 12, 31, tzinfo=UTC)

    def predict(self, positions: NDArray[np.intp], of: Rows | None = None) -> Floats:
        """(rows, tasks); NaN where a customer has no features or a task no model."""
        rows = self.rows if of is None else of
        result = np.full((len(positions), len(SCORED)), np.nan)
        known = np.flatnonzero(rows.array("is_known")[positions])
        for place, task in enumerate(SCORED):
            scorer = self.champions.scorers.get(task)
            if scorer is not None and len(known):
                result[known, place] = scorer.predict(rows.array("raw")[positions[known]])
        return result

    @cached_property
    def is_scored(self) -> bool:
        """Whether the scores that were published are the champions' own: what has been computed from the same row is not computed again."""
        return self._scored(self.rows)

    def _scored(self, rows: Rows) -> bool:
        return all(self.champions.model_id(task) == rows.card.models.get(task) for task in SCORED)

    @cached_property
    def everybody(self) -> Floats:
        """Scores of all customers, made once: neither rows nor champions change."""
        everybody = np.arange(len(self.rows), dtype=np.intp)
        return np.concatenate([self.predict(everybody[start : start + BLOCK]) for start in range(0, max(len(everybody), 1), BLOCK)])

    def _customer(self, row: Row, at: datetime, *, explain: bool = False, purposes: Iterable[str] | None = None) -> Customer:
        scores = row.stored if row.rows is self.rows and self.is_scored else self.score([row])[0]
        if self._has_parts and scores.clv is not None:
            # Lists and calls weigh the same value.
            scores = msgspec.structs.replace(scores, clv=sum(row.value_parts(scores.clv).values()))
        return self.fresh.on(row.customer(at, scores, explain=explain, purposes=purposes), at)

    def _held_to(self, customer: Customer, row: Row, at: datetime, at_prices: Prices | None) -> Customer:
        """The customer as running campaigns and the terms of the last list want it: held out where held out, effects at the list's margin."""
        held_out = self.campaigns.held_out(customer.customer_id, at)
        if held_out:
            customer = msgspec.structs.replace(customer, held_out=held_out)
        rate = None if at_prices is None else at_prices.margin_rate
        if rate is not None and rate != self.rows.shop.margin_rate and self.rows.card.effects.names:
            effects = in_money(self.rows.card.effects, row.rows.array("effect")[row.position].tolist(), customer.scores.clv, rate)
            customer = msgspec.structs.replace(customer, effects=effects)
        return customer

    def rung(self, row: Row | None, at: datetime) -> tuple[schemas.Rung, tuple[str, ...]]:
        """The best source that rows and models allow at a moment, and what is degraded."""
        codes = list(self.codes)
        age = at - self.rows.card.moment
        if age > self._oldest or (row is not None and row.is_stale):
            codes.append("stale_features")
        if row is not None and not row.has_features:
            codes.append("no_features")
        if self.is_previous:
            return "previous_model", tuple(codes)
        return "fresh" if age <= self._freshest and "stale_features" not in codes else "materialised", tuple(codes)

    def _wrong_time(self, at: datetime, *, is_now: bool) -> str | None:
        """Why nothing can be decided at a moment: rows must not know more than was known then, and must not be outlived."""
        if at < self.rows.card.moment:
            return "as_of_before_rows"
        if not is_now and at > self.clock() + self._oldest:
            return "as_of_after_clock"
        return None

    def _is_on_sale(self, item: str, at: datetime) -> bool:
        thing = self.rows.shop.items[item]
        launched = thing.launched_at is None or thing.launched_at <= at
        is_there = launched and (thing.retired_at is None or at < thing.retired_at) and (thing.stock is None or thing.stock > 0)
        return is_there and thing.is_offerable and not thing.minimum_age

    def freshness(self, row: Row | None, at: datetime) -> schemas.Freshness:
        """How old the facts behind an answer are, and what came in since."""
        moment = self.rows.card.moment
        if row is None:
            return schemas.Freshness(moment, None, [])
        age, stale = row.age_s, ["features"] if row.is_stale else []
        if age is not None:
            age += max((at - row.rows.card.moment).total_seconds(), 0.0)
        if not self.fresh.has_facts:
            return schemas.Freshness(moment, age, stale)
        count, came_at = self.fresh.facts(row.customer_id)
        if not count:
            return schemas.Freshness(moment, age, stale)
        made = self.overlay.get(row.customer_id)
        is_behind = made is None or made.row is not row or made.facts < count
        return schemas.Freshness(moment, age, stale, came_at, ["features", *KEPT] if is_behind else list(KEPT))

    def freshness_of(self, customer_ids: Sequence[str], at: datetime) -> schemas.Freshness:
        """The worst of several customers: the oldest features, whatever of any is stale or as published, and the last that came in.

        Rows as published are looked up all at once: whoever asks for thousands holds nobody up.
        """
        if len(customer_ids) == 1:
            return self.freshness(self.row(customer_ids[0], at), at)
        has_facts, has_made = self.fresh.has_facts, len(self.overlay) > 0
        apart = [each for each in customer_ids if (has_made and self.overlay.get(each)) or (has_facts and self.fresh.facts(each)[0])]
        found = [self.freshness(row, at) for row in (self.row(each, at) for each in apart) if row is not None]
        left = set(apart)
        others = [each for each in customer_ids if each not in left] if left else customer_ids
        return _worst([*found, self._published(self.rows.positions(others), at)])

    def _freshness_of_all(self, at: datetime) -> schemas.Freshness:
        """The worst of everybody, ranked as published."""
        found = self._published(slice(None), at)
        came_at = self.fresh.facts_at
        return found if came_at is None else msgspec.structs.replace(found, events_at=came_at, as_of_rows=["features", *KEPT])

    def _published(self, positions: NDArray[np.intp] | slice, at: datetime) -> schemas.Freshness:
        """The worst of published rows of whom nothing came in."""
        moment, ages = self.rows.card.moment, self.rows.array("age_s")[positions]
        ages = ages[~np.isnan(ages)]
        oldest = float(ages.max()) + max((at - moment).total_seconds(), 0.0) if len(ages) else None
        return schemas.Freshness(moment, oldest, ["features"] if self.rows.array("is_stale")[positions].any() else [])

    @cached_property
    def models(self) -> schemas.Models:
        """Versions behind an answer."""
        churn, clv = (self.champions.model_id(task) for task in SCORED)
        return schemas.Models(churn, clv, self.rows.card.models.get("recommend"), self.rows.card.version, self.rows.card.models.get("uplift"))


def _worst(found: Sequence[schemas.Freshness]) -> schemas.Freshness:
    """How old the oldest is; of rows of the same publication."""
    ages = [each.oldest_feature_s for each in found if each.oldest_feature_s is not None]
    came = [each.events_at for each in found if each.events_at is not None]
    named = {name for each in found for name in each.as_of_rows}
    return schemas.Freshness(
        rows_at=found[0].rows_at,
        oldest_feature_s=max(ages, default=None),
        stale=sorted({name for each in found for name in each.stale}),
        events_at=max(came, default=None),
        as_of_rows=[name for name in ("features", *KEPT) if name in named],
    )
