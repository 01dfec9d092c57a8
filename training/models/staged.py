"""Two stages: the blend's candidates, then boosted trees that order them, kept for a purpose only where that was shown to be better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from features.interactions import Interactions
from retain.errors import IntegrityError
from retain.files import read_json, write_json, write_text
from training.contracts import PURPOSES, Floats, Integers, Purpose, Ranking
from training.models import item_facts
from training.models.blend import Blend, FittedBlend
from training.models.folder import read, write
from training.models.lists import allowed, ranked, top
from training.models.ordering import Lessons, Ordering, Trees, opened, proof
from training.models.pair_facts import NAMES, pair_facts
from training.models.purchases import CELLS, Block, ages, before, blocks, catalogue
from training.models.weighing import shares

_CELLS = CELLS // 8
"""Scores of one candidate held at once: there are a dozen of them."""


class Staged(BaseModel):
    """A blend, and trees that order its best candidates for each purpose.

    The blend is weighed on the last horizon before the moment. The trees learn what was bought in that window, and in earlier ones, from
    the candidates' scores and ranks and from facts of customers and items. Before they may answer for a purpose, trees that learned from
    the other customers must make better lists than the blend for each quarter of them; else the blend answers, and the card says so.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: Blend = Blend()
    horizon_days: int = Field(default=28, ge=1)
    """Length of the windows that are learned: the task's horizon."""
    windows: int = Field(default=1, ge=1)
    """Windows that trees learn from, where history has room for them. On earlier windows of the reference sets a second one, a horizon older,
    brought nothing or did harm: what is in season changes."""
    cells: int = Field(default=30_000_000, ge=1)
    """Customers times items that are looked at in all windows together, beyond the newest: a large catalogue costs more and tells more."""
    depth: int = Field(default=25, ge=1)
    """Best items of each candidate that are ordered."""
    ordering: Ordering = Ordering()

    def fit(self, history: Interactions) -> FittedStaged:
        """Weigh, learn to order, prove it, and learn the candidates again on everything."""
        first = self.first.model_copy(update={"horizon_days": self.horizon_days})
        kept = catalogue(history, first.min_customers)
        windows = self.taught(kept, first)
        weights = self.weighed(windows[0]) if windows else None
        if weights is None:
            words = dict.fromkeys(PURPOSES, "too few customers bought in the window before to learn from: personal frequency and popularity answer")
            return FittedStaged(self, first.unlearned(kept), np.zeros((len(kept.items), len(item_facts.NAMES))), {}, words)
        trees: dict[Purpose, Trees] = {}
        words = {}
        for purpose in PURPOSES:
            shared = slice(0, len(first.candidates))
            lessons = [each[purpose].with_column(each[purpose].x[:, shared] @ weights[purpose]) for each in windows]
            learned, words[purpose] = proof(lessons, self.ordering, columns(len(first.candidates)))
            if learned is not None:
                trees[purpose] = learned
        if not trees:
            used = np.flatnonzero(np.sum([weights[purpose] for purpose in PURPOSES], axis=0) > 0)
            first = first.model_copy(update={"candidates": tuple(first.candidates[place] for place in used)})
            weights = {purpose: weights[purpose][used] for purpose in PURPOSES}
        return FittedStaged(self, first.learned(kept, weights), item_facts.item_facts(kept, self.horizon_days), trees, words)

    def taught(self, kept: Interactions, first: Blend) -> list[dict[Purpose, Lessons]]:
        """What was to be learned in each window, the newest first; empty where not even the newest has enough customers."""
        found: list[dict[Purpose, Lessons]] = []
        looked_at = 0
        whole = kept
        for number in range(self.windows):
            past = catalogue(before(whole, self.horizon_days), first.min_customers)
            drawn = first.weighing.drawn(past, whole) if len(past) else None
            if drawn is None or (number and ages(past).max() < self.horizon_days):
                break
            looked_at += len(drawn[0]) * len(past.items)
            if number and looked_at > self.cells:
                break
            found.append(self.lessons(first.learned(past), past, *drawn))
            whole = past
        return found

    def weighed(self, newest: Mapping[Purpose, Lessons]) -> dict[Purpose, Floats] | None:
        """The blend's weights for each purpose, or None where there are too few customers even for all of them together."""
        weights: dict[Purpose, Floats] = {}
        for purpose in PURPOSES:
            lessons = newest[purpose]
            found = self.first.weighing.search(lessons.x[:, : len(self.first.candidates)], lessons.hit, lessons.row, lessons.size)
            if found is None and purpose == "all":
                return None
            # Where too few repeat or try something new, what serves all purposes has to do.
            weights[purpose] = weights["all"] if found is None else found
        return weights

    def lessons(self, first: FittedBlend, past: Interactions, judged: Integers, pairs: Integers) -> dict[Purpose, Lessons]:
        """The pairs that customers of a window were to be offered, and which of them they bought.

        Args:
            first: candidates learned on ``past``.
            past: the history as it stood before the window.
            judged: customers who bought in it.
            pairs: what they bought: place in ``judged`` * items + item.
        """
        width = max(len(past.items), 1)
        facts = item_facts.item_facts(past, self.horizon_days)
        found: dict[Purpose, list[Lessons]] = {purpose: [] for purpose in PURPOSES}
        for place, block in blocks(past, judged, _CELLS):
            said = [part.scores(block, "all") for part in first.parts]
            inside = pairs[(pairs >= place.start * width) & (pairs < place.stop * width)] - place.start * width
            names = past.customers[judged[place]]
            for purpose in PURPOSES:
                mask = allowed(block, purpose)
                wanted = inside if mask is None else inside[mask.ravel()[inside]]
                row, item, x = self.pool([shares(score, mask) for score in said], block, facts)
                size = np.bincount(wanted // width, minlength=block.customers)
                hit = np.isin(row * width + item, wanted)
                found[purpose].append(Lessons(x, hit, row, size, names).of(np.flatnonzero(size > 0)))
        return {purpose: Lessons.together(parts) for purpose, parts in found.items()}

    def pool(self, shared: Sequence[Floats], block: Block, facts: Floats) -> tuple[Integers, Integers, NDArray[np.float32]]:
        """Customer and item of each pair to be ordered, and what is known of it; ``shared`` is zero where a purpose allows nothing."""
        chosen = np.zeros((block.customers, block.items), dtype=bool)
        for share in shared:
            listed = top(share, self.depth)[0]
            row, rank = np.nonzero(listed >= 0)
            chosen[row, listed[row, rank]] = True
        row, item = np.nonzero(chosen)
        x = np.empty((len(row), 2 * len(shared) + len(NAMES)), dtype=np.float32)
        for number, share in enumerate(shared):
            value = share[row, item]
            x[:, number], x[:, len(shared) + number] = value, _ranks(row, value)
        x[:, 2 * len(shared) :] = pair_facts(block, row, item, facts)
        return row, item, x


@dataclass(frozen=True)
class FittedStaged:
    """The blend of all candidates, facts of the items, and trees for the purposes where they proved themselves."""

    config: Staged
    first: FittedBlend
    facts: Floats
    """(items, facts)"""
    trees: Mapping[Purpose, Trees]
    words: Mapping[Purpose, str]
    """What the proof of each purpose came to."""

    @property
    def items(self) -> NDArray[np.object_]:
        """The catalogue."""
        return self.first.items

    @property
    def notes(self) -> tuple[str, ...]:
        """For the card: who answers for each purpose, and why."""
        return tuple(f"{purpose}: {self.words[purpose]}" for purpose in PURPOSES)

    def scores(self, block: Block, purpose: Purpose) -> Floats:
        """The blend's scores; the pairs that trees ordered stand above all others, by what the trees say."""
        trees = self.trees.get(purpose)
        if trees is None:
            return self.first.scores(block, purpose)
        mask = allowed(block, purpose)
        shared = [shares(part.scores(block, purpose), mask) for part in self.first.parts]
        mixed = self.first.mixed(dict(enumerate(shared)), block.customers, purpose)
        row, item, x = self.config.pool(shared, block, self.facts)
        x = np.hstack([(x[:, : len(shared)] @ self.first.weights[purpose])[:, None].astype(np.float32), x])
        if len(row):
            mixed[row, item] = 2.0 + 1.0 / (1.0 + np.exp(-np.clip(trees.predict(x), -30.0, 30.0)))
        return mixed

    def rank(self, history: Interactions, customers: Integers, k: int, purpose: Purpose) -> Ranking:
        """See ``FittedRanker``."""
        return ranked(self, history, customers, k, purpose, _CELLS)

    def save(self, folder: Path) -> None:
        """Write facts, trees and words, and the blend into a folder of its own."""
        write(folder, self.config, self.items, {"facts": self.facts})
        write_json(folder / "words.json", {"words": dict(self.words), "trees": sorted(self.trees)})
        for purpose, trees in self.trees.items():
            write_text(folder / f"trees_{purpose}.txt", trees.text)
        (folder / "first").mkdir(exist_ok=True)
        self.first.save(folder / "first")

    @classmethod
    def load(cls, folder: Path) -> FittedStaged:
        """Read what ``save`` wrote, checked; the trees' structure before LightGBM sees it."""
        config, items, arrays = read(folder, Staged, {"facts": ("float64", ("items", len(item_facts.NAMES)))})
        first = FittedBlend.load(folder / "first")
        said: Any = read_json(folder / "words.json")
        words = said.get("words") if isinstance(said, dict) else None
        has_words = isinstance(words, dict) and set(words) == set(PURPOSES) and all(isinstance(each, str) for each in words.values())
        if not isinstance(words, dict) or not has_words or not isinstance(said.get("trees"), list) or not set(said["trees"]) <= set(PURPOSES):
            raise IntegrityError(f"{folder.name}: words.json does not say who answers for which purpose; train the model again")
        if not np.array_equal(first.items, items):
            raise IntegrityError(f"{folder.name}: the blend inside ranks another catalogue; train the model again")
        names = columns(len(first.parts))
        trees = {purpose: opened(folder / f"trees_{purpose}.txt", names) for purpose in PURPOSES if purpose in said["trees"]}
        return cls(config, first, arrays["facts"], trees, words)


def columns(candidates: int) -> tuple[str, ...]:
    """Names of what trees are given: shares and ranks of the blend and of each candidate, then the facts of the pair."""
    who = [f"candidate_{number}" for number in range(candidates)]
    return ("blend_share", *(f"{name}_share" for name in who), *(f"{name}_rank" for name in who), *NAMES)


def _ranks(row: Integers, value: Floats) -> Floats:
    """Rank of each pair among its customer's, 1 the best; equal ones by their order."""
    order = np.lexsort((-value, row))
    count = np.bincount(row)
    ranks = np.empty(len(row))
    ranks[order] = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count) + 1.0
    return ranks
