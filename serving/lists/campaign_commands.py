"""The command of campaigns: `retain campaign report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from retain.errors import ConfigError
from retain.terminal import parser, say, say_json, workspace


def campaign(argv: Sequence[str]) -> int:
    """What a campaign was worth."""
    options = parser("campaign", _REPORT)
    options.add_argument("what", choices=("report",))
    options.add_argument("campaign", metavar="CAMPAIGN", help="as named by `retain list retention`, or by campaign_id of the contacts")
    options.add_argument("--days", type=int, default=None, metavar="DAYS", help="window after the contact (default: the source's horizon)")
    options.add_argument("--margin-rate", type=float, default=None, metavar="SHARE", help="margin as a share of money, where lines carry none")
    options.add_argument("--out", type=Path, default=None, metavar="FILE", help=".html (default: in the workspace, lists/campaigns/CAMPAIGN.html)")
    arguments = options.parse_args(argv)
    from retain.files import write_text
    from serving.lists.campaign_page import page, spoken
    from serving.lists.campaign_report import reported
    from serving.lists.campaigns import gathered
    from serving.lists.files import plain

    if arguments.days is not None and arguments.days < 1:
        raise ConfigError(f"--days {arguments.days}: a number from 1 is expected", field="days")
    if arguments.out is not None and arguments.out.suffix.lower() != ".html":
        raise ConfigError(f"--out {arguments.out.name}: a report is written as .html; name the file so", field="out")
    if arguments.margin_rate is not None and not 0 <= arguments.margin_rate <= 1:
        raise ConfigError(f"--margin-rate {arguments.margin_rate}: a share from 0 to 1 is expected", field="margin-rate")
    place = workspace(arguments)
    result = reported(gathered(place, arguments.campaign, arguments.days, arguments.margin_rate))
    path = place.lists / "campaigns" / f"{plain(result.campaign)}.html" if arguments.out is None else arguments.out
    write_text(path, page(result))
    if arguments.json:
        import msgspec

        totals = {"incremental": result.incremental, "profit": result.profit, "return": result.returned}
        # What is not finite is null: an interval of too few customers has no ends.
        say_json({**msgspec.json.decode(msgspec.json.encode(result)), **msgspec.json.decode(msgspec.json.encode(totals)), "out": str(path)})
        return 0
    for words in spoken(result):
        say(words)
    say(f"page: {path}")
    return 0


_REPORT = """retain campaign report CAMPAIGN: contacted against held out, by intervals that hold however often you look; its worth and its harm.

exit codes: 0 done, 2 wrong option, 3 no such campaign, or nobody in one of its groups, 4 run `retain ingest` first"""
