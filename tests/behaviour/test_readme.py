"""The pages that a newcomer reads first say what is true: commands, options, requests, links and counts."""

import re
from pathlib import Path

import msgspec
import pytest

from retain.cli import COMMANDS, main
from serving.schemas import DecisionRequest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ["README.md", "ARCHITECTURE.md", *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md")))]


def test_every_command_of_the_readme_exists() -> None:
    typed = set(re.findall(r"(?:`|^|\n)retain ([a-z]+)", README))
    assert typed >= {"ingest", "train", "backtest", "serve", "list"}
    assert typed <= set(COMMANDS)


@pytest.mark.parametrize("line", sorted(set(re.findall(r"retain ([a-z]+[^`\n]*--[^`\n]*)", README))))
def test_every_option_of_the_readme_exists(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    # A command of two words may explain itself by both of them.
    named = re.findall(r"^[a-z]+(?: [a-z]+)?(?= )", line)[0].split()
    explained = ""
    for words in (named[:1], named):
        with pytest.raises(SystemExit):
            main([*words, "--help"])
        explained += capsys.readouterr().out
    for option in re.findall(r"--[a-z-]+", line):
        assert option in explained


def test_the_request_of_the_readme_is_one() -> None:
    bodies = re.findall(r"-d '(\{.*?\})'", README)
    assert bodies
    for body in bodies:
        msgspec.json.decode(body, type=DecisionRequest)


def test_the_two_commands_are_targets() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"^make ([a-z-]+)", README, re.MULTILINE)) <= targets


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\((?!https?://|#)([^)#]+)", (ROOT / page).read_text(encoding="utf-8")):
        assert ((ROOT / page).parent / link).exists(), link
