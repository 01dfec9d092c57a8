"""The last contacts of a limit, asked for at once: services on one workspace, callers over HTTP, and what was given beside what there was.

    python -m benchmarks.slots --workspace DIR [--customers 40] [--callers 50] [--services 2] [--list]

What there is follows from the rules and the contacts of each customer. Every caller asks for the same customers in the same order, all at the same
time, so that all of them stand at the last contact together. Fewer may be given than there are where one offer may not be shown again so soon.

``--list``: the workspace has a list whose limits are spent by calls (`retain list retention --by-calls`). The callers share all customers, and what
they were given of seats, money and stock stands beside the limits.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import msgspec

from benchmarks.receipts import answered, serving_copy, started
from retain.workspace import Workspace
from serving.answers import Answers
from serving.decisions.facts import Ask, Contact, Customer
from serving.decisions.standing import standing
from serving.lists.prices import FILE
from serving.schemas import DecisionRequest

CHANNEL: Literal["email"] = "email"
PLACEMENT, MOST = "letter", 20


def there_are(answers: Answers, count: int) -> dict[str, int]:
    """Customers to whom something would be proposed now, and how many more contacts their limits leave."""
    found: dict[str, int] = {}
    for place in range(len(answers.rows)):
        request = DecisionRequest(answers.rows.id(place), channel=CHANNEL, placement=PLACEMENT)
        customer = answers.basis(request).customer
        if customer is not None and answers.decision(request, None)[0].offers:
            found[request.customer_id] = left(customer, answers)
        if len(found) == count:
            break
    return found


def left(customer: Customer, answers: Answers) -> int:
    """Contacts until a limit over all channels, or of this one, is reached, whatever is offered."""
    ask = Ask("best", answers.clock(), (CHANNEL,))
    for count in range(MOST):
        known = standing(ask, customer, answers.rows.shop, answers.policy, is_personal=True)
        if known.limit is not None or known.limits:
            return count
        customer = msgspec.structs.replace(customer, contacts=(*customer.contacts, Contact(ask.at, CHANNEL, None)))
    return MOST


async def caller(port: int, me: int, customers: list[str]) -> Counter[str]:
    """Ask for each customer in turn; how often something was proposed."""
    given: Counter[str] = Counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for customer in customers:
        asked = {"request_id": f"{me}-{customer}", "customer_id": customer, "channel": CHANNEL, "placement": PLACEMENT}
        body = await answered(reader, writer, "/v1/decisions", asked)
        given[customer] += bool(json.loads(body)["offers"])
    writer.close()
    await writer.wait_closed()
    return given


async def spender(port: int, customers: list[str], channels: list[str], given: list[dict[str, Any]]) -> None:
    """Ask for each customer on each channel, until something of the campaign is proposed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for customer in customers:
        for channel in channels:
            asked = {
                "request_id": f"{channel}-{customer}",
                "customer_id": customer,
                "channel": channel,
                "placement": PLACEMENT,
                "goal": "retention",
                "max_offers": 1,
            }
            answer = json.loads(await answered(reader, writer, "/v1/decisions", asked))
            given.append({"channel": channel, "offers": answer["offers"]})
            if answer["offers"]:
                break
    writer.close()
    await writer.wait_closed()


def spend(folder: Path, ports: list[int], callers: int) -> dict[str, object]:
    """What callers get of the limits of a list, when all ask for the whole base at once."""
    answers = Answers.open(Workspace.at(folder))
    held = answers.prices
    if held is None or held.spending is None:
        raise SystemExit("the workspace has no list whose limits are spent by calls; make one with `retain list retention --by-calls`")
    kept = json.loads((folder / "lists" / FILE).read_text())
    ids = [answers.rows.id(place) for place in range(len(answers.rows))]
    channels = sorted({own.place[1] for own in held.own.values() if own.place is not None})
    given: list[dict[str, Any]] = []

    async def all_of_them() -> None:
        await asyncio.gather(*(spender(ports[me % len(ports)], ids[me::callers], channels, given) for me in range(callers)))

    start = time.perf_counter()
    asyncio.run(all_of_them())
    took = time.perf_counter() - start
    prices, only = held.prices, set(held.prices.only or ())
    used: Counter[str] = Counter()
    for each in given:
        ours = [offer for offer in each["offers"] if offer["offer_id"] in only]
        if ours:
            used["money"] += prices.contact_cost[each["channel"]] + max(offer["accept_prob"][0] * offer["cost"] for offer in ours)
            used[each["channel"]] += 1
            used.update(offer["offer_id"] for offer in ours)
    names = ["money", *sorted(prices.seats), *sorted(prices.stock)]
    limits = dict(zip(names, kept["plan"]["limits"], strict=True))
    return {
        "callers": callers,
        "services": len(ports),
        "decisions": len(given),
        "decisions_per_s": round(len(given) / took, 1),
        "listed": sum(own.place is not None for own in held.own.values()),
        "limits": limits,
        "used": {name: round(float(used[name]), 4) for name in names},
        "exceeded": [name for name in names if limits[name] is not None and used[name] > limits[name] * (1 + 1e-9)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--customers", type=int, default=40)
    parser.add_argument("--callers", type=int, default=50)
    parser.add_argument("--services", type=int, default=2)
    parser.add_argument("--list", action="store_true", help="spend the limits of the workspace's list")
    chosen = parser.parse_args()
    if chosen.list:
        with serving_copy(Workspace.at(chosen.workspace)) as folder, started(folder, chosen.services) as ports:
            print(json.dumps(spend(folder, ports, chosen.callers)))
        return
    with serving_copy(Workspace.at(chosen.workspace)) as folder, started(folder, chosen.services) as ports:
        most = there_are(Answers.open(Workspace.at(folder)), chosen.customers)

        async def all_of_them() -> list[Counter[str]]:
            return await asyncio.gather(*(caller(ports[me % len(ports)], me, list(most)) for me in range(chosen.callers)))

        start = time.perf_counter()
        given = sum(asyncio.run(all_of_them()), Counter())
        took = time.perf_counter() - start
    print(
        json.dumps(
            {
                "services": chosen.services,
                "callers": chosen.callers,
                "customers": len(most),
                "calls": chosen.callers * len(most),
                "contacts_left": sum(most.values()),
                "given": sum(given.values()),
                "customers_above_their_limit": sum(given[each] > count for each, count in most.items()),
                "customers_below_their_limit": sum(given[each] < count for each, count in most.items()),
                "calls_per_s": round(chosen.callers * len(most) / took, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
