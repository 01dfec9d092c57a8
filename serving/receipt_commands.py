"""The commands over receipts: ``retain decisions show | replay | audit`` and ``retain feedback``."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from retain.errors import NotReadyError, RefusedError
from retain.terminal import note, parser, say, say_json, workspace
from retain.workspace import State, Workspace

DIFFERENT = 8
"""Exit code: a difference was found."""


def show(argv: Sequence[str]) -> int:
    """A receipt: what was asked, answered, weighed and read, and what came of it."""
    options = parser("decisions show", "A logged decision: its receipt, and what came of it.\nexit codes: 0 done, 4 no decision has this id")
    options.add_argument("decision", metavar="ID")
    arguments = options.parse_args(argv)
    import msgspec

    from serving.ledger import reading
    from serving.tracing import trace

    place = _with_ledger(workspace(arguments))
    found = reading(place.ledger, lambda ledger: trace(ledger, arguments.decision))
    plain = msgspec.to_builtins(found)
    if arguments.json:
        say_json(plain)
        return 0
    answer, rested = found.answer, found.basis or {}
    say(f"{found.decision_id}: {answer.customer_id}, goal {answer.goal}, as of {answer.as_of:%Y-%m-%d %H:%M} UTC, policy {answer.policy}")
    say(f"  arm {answer.arm}, source {answer.source}, rows {answer.models.rows}")
    for offer in answer.offers:
        say(f"  {offer.rank}. {offer.name} ({offer.offer_id}, {offer.goal}): shown with probability {offer.p_shown:.4f}")
    counts = {name: len(rested.get(name, ())) for name in ("candidates", "withheld", "features")}
    say(f"  {counts['candidates']} candidates, {counts['withheld']} withheld, {counts['features']} features read")
    for view, times in rested.get("features_at", {}).items():
        say(f"  features of {view}: true at {times['event_at']}, known at {times['known_at']}")
    for outcome in found.outcomes:
        say(f"  {outcome.occurred_at} {outcome.type} {outcome.offer_id or ''}{' (late)' if outcome.late else ''}")
    return 0


def replay(argv: Sequence[str]) -> int:
    """Make logged decisions again and compare them byte for byte."""
    options = parser(
        "decisions replay",
        "Make a logged decision again from its receipt, and compare it byte for byte. The answer goes to standard output.\n"
        "exit codes: 0 the same bytes, 4 no decision has this id, 7 what it rested on was changed, 8 other bytes",
    )
    options.add_argument("decision", metavar="ID", nargs="?", default=None)
    options.add_argument("--last", type=int, default=None, metavar="N", help="the last N decisions instead of one; only counts are shown")
    arguments = options.parse_args(argv)
    if (arguments.decision is None) == (arguments.last is None):
        raise RefusedError("give the ID of a decision or --last N, one of the two", field="decision")
    from serving.grounds import opener
    from serving.ledger import Ledger
    from serving.replay import replay as again

    place = _with_ledger(workspace(arguments))
    ledger = Ledger(place.ledger, read_only=True)
    try:
        opened = opener(place.ledger)
        if arguments.decision is None:
            found = [again(entry, opened) for entry in deque(ledger.decisions(), maxlen=max(arguments.last, 0))]
        else:
            entry = ledger.decision(arguments.decision)
            if entry is None:
                raise NotReadyError(f"no decision has the id {arguments.decision}", field="decision")
            found = [again(entry, opened)]
    finally:
        ledger.close()
    equal = sum(one.is_equal for one in found)
    if arguments.json:
        differ = [{"decision_id": one.decision_id, "why": one.why} for one in found if not one.is_equal]
        say_json({"decisions": len(found), "equal": equal, "different": differ})
    elif arguments.decision is not None and found[0].answer:
        say(found[0].answer.decode())
    note(f"{equal} of {len(found)} decisions: the same bytes")
    for one in [one for one in found if not one.is_equal][:20]:
        note(f"  {one.decision_id}: {one.why}")
    return 0 if equal == len(found) else DIFFERENT


def audit(argv: Sequence[str]) -> int:
    """Whether what was served is what training would have seen."""
    options = parser(
        "decisions audit",
        "Compute the features of all logged decisions again from the tables, at the moment at which training would have read them, and compare\n"
        "them with what was served, bit for bit. Each difference is given a cause: version skew, stale store, permuted columns, time zone, late\n"
        "rows, or unexplained.\nexit codes: 0 all equal, 4 nothing was ingested or logged, 7 what decisions rested on was changed, 8 differences",
    )
    arguments = options.parse_args(argv)
    from dataclasses import asdict

    from serving.ledger import reading
    from serving.served import audit as served

    place = _with_ledger(workspace(arguments))
    found = reading(place.ledger, lambda ledger: served(place, ledger))
    if arguments.json:
        say_json({**asdict(found), "share": found.share})
    else:
        say(f"{found.decisions} decisions, {found.values} feature values: {found.equal} equal bit for bit ({found.share:.4%})")
        say(f"{found.without_features} decisions read no features; {found.without_receipt} were logged by a release that kept too little")
        for one in found.causes:
            say(f"  {one.name}: {one.values} values of {one.view} in {one.decisions} decisions, {one.detail}")
    return 0 if found.equal == found.values else DIFFERENT


def feedback(argv: Sequence[str]) -> int:
    """Receipts and outcomes back into the tables."""
    options = parser(
        "feedback",
        "Take receipts and outcomes of the service into the tables contacts and outcomes, and rows that came in by /v1/events into events and\n"
        "transactions; twice changes nothing. What happened or became known from now on waits for the next time. `retain features build`,\n"
        "`retain train` and `retain publish` then use them.\n"
        "exit codes: 0 done, 4 nothing was ingested, 6 workspace locked",
    )
    arguments = options.parse_args(argv)
    from serving.feedback import feedback as flow

    place = workspace(arguments)
    done = flow(place)
    if arguments.json:
        say_json(vars(done))
        return 0
    counts = f"{done.contacts} contacts, {done.outcomes} outcomes, {done.events} events and {done.transactions} order lines"
    say(f"{counts} of the ledger are in the tables")
    if done.unknown:
        say(f"{done.unknown} outcomes wait: the ledger does not know their decision")
    if done.waiting > done.unknown:
        say(f"{done.waiting - done.unknown} rows wait: they happened, or came in, at or after the clock of this workspace, {_clock(place.state())}")
    if done.is_changed:
        say("next: `retain features build`, then `retain train` or `retain publish`")
    else:
        say("nothing new came, nothing was changed")
    return 0


def _clock(state: State) -> str:
    """Where the clock stands, and what moves it."""
    if state.as_of is None:
        return "which is live: run `retain feedback` again later"
    stands = f"which stands at {state.as_of:%Y-%m-%d %H:%M} UTC"
    if state.synthetic:
        return f"{stands}: that of a simulated shop never moves, so nothing that comes in flows back; it does in a source with `as_of: live`"
    return f"{stands}: it moves when {state.source} is ingested again with newer data, a later `as_of`, or `as_of: live` (docs/sources.md)"


def _with_ledger(place: Workspace) -> Workspace:
    if not (place.ledger / "log").is_dir():
        raise NotReadyError(f"the workspace {place.root} has no ledger; decisions are logged by `retain serve`")
    return place


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {"show": show, "replay": replay, "audit": audit}
