"""A decision in words: what the answer says with an interval is said with it."""

from __future__ import annotations

import msgspec

from serving.schemas import OfferOut
from serving.telling import proposal

OFFER = msgspec.convert(
    {
        "rank": 1,
        "offer_id": "O1",
        "name": "A coupon",
        "kind": "coupon",
        "goal": "retention",
        "channels": ["email"],
        "p_shown": 0.75,
        "accept_prob": (0.2, 0.15, 0.25),
        "expected_margin": 1.5,
        "margin_basis": "declared",
        "incremental_value": (1.7, 0.1, 3.3),
        "evidence": "A",
        "cost": 0.2,
        "expires_at": None,
        "outcome_until": "2026-01-01T00:00:00Z",
        "text": None,
        "reasons": [],
    },
    OfferOut,
)


def test_an_effect_is_told_with_its_interval() -> None:
    told = proposal(OFFER, "EUR")
    assert "p 0.200 [0.150, 0.250]" in told[0]
    assert told[1].strip() == "effect of the contact 1.70 [0.10, 3.30] EUR margin, before costs"
    assert "0.7500" in told[2]


def test_where_no_effect_was_estimated_none_is_told() -> None:
    told = proposal(msgspec.structs.replace(OFFER, incremental_value=None, expected_margin=None, margin_basis=None, evidence="D"), "EUR")
    assert not any("effect" in line for line in told)
    assert "margin unknown, evidence D" in told[0]
