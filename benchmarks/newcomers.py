"""What new customers and new items are served: popularity by segment with shrinkage, and content, on customers and items held out in time.

    python -m benchmarks.newcomers WORKSPACE [--item product] [--horizon 90] [--segment country]

The workspace holds an ingested source, its clock at the end of the window that judges. New customers are those whose first order falls
into the window: of them the segment alone is known. New items are those first bought in it, by customers known before: all that is
learned is from before the window, but what the items are called is what the shop says now. Described customers are every fifth one by a
hash of the id: of their purchases nothing is learned, of them the profile alone is known.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features import descriptions, interactions, profiles
from features.interactions import Interactions
from retain import engine
from retain.engine import identifier
from retain.workspace import Workspace
from serving import newcomers
from training.contracts import Floats, Integers
from training.controls import price
from training.models.content import Content
from training.models.lists import top
from training.models.popular import popularity
from training.models.purchases import align, before, block
from training.models.segmented import shrunk
from training.ranking_metrics import hits, ndcg

K = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--item", choices=("product", "category"), default="product")
    parser.add_argument("--horizon", type=int, default=28)
    parser.add_argument("--segment", default="country", help="a column of customers that is known before the first order")
    asked = parser.parse_args()
    workspace = Workspace.at(asked.workspace)
    with engine.of(workspace) as sql:
        history = interactions.load(sql, workspace.now(), asked.item)
        described = descriptions.load(sql, workspace.now())
        column = identifier(asked.segment)
        said = dict(sql.rows(f"select customer_id, arg_max({column}, occurred_at) from customers group by customer_id"))
        profile = profiles.load(sql, workspace.now())
    past = before(history, asked.horizon)
    for row in described_customers(history, past, profile, asked.horizon):
        print(json.dumps({"held out": "described customers", **row}), flush=True)
    segment = np.array([str(said.get(customer) or "") for customer in history.customers])
    for row in new_customers(history, past, np.unique(segment, return_inverse=True)[1].astype(np.int64)):
        print(json.dumps({"held out": "customers", **row}), flush=True)
    if asked.item == "product":
        for row in new_items(history, past, described):
            print(json.dumps({"held out": "items", **row}), flush=True)


def new_customers(history: Interactions, past: Interactions, segment: Integers) -> Iterator[dict[str, object]]:
    """Lists for customers without an order before the window, from a segment each."""
    past = align(past, history.items)
    known = np.unique(past.customer)
    fresh = np.setdiff1d(np.unique(history.customer), known)
    rows = np.isin(history.customer, fresh)
    wanted = _pairs(np.searchsorted(fresh, history.customer[rows]), history.item[rows], len(history.items))
    recent = popularity(past, 30)
    always = np.repeat(popularity(past, np.inf)[None, :], len(fresh), axis=0)
    tables = {f"30 days, by segment, strength {held:g}": shrunk(past, segment, int(segment.max()) + 1, 30, held) for held in (50, 500)}
    lists = {"30 days": np.repeat(recent[None, :], len(fresh), axis=0), **{name: table[segment[fresh]] for name, table in tables.items()}}
    yield from _rows({"all time": always, **lists}, wanted, len(fresh))


def described_customers(history: Interactions, past: Interactions, profile: profiles.Profiles, horizon: int) -> Iterator[dict[str, object]]:
    """Lists for customers who buy in the window and of whom the profile alone is known, as the service makes them."""
    past = align(past, history.items)
    held = np.array([hashlib.sha256(str(name).encode()).digest()[0] < 51 for name in history.customers])
    rows = held[history.customer] & (history.at >= np.datetime64(past.moment.replace(tzinfo=None), "us"))
    who = np.unique(history.customer[rows]).astype(np.int64)
    wanted = _pairs(np.searchsorted(who, history.customer[rows]), history.item[rows], len(history.items))
    kept = ~held[past.customer]
    known = replace(past, customer=past.customer[kept], item=past.item[kept], order=past.order[kept], at=past.at[kept], price=past.price[kept])
    words = profile.of(history.customers)
    table, lists = newcomers.tabled(words, known, horizon), np.zeros((len(who), len(history.items)))
    place = {name: number for number, name in enumerate(history.items)}
    codes = newcomers.coded(table[0], {column: said[who] for column, said in words.items()}, len(who))
    for row, code in enumerate(codes):
        for each in newcomers.likings(table[0], table[1], [one for one in code.tolist() if one >= 0], K):
            lists[row, place[each.item]] = each.p.value
    both = (np.repeat(popularity(known, days)[None, :], len(who), axis=0) for days in (30, horizon))
    yield from _rows({"30 days": next(both), "the horizon": next(both), "by the segments of the profile": lists}, wanted, len(who))


def new_items(history: Interactions, past: Interactions, described: descriptions.Descriptions) -> Iterator[dict[str, object]]:
    """Lists of items without an order before the window, for customers with one."""
    fitted = Content().fit(past, described)
    later = align(history, fitted.items)
    fresh = np.setdiff1d(later.item, align(past, fitted.items).item)
    rows = np.isin(later.item, fresh) & np.isin(later.customer, past.customer)
    customers = np.unique(later.customer[rows]).astype(np.int64)
    wanted = _pairs(np.searchsorted(customers, later.customer[rows]), np.searchsorted(fresh, later.item[rows]), len(fresh))
    own = block(align(past, fitted.items), customers)
    said = fitted.scores(own, "new")[:, fresh]
    usual = np.repeat(np.asarray(fitted.vectors @ fitted.usual)[None, fresh], len(customers), axis=0)
    drawn = np.random.default_rng(7).random(said.shape)
    yield from _rows({"in any order": drawn, "nearest to what everybody buys": usual, "nearest to own purchases": said}, wanted, len(customers))


def _pairs(row: Integers, item: NDArray[np.signedinteger], width: int) -> tuple[Integers, Integers]:
    pairs = np.unique(row.astype(np.int64) * width + item)
    return pairs // width, pairs % width


def _rows(lists: dict[str, Floats], wanted: tuple[Integers, Integers], customers: int) -> Iterator[dict[str, object]]:
    """NDCG of each way, and the paired difference from the first."""
    size = np.bincount(wanted[0], minlength=customers)
    first: Floats | None = None
    for name, scores in lists.items():
        value = ndcg(hits(top(scores, K)[0], *wanted, scores.shape[1]), size, K)
        out: dict[str, object] = {"list": name, "customers": customers, "items": scores.shape[1], "ndcg@10": round(float(value.mean()), 4)}
        if first is not None:
            paid = price(first, value)
            out["difference"] = [round(each, 4) for each in (paid.value, paid.low, paid.high)]
        first = value if first is None else first
        yield out


if __name__ == "__main__":
    main()
