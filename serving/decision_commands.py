"""The command ``retain decisions``: what would be offered to a customer and why, by the whole funnel."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from retain.tables import CHANNELS
from retain.terminal import parser, say, say_json, table, workspace


def decisions(argv: Sequence[str]) -> int:
    """Which of the commands is meant; a customer alone is explained."""
    from serving.receipt_commands import COMMANDS

    known: dict[str, Callable[[Sequence[str]], int]] = {**COMMANDS, "explain": explain}
    return known[argv[0]](argv[1:]) if argv and argv[0] in known else explain(argv)


def explain(argv: Sequence[str]) -> int:
    """Explain what would be offered to a customer; nothing is written down."""
    options = parser(
        "decisions explain",
        "What would be offered to a customer now, and why: the group, what each stage of the funnel withholds and by which rule, the priority of\n"
        "each candidate with its factors, and the probability with which it is shown. Nothing is written down.\n"
        "exit codes: 0 done (also when nothing may be offered), 2 wrong option, 4 run `retain publish` first",
    )
    options.add_argument("customer", metavar="CUSTOMER")
    options.add_argument("--goal", choices=("best", "cross_sell", "repeat", "retention"), default="best")
    options.add_argument("--channel", choices=CHANNELS, default=None)
    options.add_argument("--placement", default="inbound_end", help="where it will be shown (default inbound_end: the customer turned to us)")
    options.add_argument("--intent", default=None, help="what the customer wants, for example cancel")
    options.add_argument("--request-id", default=None, metavar="ID", help="draw what the request of this id would be answered")
    options.add_argument("--language", choices=("en", "zh"), default="en", help="of the reasons")
    arguments = options.parse_args(argv)
    from serving.answers import Answers
    from serving.basis import decided, made
    from serving.fresh import read
    from serving.schemas import Context, DecisionRequest
    from serving.telling import FORMULA, candidates, lines, proposal, told

    place = workspace(arguments)
    request = DecisionRequest(
        customer_id=arguments.customer,
        request_id=arguments.request_id,
        goal=arguments.goal,
        channel=arguments.channel,
        placement=arguments.placement,
        context=Context(intent=arguments.intent),
        language=arguments.language,
        dry_run=True,
    )
    answers = Answers.open(place, read(place))
    basis, shop = answers.basis(request), answers.rows.shop
    decision = made(request, None, basis, shop, answers.policy)
    answer, _, _ = decided(request, None, basis, shop, answers.policy)
    if arguments.json:
        import msgspec

        say_json({**msgspec.to_builtins(answer), "explained": told(decision, answers.policy)})
        return 0
    say(f"{answer.customer_id}: goal {answer.goal}, as of {answer.as_of:%Y-%m-%d %H:%M} UTC, source {answer.source}, policy {answer.policy}")
    for code in answer.degraded:
        say(f"  degraded: {code}")
    for line in lines(decision, answers.policy):
        say(line)
    if decision.candidates:
        cells, head = candidates(decision)
        say(f"  {FORMULA}")
        say(table(cells[:20], head, left=(1, 2, 10)))
        if len(cells) > 20:
            say(f"  ... and {len(cells) - 20} more candidates; --json lists them")
    for offer in answer.offers:
        for line in proposal(offer, answer.currency):
            say(line)
    if not answer.offers:
        say("  nothing is offered")
    for each in answer.withheld[:20]:
        say(f"  withheld: {'everything' if each.offer_id == '*' else each.offer_id} at {each.stage}: {each.rule}")
    if len(answer.withheld) > 20:
        say(f"  ... and {len(answer.withheld) - 20} more; --json lists them")
    for words in answer.assumed:
        say(f"  assumed: {words}")
    return 0
