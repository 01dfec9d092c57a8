"""The customer features again, as a loop over moments in pandas with vectorised groupbys only: what ``benchmarks/features.py`` compares with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

LOOKS = ("visit", "app_open", "view", "search", "cart", "wishlist")
VOICES = ("complaint", "complaint_resolved", "support_call", "rating", "survey", "referral", "points_earned", "points_spent")
CHANNELS = ("email", "sms", "push", "mail", "call_center")
WINDOWS = (7, 14, 30, 60, 90, 180, 365)
FADING = {14: (845, 598, 345, 118, 27, 3, 0), 45: (948, 851, 714, 504, 318, 135, 21), 120: (980, 941, 881, 772, 649, 464, 217)}
"""Weight of a purchase in thousandths by the smallest window that holds it, for each half-life."""
PROFILE = (
    "relation", "relation_level", "acquisition_channel", "acquisition_cost", "preferred_channel", "region", "country", "age_band", "income_band",
    "household_size", "children", "home_ownership", "lifestyle", "profile_grade", "loyalty_tier",
)  # fmt: skip

TERMS = ("started_at", "ends_at", "ended_at", "plan", "price", "period_days", "is_renewed_automatically", "notice_days", "exit_fee")


@dataclass(frozen=True)
class Facts:
    """The tables, prepared once before the loop: categorical customers, naive UTC times, lines added up to orders."""

    known: pd.Series
    orders: pd.DataFrame
    days: pd.DataFrame
    sold: pd.DataFrame
    looks: pd.DataFrame
    voices: pd.DataFrame
    contacts: pd.DataFrame
    answers: pd.DataFrame
    customers: pd.DataFrame
    contracts: pd.DataFrame


class Sums:
    """Grouped sums and counts of one frame, aligned to all customers."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame

    def count(self, chosen: pd.Series | None = None) -> pd.Series:
        """Rows of each customer."""
        return self._by(chosen).size()

    def sum(self, column: str, chosen: pd.Series | None = None) -> pd.Series:
        """Sum of a column for each customer."""
        return self._by(chosen)[column].sum()

    def mean(self, column: str, chosen: pd.Series | None = None) -> pd.Series:
        """Mean of a column for each customer."""
        return self._by(chosen)[column].mean()

    def last(self, chosen: pd.Series | None = None) -> pd.Series:
        """Time of the last row of each customer."""
        return self._by(chosen)["occurred_at"].max()

    def first(self, chosen: pd.Series | None = None) -> pd.Series:
        """Time of the first row of each customer."""
        return self._by(chosen)["occurred_at"].min()

    def _by(self, chosen: pd.Series | None) -> pd.core.groupby.DataFrameGroupBy:
        rows = self.frame if chosen is None else self.frame[chosen]
        return rows.groupby("customer_id", observed=False)


def load(tables: Path) -> Facts:
    """Read and prepare."""
    lines = _times(pd.read_parquet(tables / "transactions.parquet", columns=[
        "order_id", "customer_id", "product_id", "occurred_at", "known_at", "kind", "quantity", "amount", "discount", "margin", "channel",
        "local_hour", "local_weekday", "order_gap_days",
    ]))  # fmt: skip
    events = _times(pd.read_parquet(tables / "events.parquet", columns=[
        "customer_id", "occurred_at", "known_at", "kind", "value", "score", "expected_score", "perceived_score", "resolved_at",
    ]))  # fmt: skip
    contacts = _times(
        pd.read_parquet(tables / "contacts.parquet", columns=["customer_id", "occurred_at", "known_at", "channel", "cost", "is_control"])
    )
    answers = _times(pd.read_parquet(tables / "outcomes.parquet", columns=["customer_id", "occurred_at", "known_at", "kind", "channel"]))
    customers = _times(pd.read_parquet(tables / "customers.parquet", columns=["customer_id", "occurred_at", "known_at", "joined_at", *PROFILE]))
    contracts = _times(
        pd.read_parquet(tables / "subscriptions.parquet", columns=["customer_id", "occurred_at", "known_at", "subscription_id", *TERMS])
    )
    seen = pd.concat([frame[["customer_id", "visible_at"]] for frame in (lines, events, contacts, customers, contracts)])
    known = seen.groupby("customer_id")["visible_at"].min()
    kind = pd.CategoricalDtype(known.index)
    for frame in (lines, events, contacts, answers, customers, contracts):
        frame["customer_id"] = frame["customer_id"].astype(kind)
    events["surprise"] = events["perceived_score"] - events["expected_score"]
    return Facts(
        known=known,
        orders=_orders(lines),
        days=_days_bought(lines),
        sold=_sold(lines, _times(pd.read_parquet(tables / "products.parquet", columns=["product_id", "occurred_at", "known_at", "category"]))),
        looks=events.loc[events["kind"].isin(LOOKS), ["customer_id", "occurred_at", "visible_at", "kind"]],
        voices=events.loc[events["kind"].isin(VOICES)].drop(columns=["expected_score", "perceived_score"]),
        contacts=contacts.loc[~contacts["is_control"].fillna(False).astype(bool), ["customer_id", "occurred_at", "visible_at", "channel", "cost"]],
        answers=answers,
        customers=customers,
        contracts=contracts,
    )


def snapshots(facts: Facts, moments: list[datetime]) -> Iterator[tuple[datetime, pd.DataFrame]]:
    """All customer features at each moment, named ``view__column``."""
    for moment in moments:
        at = pd.Timestamp(moment).tz_localize(None)
        parts = {
            "activity": _activity(facts, at), "baskets": _baskets(facts, at), "breadth": _breadth(facts, at), "contacts": _contacts(facts, at),
            "days": _days_of(facts, at), "gaps": _gaps(facts, at), "profile": _profile(facts, at), "purchases": _purchases(facts, at),
            "voice": _voice(facts, at), "contracts": _contracts(facts, at),
        }  # fmt: skip
        result = pd.concat([pd.DataFrame(columns).add_prefix(f"{view}__") for view, columns in parts.items()], axis=1)
        yield moment, result.loc[facts.known.index[facts.known < at]]


def _times(frame: pd.DataFrame) -> pd.DataFrame:
    for name in ("occurred_at", "known_at", "resolved_at", "joined_at", "started_at", "ends_at", "ended_at"):
        if name in frame:
            frame[name] = frame[name].dt.tz_localize(None)
    frame["visible_at"] = frame[["occurred_at", "known_at"]].max(axis=1)
    return frame.drop(columns="known_at")


def _is_purchase(lines: pd.DataFrame) -> pd.Series:
    return (lines["kind"] == "sale") & (lines["amount"] > 0) | (lines["kind"] == "free")


def _orders(lines: pd.DataFrame) -> pd.DataFrame:
    lines = lines[lines["customer_id"].notna()]
    is_purchase, is_return = _is_purchase(lines), lines["kind"] == "return"
    keys = ["customer_id", "order_id", "occurred_at", "visible_at"]
    columns = {
        "lines": is_purchase.astype("int64"),
        "net_amount": lines["amount"],
        "margin": lines["margin"].fillna(0),
        "sold_amount": lines["amount"].where(is_purchase, 0),
        "discount": lines["discount"].where(is_purchase, 0).fillna(0),
        "units": lines["quantity"].where(is_purchase, 0),
        "returned_amount": lines["amount"].where(is_return, 0),
        "returned_lines": is_return.astype("int64"),
    }
    summed = pd.DataFrame({**{key: lines[key] for key in keys}, **columns}).groupby(keys, observed=True, sort=False).sum()
    said = lines[is_purchase].groupby(keys, observed=True, sort=False)[["channel", "local_hour", "local_weekday", "order_gap_days"]].first()
    orders = summed.join(said).reset_index()
    opening = orders[orders["lines"] > 0].sort_values(["visible_at", "occurred_at"]).drop_duplicates(["customer_id", "order_id"])
    orders["is_opening"] = orders.index.isin(opening.index)
    return orders


def _sold(lines: pd.DataFrame, products: pd.DataFrame) -> pd.DataFrame:
    is_purchase = lines["customer_id"].notna() & _is_purchase(lines)
    sold = lines.loc[is_purchase, ["customer_id", "product_id", "occurred_at", "visible_at"]]
    sold = pd.merge_asof(
        sold.sort_values("visible_at"), products.sort_values("visible_at")[["product_id", "visible_at", "category"]], on="visible_at", by="product_id"
    )
    sold["product_id"], sold["category"] = sold["product_id"].astype("category"), sold["category"].astype("category")
    return sold.sort_values("occurred_at", ignore_index=True)


def _days_bought(lines: pd.DataFrame) -> pd.DataFrame:
    """Sales by customer, day and time of becoming visible, the money running up within the day."""
    sold = lines[lines["customer_id"].notna() & _is_purchase(lines)]
    keys = [sold["customer_id"], sold["occurred_at"].dt.normalize().rename("day"), sold["visible_at"]]
    days = sold.groupby(keys, observed=True)["amount"].sum().reset_index()
    days["amount"] = days.groupby(["customer_id", "day"], observed=True)["amount"].cumsum()
    return days.sort_values("day", ignore_index=True, kind="stable")


def _recent(frame: pd.DataFrame, at: pd.Timestamp) -> pd.DataFrame:
    return frame[(frame["visible_at"] < at) & (frame["occurred_at"] >= at - pd.Timedelta(days=365))]


def _within(frame: pd.DataFrame, at: pd.Timestamp, days: int) -> pd.Series:
    return frame["occurred_at"] >= at - pd.Timedelta(days=days)


def _days(since: pd.Series, at: pd.Timestamp) -> pd.Series:
    return (at.normalize() - since.dt.normalize()).dt.days


def _purchases(facts: Facts, at: pd.Timestamp) -> dict[str, pd.Series]:
    rows = _recent(facts.orders, at)
    every, opening = Sums(rows), Sums(rows[rows["is_opening"]])
    said = {"days_since_order_365d": _days(opening.last(), at), "days_since_first_order_365d": _days(opening.first(), at)}
    orders = {days: opening.count(_within(opening.frame, at, days)) for days in WINDOWS}
    amounts = {days: every.sum("net_amount", _within(rows, at, days)) for days in WINDOWS}
    said |= {f"orders_{days}d": column for days, column in orders.items()} | {f"amount_{days}d": column for days, column in amounts.items()}
    said["margin_365d"] = every.sum("margin")
    for name, of in (("orders", orders), ("amount", amounts)):
        said[f"{name}_30d_over_prior"] = of[30] - (of[90] - of[30]) / 2
        said[f"{name}_90d_over_prior"] = of[90] - (of[365] - of[90]) * 90 / 275
        for half_life, weights in FADING.items():
            steps = [*weights[1:], 0]
            said[f"fading_{name}_{half_life}d"] = sum((w - v) * of[days] for w, v, days in zip(weights, steps, WINDOWS, strict=True)) / 1000
    return said


def _gaps(facts: Facts, at: pd.Timestamp) -> dict[str, pd.Series]:
    rows = _recent(facts.orders, at)
    rows = rows[rows["is_opening"]]
    since = _days(Sums(rows).last(), at)
    counted = rows[_days(rows["occurred_at"], at) + rows["order_gap_days"] <= 363]
    by = counted.groupby("customer_id", observed=False)["order_gap_days"]
    count, mean = by.count(), by.mean()
    return {
        "gaps_365d": count, "mean_gap_days_365d": mean, "spread_gap_days_365d": by.std(), "longest_gap_days_365d": by.max(),
        "recency_over_longest_gap": since / by.max().where(by.max() > 0),
        "recency_over_mean_gap": since / mean.where(mean > 0), "overdue_days": since - mean,
    }  # fmt: skip


def _days_of(facts: Facts, at: pd.Timestamp) -> dict[str, pd.Series]:
    rows = facts.days
    rows = rows[(rows["visible_at"] < at) & (rows["day"] >= at - pd.Timedelta(days=365))].sort_values("visible_at", kind="stable")
    rows = rows.drop_duplicates(["customer_id", "day"], keep="last").sort_values("day", ascending=False)
    rows = rows.assign(age=(at.normalize() - rows["day"]).dt.days)
    by = rows.groupby("customer_id", observed=False)
    rank, count, first, amount = by.cumcount(), by.size(), by["age"].max(), by["amount"]
    nth = {n: rows[rank == n - 1].set_index("customer_id")["age"].reindex(first.index) for n in (2, 3, 5)}
    oldest, newest = rows.drop_duplicates("customer_id", keep="last"), rows.drop_duplicates("customer_id")
    return {
        "order_days_365d": count, "observed_days_365d": first, "span_days_365d": first - by["age"].min(),
        "days_since_second_newest_day_365d": nth[2], "days_since_third_newest_day_365d": nth[3], "days_since_fifth_newest_day_365d": nth[5],
        "mean_age_over_oldest_365d": by["age"].mean() / first.where(first > 0),
        "repeat_amount_365d": amount.sum() - oldest.set_index("customer_id")["amount"].reindex(first.index).fillna(0),
        "newest_day_amount_365d": newest.set_index("customer_id")["amount"].reindex(first.index), "largest_day_amount_365d": amount.max(),
        "median_day_amount_365d": amount.median(),
    }  # fmt: skip


def _baskets(facts: Facts, at: pd.Timestamp) -> dict[str, pd.Series]:
    rows = _recent(facts.orders, at)
    near = _within(rows, at, 90)
    every, opening = Sums(rows), Sums(rows[rows["is_opening"]])
    count, sold, sold_90d = opening.count(), every.sum("sold_amount"), every.sum("sold_amount", near)
    count_90d, discount, discount_90d = opening.count(_within(opening.frame, at, 90)), every.sum("discount"), every.sum("discount", near)
    said = {
        "amount_per_order_365d": sold / count, "amount_per_order_90d": sold_90d / count_90d,
        "amount_per_order_90d_over_365d": (sold_90d / count_90d) / (sold / count), "lines_per_order_365d": every.sum("lines") / count,
        "units_per_order_365d": every.sum("units") / count, "discount_share_365d": discount / (sold + discount),
        "discount_share_90d": discount_90d / (sold_90d + discount_90d), "returned_lines_365d": every.sum("returned_lines"),
        "returned_amount_90d": -every.sum("returned_amount", near), "return_share_365d": -every.sum("returned_amount") / sold.where(sold > 0),
    }  # fmt: skip
    frame = opening.frame
    shares = {
        "online_share_365d": ("channel", frame["channel"].isin(["web", "in_app"])), "store_share_365d": ("channel", frame["channel"] == "store"),
        "weekend_share_365d": ("local_weekday", frame["local_weekday"] >= 6), "morning_share_365d": ("local_hour", frame["local_hour"] < 12),
        "evening_share_365d": ("local_hour", frame["local_hour"] >= 17),
    }  # fmt: skip
    for name, (column, chosen) in shares.items():
        said[name] = opening.count(chosen) / opening.count(frame[column].notna())
    said["mean_hour_365d"] = opening.mean("local_hour")
    return said


def _breadth(facts: Facts, at: pd.Timestamp) -> dict[str, pd.Series]:
    rows = _recent(facts.sold, at)
    said = {}
    for word, column in (("products", "product_id"), ("categories", "category")):
        newest = Sums(rows[rows[column].notna()].drop_duplicates(["customer_id", column], keep="last"))
        said |= {f"{word}_{days}d": newest.count(_within(newest.frame, at, days)) for days in (30, 90, 365)}
    return said


def _activity(facts: Facts, at: pd.Timestamp) -> dict[str, pd.Series]:
    rows = _recent(facts.looks, at)
    of = {kind: Sums(rows[rows["kind"] == kind]) for kind in LOOKS}
    visits = Sums(rows[rows["kind"].isin(["visit", "app_open"])])
    said = {
        "days_since_visit_365d": _days(visits.last(), at), "days_since_view_365d": _days(of["view"].last(), at),
        "days_since_cart_365d": _days(of["cart"].last(), at),
    }  # fmt: skip
    windows = (
        ("visits", "visit", (7, 30, 90)), ("app_opens", "app_open", (30,)), ("views", "view", (30, 90)), ("searches", "search", (90,)),
        ("carts", "cart", (30, 90)), ("wishes", "wishlist", (90,)),
    )  # fmt: skip
    for word, kind, days in windows:
        said |= {f"{word}_{each}d": of[kind].count(_within(of[kind].frame, at, each)) for each in days}
    said["visits_30d_over_prior"] = said["visits_30d"] - (said["visits_90d"] - said["visits_30d"]) / 2
    return said


def _voice(facts: Facts, at: pd.Timestamp) -> dict[str, pd.Series]:
    rows = _recent(facts.voices, at)
    of = {kind: Sums(rows[rows["kind"] == kind]) for kind in VOICES}
    near = {kind: _within(sums.frame, at, 90) for kind, sums in of.items()}
    complaints, calls, ratings, surveys = of["complaint"], of["support_call"], of["rating"], of["survey"]
    closed = np.maximum(complaints.count(complaints.frame["resolved_at"] < at), of["complaint_resolved"].count())
    return {
        "days_since_complaint_365d": _days(complaints.last(), at), "complaints_30d": complaints.count(_within(complaints.frame, at, 30)),
        "complaints_90d": complaints.count(near["complaint"]), "complaints_365d": complaints.count(),
        "open_complaints_365d": (complaints.count() - closed).clip(lower=0), "days_since_support_call_365d": _days(calls.last(), at),
        "support_calls_30d": calls.count(_within(calls.frame, at, 30)), "support_calls_365d": calls.count(), "ratings_365d": ratings.count(),
        "rating_mean_365d": ratings.mean("value"), "rating_mean_90d": ratings.mean("value", near["rating"]), "surveys_365d": surveys.count(),
        "survey_score_mean_365d": surveys.mean("score"), "surprise_mean_365d": surveys.mean("surprise"), "referrals_365d": of["referral"].count(),
        "points_earned_90d": of["points_earned"].sum("value", near["points_earned"]), "points_earned_365d": of["points_earned"].sum("value"),
        "points_spent_365d": of["points_spent"].sum("value"),
    }  # fmt: skip


def _contacts(facts: Facts, at: pd.Timestamp) -> dict[str, pd.Series]:
    sent, rows = Sums(_recent(facts.contacts, at)), _recent(facts.answers, at)
    near = _within(sent.frame, at, 90)
    of = {kind: Sums(rows[rows["kind"] == kind]) for kind in ("opened", "clicked", "accepted", "rejected", "unsubscribed", "complained")}
    response = Sums(rows[rows["kind"].isin(["clicked", "accepted"])])
    said = {"days_since_contact_365d": _days(sent.last(), at), "days_since_response_365d": _days(response.last(), at)}
    said |= {f"contacts_{days}d": sent.count(_within(sent.frame, at, days)) for days in (7, 30, 90, 365)}
    said |= {"contact_cost_90d": sent.sum("cost", near), "contact_cost_365d": sent.sum("cost")}
    for kind in ("opened", "clicked", "accepted"):
        said |= {f"{kind}_{days}d": of[kind].count(_within(of[kind].frame, at, days)) for days in (30, 90)}
    said |= {f"{kind}_365d": of[kind].count() for kind in ("accepted", "rejected", "unsubscribed", "complained")}
    for channel in CHANNELS:
        on = sent.frame["channel"] == channel
        count = sent.count(on)
        said |= {f"{channel}_contacts_90d": sent.count(on & near), f"{channel}_contacts_365d": count}
        said[f"{channel}_response_rate_365d"] = (response.count(response.frame["channel"] == channel) + 1) / (count + 20)
    said["open_rate_365d"] = (of["opened"].count() + 1) / (said["contacts_365d"] + 20)
    said["accept_rate_365d"] = (said["accepted_365d"] + 1) / (said["contacts_365d"] + 20)
    said["accept_rate_90d"] = (said["accepted_90d"] + 1) / (said["contacts_90d"] + 20)
    return said


def _profile(facts: Facts, at: pd.Timestamp) -> pd.DataFrame:
    seen = facts.customers[facts.customers["visible_at"] < at].sort_values("occurred_at").drop_duplicates("customer_id", keep="last")
    seen = seen.set_index("customer_id").reindex(facts.known.index)
    seen["tenure_days_365"] = _days(seen["joined_at"], at).clip(0, 365)
    return seen[["tenure_days_365", *PROFILE]]


def _contracts(facts: Facts, at: pd.Timestamp) -> dict[str, pd.Series]:
    seen = facts.contracts[facts.contracts["visible_at"] < at].sort_values("occurred_at").drop_duplicates("subscription_id", keep="last")
    renews = seen["is_renewed_automatically"].astype("boolean")
    over = seen["ended_at"].fillna(seen["ends_at"].where((renews == False).fillna(False)))  # noqa: E712
    running = seen.assign(renews=renews.astype("Float64").astype(float))[(seen["started_at"] < at) & (over.isna() | (over >= at))]
    by = running.groupby("customer_id", observed=False)
    return {
        "contracts_running": by.size(),
        "contract_days_1825": _days(by["started_at"].min(), at).clip(upper=1825),
        "days_to_agreed_end": -_days(by["ends_at"].min(), at),
        "contract_price": by["price"].sum(min_count=1),
        "contract_period_days": by["period_days"].min(),
        "contract_plan": by["plan"].min(),
        "renews_itself": by["renews"].max(),
        "notice_days": by["notice_days"].max(),
        "exit_fee": by["exit_fee"].max(),
    }
