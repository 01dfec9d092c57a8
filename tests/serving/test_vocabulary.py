"""A file of rules in which a word means nothing is refused with its place: a law with a slip of the pen in it would hold for nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from retain.errors import ConfigError
from serving.decisions.policy import Law, Policy, policy


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("laws: [{name: no_coupons, kinds: [coupon], channels: [emial]}]", "laws.0.channels"),
        ("laws: [{name: no_coupons, kinds: [cupon]}]", "laws.0.kinds"),
        ("quiet_hours: {channels: [smss]}", "quiet_hours.channels"),
        ("complaint_kinds: [repare]", "complaint_kinds"),
        ("lifecycle: {retention: [growin]}", "lifecycle.retention"),
        ("remedies: {prize: [discount]}", "remedies"),
        ("remedies: {price: [discout]}", "remedies.price"),
        ("suitability: [{name: a, fact: churn, is: at_least, value: 0.5, kinds: [cupon]}]", "suitability.0.kinds"),
        ("suitability: [{name: a, fact: stage, is: equal, value: declning}]", "suitability.0.value"),
        ("suitability: [{name: a, fact: stage, is: at_least, value: declining}]", "suitability.0.is"),
        ("suitability: [{name: a, fact: churn, is: equal, value: high}]", "suitability.0.value"),
        ("weights: {retention: 2}", "weights"),
        ("intents: {cancel: {retention: -1, repeat: 0, cross_sell: 0}}", "intents.cancel.retention"),
        ("levers: {coupon: -1}", "levers.coupon"),
        ("same_offer_limit: {most: 0, days: 7}", "same_offer_limit.most"),
        ("seat_price: .inf", "seat_price"),
        ("suitability: [{name: a, fact: churn, is: at_least, value: .nan}]", "suitability.0.value"),
    ],
)
def test_a_word_that_nothing_is_called_is_refused_with_its_place(text: str, field: str, tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        policy(path)
    assert refused.value.field is not None
    assert refused.value.field.startswith(field)
    assert str(path) in str(refused.value)


def test_every_word_of_the_contract_may_be_named(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(
        "laws: [{name: a, kinds: [coupon, category], channels: [email, agent]}]\n"
        "suitability: [{name: b, fact: band, is: equal, value: top}, {name: c, fact: relation, is: equal, value: enterprise}]\n"
        "weights: {cross_sell: 0, repeat: 1, retention: 2.5}\n"
    )
    assert policy(path).weights["retention"] == 2.5


def test_rules_that_a_receipt_kept_open_whatever_their_words() -> None:
    # A decision of an older release is made again by the rules that decided it, slips included.
    kept = Policy(laws=(Law(name="no_coupons", kinds=("cupon",)),))
    assert Policy.model_validate_json(kept.model_dump_json(by_alias=True)) == kept
