"""The last contacts of a limit, asked for at once: services on one workspace, callers over HTTP, and what was given beside what there was.

    python -m benchmarks.slots --workspace DIR [--customers 40] [--callers 50] [--services 2]

What there is follows from the rules and the contacts of each customer. Every caller asks for the same customers in the same order, all at the same
time, so that all of them stand at the last contact together. Fewer may be given than there are where one offer may not be shown again so soon.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Literal

from benchmarks.receipts import answered, serving_copy, started
from retain.workspace import Workspace
from serving.answers import Answers
from serving.decisions.facts import Ask, Contact, Customer
from serving.decisions.standing import standing
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
        customer = replace(customer, contacts=(*customer.contacts, Contact(ask.at, CHANNEL, None)))
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--customers", type=int, default=40)
    parser.add_argument("--callers", type=int, default=50)
    parser.add_argument("--services", type=int, default=2)
    chosen = parser.parse_args()
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
