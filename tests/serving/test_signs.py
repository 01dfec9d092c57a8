"""Reasons of risk: true of the customer, in the model's order, in both languages, from features that all have a family."""

from __future__ import annotations

import re
from string import Formatter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import services
from serving.decisions import drivers
from serving.decisions.facts import Customer
from serving.decisions.families import FAMILIES, SILENT, family
from serving.decisions.figures import UNITS, Figure, Known
from serving.decisions.reasons import of_risk
from serving.decisions.sentences import SIGNS
from serving.decisions.signals import BY_CODE, NEEDS, SIGNALS

CUSTOMERS = 400
CHURN = [ref.replace(":", "__") for ref in services.refs("churn")]


def shop(seed: int = 5) -> Known:
    """Customers with every feature that a sign looks at; a fifth of all values is unknown."""
    random = np.random.default_rng(seed)
    values = {}
    for name in NEEDS:
        share, change = "share" in name, name.endswith("_over_prior") or "surprise" in name
        column = random.random(CUSTOMERS) if share else random.normal(0, 4, CUSTOMERS) if change else random.gamma(0.7, 20, CUSTOMERS)
        values[name] = np.where(random.random(CUSTOMERS) < 0.2, np.nan, column if share or "amount" in name else np.round(column))
    return Known(values, drivers.typical(values), CUSTOMERS)


def contributions(seed: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.3, (CUSTOMERS, len(CHURN) + 1))


def test_every_churn_feature_has_a_family_and_every_family_a_sentence_or_a_reason_for_silence() -> None:
    found = {family(name) for name in CHURN}
    assert found <= {name for name, _ in FAMILIES}
    assert found - set(SILENT) <= {signal.family for signal in SIGNALS}
    assert not set(SILENT) & {signal.family for signal in SIGNALS}
    with pytest.raises(KeyError, match="families.py"):
        family("weather__rain_7d")


def test_signs_look_at_features_that_exist_and_belong_to_their_family() -> None:
    assert set(NEEDS) <= set(CHURN)
    for signal in SIGNALS:
        spoken = {name for name in CHURN if signal.speaks_for(name)}
        assert spoken, signal.code
        assert {family(name) for name in spoken} == {signal.family}, signal.code


def test_every_sentence_stands_in_both_languages_with_the_same_figures() -> None:
    assert set(SIGNS) == set(BY_CODE)
    for code, texts in SIGNS.items():
        used = {language: {name for _, name, _, _ in Formatter().parse(text) if name} for language, text in texts.items()}
        assert set(texts) == {"en", "zh"}
        assert used["en"] == used["zh"] <= set(BY_CODE[code].figures), code
        assert texts["en"].endswith(".")
        assert texts["zh"].endswith("。")
        assert all(figure.unit in UNITS or figure.unit in ("money", "share", "score") for figure in BY_CODE[code].figures.values())
        # Nobody is pressed, and nothing is said to be the cause.
        assert not re.search(
            r"\b(because|due to|caused|urgent|hurry|now or never|last chance|immediately)\b|因为|导致|立即|赶快|最后机会", str(texts)
        )


def test_figures_are_the_stored_features_and_pass_the_test_of_their_sign() -> None:
    known = shop()
    found = drivers.by_model(known, CHURN, contributions())
    said = 0
    for place in range(CUSTOMERS):
        for number, weight, figures in zip(found.signal[place], found.weight[place], found.figures[place].tolist(), strict=True):
            if number < 0:
                assert np.isnan(figures).all()
                continue
            said += 1
            signal = SIGNALS[number]
            sign = drivers.sign(signal.code, float(weight), figures)
            written = dict(sign.figures)
            assert list(written) == list(signal.figures)
            assert list(written.values()) == [figure.shown(known)[place] for figure in signal.figures.values()]
            for name, figure in signal.figures.items():
                stored = [known.values[need][place] for need in figure.needs]
                exact = known.typical[figure.needs[0]] if name == "typical" else stored[0] - stored[1] if name == "before" else abs(stored[0])
                assert written[name] == pytest.approx(exact, abs=0.5 if figure.unit in UNITS else 0.051), signal.code
            if signal.less is not None:
                assert written[signal.less[0]] < written[signal.less[1]]
            for language in ("en", "zh"):
                (reason,) = of_risk(Customer("c", signs=(sign,)), None, "EUR", language)  # type: ignore[arg-type]
                assert "{" not in reason.text
                shown = [number.replace(",", "") for number in re.findall(r"-?\d[\d,]*(?:\.\d+)?", reason.text)]
                for name, figure in signal.figures.items():
                    if f"{{{name}}}" in SIGNS[signal.code][language] and figure.unit in UNITS:
                        number = f"{written[name]:.{figure.decimals}f}"
                        assert number in shown or (number == "0" and language == "en" and reason.text.lower().count("no "))
    assert said > CUSTOMERS


def test_the_order_is_that_of_what_the_families_add() -> None:
    known, parts = shop(), contributions()
    found = drivers.by_model(known, CHURN, parts)
    assert (np.diff(found.weight, axis=1)[np.isfinite(found.weight[:, 1:])] <= 0).all()
    holds = np.column_stack([signal.holds(known) for signal in SIGNALS])
    for place in range(0, CUSTOMERS, 7):
        push = {name: sum(parts[place, i] for i, column in enumerate(CHURN) if family(column) == name) for name, _ in FAMILIES}
        own = [sum(parts[place, i] for i, name in enumerate(CHURN) if signal.speaks_for(name)) for signal in SIGNALS]
        could = {s.family for i, s in enumerate(SIGNALS) if holds[place, i] and own[i] > 0 and push[s.family] >= drivers.LEAST_PUSH}
        expected = sorted(could, key=lambda name: -push[name])[: drivers.MOST]
        assert [SIGNALS[i].family for i in found.signal[place] if i >= 0] == expected


def test_who_has_only_what_protects_gets_no_reason() -> None:
    found = drivers.by_model(shop(), CHURN, -np.abs(contributions()))
    assert (found.signal == -1).all()
    assert np.isnan(found.weight).all()


@given(st.floats(-1e11, 1e11) | st.floats(-2, 2) | st.just(float("nan")), st.sampled_from([*UNITS, "money", "share", "score"]), st.integers(0, 3))
def test_a_figure_is_rounded_and_never_reads_minus_nothing(value: float, unit: str, decimals: int) -> None:
    (shown,) = Figure(unit, ("x",), lambda known: known.value("x"), decimals).shown(Known({"x": np.array([value])}, {}, 1))
    assert np.isnan(shown) == np.isnan(value)
    assert not np.signbit(shown) or shown < 0
    assert np.isnan(value) or shown == pytest.approx(value, abs=0.5 * 10.0 ** -(2 if unit in ("money", "share") else decimals) + 1e-4)


def test_spending_that_rose_is_never_said_to_have_fallen() -> None:
    recent, change = "purchases__amount_90d", "purchases__amount_90d_over_prior"
    known = Known({recent: np.array([80.0, 80.0, 80.0]), change: np.array([-20.0, 20.0, -0.001])}, {}, 3)
    # The third fell by less than what is written.
    assert BY_CODE["SPEND_DOWN"].holds(known).tolist() == [True, False, False]
    push = np.ones((3, 3))
    assert [SIGNALS[i].code for i in drivers.by_model(known, (recent, change), push).signal[:, 0] if i >= 0] == ["SPEND_DOWN"]


def test_without_a_model_that_explains_the_signs_rank_themselves_by_the_same_table() -> None:
    recency, gap, orders = "purchases__days_since_order_365d", "gaps__mean_gap_days_365d", "purchases__orders_90d"
    values = {recency: np.array([40.0, 8.0]), gap: np.array([7.0, 7.0]), orders: np.array([1.0, 4.0]), f"{orders}_over_prior": np.array([-1.0, 0.0])}
    found = drivers.by_rules(Known(values, {}, 2))
    assert [[SIGNALS[i].code for i in row if i >= 0] for row in found.signal] == [["PAUSE", "ORDERS_DOWN"], []]


def test_nobody_and_nothing_known() -> None:
    assert drivers.by_model(Known({}, {}, 0), CHURN, np.empty((0, len(CHURN) + 1))).signal.shape == (0, drivers.MOST)
    assert (drivers.by_rules(Known({}, {}, 3)).signal == -1).all()
