"""A seeded shop whose truth is known: the eight contract tables, and beside them what will happen to each customer and how each answers an offer.

Everything about a customer is drawn from the seed and the customer's number alone, so neither the number of customers nor the blocks
they are written in change anybody. Blocks follow each other in the order of customers, as the tables are sorted.
"""

from __future__ import annotations

import hashlib
import shutil
from datetime import UTC, datetime, time
from pathlib import Path

import pyarrow as pa

from retain import derive
from retain.engine import Engine, empty
from retain.errors import ConfigError
from retain.facts import PURCHASE
from retain.files import atomic_folder, sha256
from retain.simulate import baskets, behaviour, campaigns, oracle, records, sales, traces, truth
from retain.simulate.columns import SOURCE, Clock, Files, customer_ids, merge
from retain.simulate.market import EVERGREEN, PER_CATEGORY, Market, market, seasons, waves
from retain.simulate.people import People, people
from retain.tables import TABLES
from retain.terminal import progress as shown
from retain.workspace import STATE, State, Workspace

AS_OF = datetime(2026, 1, 1, tzinfo=UTC)
BLOCK = 20_000
HORIZON_DAYS = 28
"""Days after the clock that are simulated for the truth, and the horizon that the state declares."""
MOST = 99_999_999
FURTHER = 1.13
"""Lines per line of an ordinary order: fees and returns, and the orders that campaigns bring."""
LOCAL_ZONE = "Europe/Berlin"
TRUTH = "truth"
"""Folder of the workspace that holds what no model may read."""


def simulate(
    workspace: Workspace,
    *,
    customers: int,
    seed: int,
    days: int = 730,
    as_of: datetime = AS_OF,
    lines_per_customer: float = 30.0,
    per_category: int = PER_CATEGORY,
    progress: bool = True,
) -> State:
    """Fill a workspace with a synthetic shop; what stood there is replaced only when all is written.

    Args:
        workspace: Where to write; it is locked meanwhile.
        customers: How many there ever were; some are gone, some have never bought.
        seed: Equal seeds give equal shops.
        days: Days of history before the clock.
        as_of: The clock, a midnight in UTC.
        lines_per_customer: Transaction lines per customer over the whole history, on average.
        per_category: Products of each of the 24 categories.
        progress: Whether to show how far it is, where there is a terminal.

    Raises:
        ConfigError: a number that cannot be.
        LockedError: somebody else is at work in the workspace.
    """
    _check(customers, days, as_of, lines_per_customer, per_category)
    clock = Clock(as_of.astimezone(UTC))
    with workspace.lock("retain simulate"):
        workspace.tidy()
        rate = _order_rate(seed, days, clock, lines_per_customer)
        firsts = range(0, customers, BLOCK)

        def emptied() -> None:
            # From here until the new state stands, the workspace is empty: never old words about new tables.
            (workspace.root / STATE).unlink(missing_ok=True)
            shutil.rmtree(workspace.quarantine, ignore_errors=True)

        with atomic_folder(workspace.root / TRUTH) as known, atomic_folder(workspace.tables, last=emptied) as tables:
            with Files(tables) as facts, Files(known) as hidden, empty(workspace) as engine:
                shop = market(seed, per_category)
                facts.append_contract("products", _with_category(engine, records.products(seed, shop, clock)))
                facts.append_contract("offers", records.offers(shop, clock, -days))
                for first in shown(firsts, len(firsts), "blocks of customers") if progress else firsts:
                    _block(engine, facts, hidden, people(seed, first, min(BLOCK, customers - first), days, rate), shop, clock, days)
            digest = _digest(tables)
        state = State(
            source=SOURCE,
            title=f"synthetic shop of {customers:,} customers (seed {seed})",
            origin="retain simulate: every person, product and sale is made up",
            licence="Apache-2.0",
            synthetic=True,
            as_of=clock.as_of,
            stored_zone="UTC",
            local_zone=LOCAL_ZONE,
            currency="EUR",
            horizon_days=HORIZON_DAYS,
            item="category",
            id_types={"customer_id": "string", "product_id": "string"},
            tables={name: facts.rows[name] for name in TABLES},
            digest=digest,
        )
        workspace.write_state(state)
    return state


def _check(customers: int, days: int, as_of: datetime, lines_per_customer: float, per_category: int) -> None:
    if not 1 <= customers <= MOST:
        raise ConfigError(f"customers: {customers} is not between 1 and {MOST:,}", field="customers")
    if not 60 <= days <= 3650:
        raise ConfigError(f"days: {days} is not between 60 and 3650; with less there is nothing to learn from", field="days")
    if not 1 <= lines_per_customer <= 500:
        raise ConfigError(f"lines_per_customer: {lines_per_customer:g} is not between 1 and 500", field="lines_per_customer")
    if not EVERGREEN <= per_category <= 4000:
        raise ConfigError(f"per_category: {per_category} is not between {EVERGREEN} and 4000", field="per_category")
    if as_of.tzinfo is None or as_of.astimezone(UTC).time() != time(0):
        raise ConfigError(f"as_of: {as_of.isoformat()} is not a midnight in UTC", field="as_of")


def _order_rate(seed: int, days: int, clock: Clock, lines_per_customer: float) -> float:
    """Median of orders per day at which the mean of lines comes out, computed from the first customers, however many there will be."""
    guess = 0.01
    for _ in range(3):
        pilot = people(seed, 0, 2000, days, guess)
        expected = oracle.past_orders(pilot, -days, clock.as_of.date()) * pilot.basket_lines
        guess *= lines_per_customer / (FURTHER * float(expected.mean()))
    return guess


def _block(engine: Engine, facts: Files, hidden: Files, who: People, shop: Market, clock: Clock, days: int) -> None:
    """Live, write down and judge one block of customers."""
    day = clock.as_of.date()
    plan = waves(days)
    quarter = seasons(-days, HORIZON_DAYS, day)[2]
    life = behaviour.live(who, plan, -days, HORIZON_DAYS, day)
    sent = campaigns.Campaigns(life, plan)
    choice = baskets.Choice(shop, who)
    filled = baskets.fill(life, choice, sent.offer, quarter, -days)
    ids = customer_ids(who.number)
    until = int(clock.us(0))
    lines = sales.lines(who, shop, life, filled, ids, sent, clock)
    transactions = merge(lines, ids, until)
    made = {
        "customers": merge(records.customers(who, life, clock, -days), ids, until),
        "transactions": _derived(engine, transactions),
        "events": merge(traces.events(choice, life, filled, quarter, -days, ids, clock), ids, until, number="event_id"),
        "contacts": merge(campaigns.contacts(who, life, sent, ids, clock), ids, until),
        "outcomes": merge(campaigns.outcomes(who, life, sent, filled, ids, clock), ids, until, number="outcome_id"),
        "subscriptions": merge(records.subscriptions(who, life, ids, clock), ids, until),
    }
    for name, table in made.items():
        facts.append_contract(name, table)
    for name, table in truth.tables(who, life, choice, lines, ids, clock, int(quarter[days + HORIZON_DAYS // 2]), HORIZON_DAYS).items():
        hidden.append(name, table)


def _derived(engine: Engine, lines: pa.Table) -> pa.Table:
    """Local hour and weekday, order number and gap, by the rules of ingest."""
    engine.attach({"lines": lines.append_column("row", pa.array(range(len(lines)), pa.int64()))})
    derive.number_orders(engine, "select customer_id, order_id, occurred_at, known_at, kind, amount from lines", LOCAL_ZONE)
    same = " and ".join(f"n.{name} = t.{name}" for name in ("customer_id", "order_id", "occurred_at", "known_at"))
    # The condition stands outside the join: inside, it would keep DuckDB from hashing.
    made = engine.arrow(
        f"""
        select {derive.local_hour("t.occurred_at", LOCAL_ZONE)} as local_hour, {derive.local_weekday("t.occurred_at", LOCAL_ZONE)} as local_weekday,
            case when {PURCHASE} then n.order_number end as order_number, case when {PURCHASE} then n.order_gap_days end as order_gap_days
        from lines as t left join {derive.NUMBERED} as n on {same} order by t.row
        """
    )
    for name in made.column_names:
        lines = lines.append_column(name, made[name])
    return lines


def _with_category(engine: Engine, products: pa.Table) -> pa.Table:
    return engine.arrow(f"select *, {derive.category('category_path', 2)} as category from products order by product_id", products=products)


def _digest(folder: Path) -> str:
    """One hash of all tables."""
    return hashlib.sha256("".join(sha256(folder / f"{name}.parquet") for name in TABLES).encode()).hexdigest()
