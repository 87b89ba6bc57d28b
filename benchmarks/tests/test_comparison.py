"""The rule that calls a checkout slower."""

from __future__ import annotations

import random

import pytest
from harness import comparison, comparison_report, cpu
from harness.comparison import Comparison, Figure, Round
from harness.loads import Load, Outcome

RATE = Figure("hello", "req/s", "rate", more_is_better=True)
TIME = Figure("hello", "ms", "rate", more_is_better=False)


def measured(change: float, seed: int, turns: int = 6, number: int = 6) -> list[Round]:
    """Make rounds up: a turn is off by 4 %, all turns of a process by 1 %, a minute by 10 %."""
    draw = random.Random(seed)
    rounds = []
    for _ in range(number):
        minutes = [draw.gauss(1000, 100) for _ in range(turns)]
        sides: tuple[dict[str, list[float]], ...] = ({}, {})
        for side, factor in zip(sides, (1.0, change), strict=True):
            process = factor * draw.gauss(1, 0.01)
            side["rate"] = [minute * process * draw.gauss(1, 0.04) for minute in minutes]
        rounds.append((sides[0], sides[1]))
    return rounds


def compared(figure: Figure, rounds: list[Round]) -> Comparison:
    found = comparison.compare(figure, rounds, 0.03)
    assert found is not None
    return found


def answers(change: float) -> list[str]:
    return [compared(RATE, measured(change, seed)).answer for seed in range(300)]


def test_a_loss_of_5_percent_is_seen():
    """Of 300 noisy comparisons with a checkout that is 5 % slower, nine in ten say so.

    One in a hundred may find both the same, none that it is faster.
    """
    found = answers(0.95)
    assert found.count("slower") >= 270
    assert found.count("same") <= 3
    assert found.count("faster") == 0


def test_a_gain_of_5_percent_is_seen():
    """So it is with one that is 5 % faster."""
    assert answers(1.05).count("faster") >= 270


def test_equal_checkouts_are_not_accused():
    """Among 300 comparisons of a checkout with itself, one in a hundred at most says otherwise."""
    found = answers(1.0)
    assert found.count("slower") + found.count("faster") <= 3


def test_equal_checkouts_are_the_same_where_there_is_little_noise():
    """Processor time, which varies by 1 %, is found the same, not merely not different."""
    rounds = [({"rate": [10.0, 10.1]}, {"rate": [10.1, 10.0]}) for _ in range(4)]
    found = compared(TIME, rounds)
    assert (found.answer, found.ratio) == ("same", pytest.approx(1))


def test_more_of_a_time_is_slower():
    """Rates and times point in opposite directions."""
    rounds = measured(1.2, seed=1)
    assert compared(RATE, rounds).answer == "faster"
    assert compared(TIME, rounds).answer == "slower"
    assert compared(TIME, rounds).ratio == pytest.approx(1.2, rel=0.03)


@pytest.mark.parametrize(
    ("ratio", "low", "high", "answer"),
    [
        (0.95, 0.92, 0.98, "slower"),
        (0.95, 0.89, 1.01, "cannot tell"),
        (0.98, 0.975, 0.985, "same"),  # a loss, and a small one
        (0.975, 0.96, 0.99, "cannot tell"),
        (1.00, 0.98, 1.02, "same"),
        (1.00, 0.95, 1.05, "cannot tell"),
        (1.06, 1.02, 1.10, "faster"),
    ],
)
def test_answers(ratio: float, low: float, high: float, answer: str):
    """The interval and the ratio have to agree, with a threshold of 3 %."""
    assert comparison.judge(ratio, low, high, 0.03, True) == answer


def test_a_single_round_says_nothing():
    """The spread between processes is unknown; failed rounds and zero errors do not count."""
    one = ({"rate": [10.0]}, {"rate": [5.0]})
    assert comparison.compare(RATE, [one], 0.03) is None
    assert comparison.compare(RATE, [one, ({}, {})], 0.03) is None
    assert comparison.compare(RATE, [one, ({"rate": [0.0]}, {"rate": [0.0]})], 0.03) is None


def test_student():
    """The points are those of the tables, and come near the normal distribution's."""
    assert comparison.student(1) == 6.314
    assert comparison.student(20) == 1.725
    assert comparison.student(21) == pytest.approx(1.721, abs=0.003)
    assert comparison.student(1000) == pytest.approx(1.646, abs=0.002)


def test_figures_of_a_workload():
    """Each load's figures come before its processor time: in all, of proxies, of replicas."""

    def apply(run: object, program: object, seconds: float) -> Outcome:
        return Outcome({}, 0)

    loads = [Load("hello_32", apply), Load("hello_1", apply)]
    used = cpu.per_thousand("hello_32", {"proxy": 1.0, "replica": 1.0, "Ray": 0.1}, 1000)
    found = comparison.figures("hello", loads, {"hello_1_p50_ms", "hello_32_rps", *used})
    assert [(each.work, each.metric, each.more_is_better) for each in found] == [
        ("HTTP hello, 32 connections", "hello_32_rps", True),
        ("HTTP hello, 32 connections, processor time", cpu.metric("hello_32"), False),
        ("HTTP hello, 32 connections, of proxy", cpu.metric("hello_32", "proxy"), False),
        ("HTTP hello, 32 connections, of replica", cpu.metric("hello_32", "replica"), False),
        ("HTTP hello, 1 connection, p50", "hello_1_p50_ms", False),
    ]


FACTS = dict.fromkeys(("date", "cores", "processor", "kernel", "load"), "x")


def test_comparisons():
    """Slower rows stand out, and the line below counts the verdicts."""
    figure = Figure("HTTP hello", "req/s", "hello_32_rps", True)
    compared = [
        Comparison(figure, 30_000, 28_500, 0.95, 0.93, 0.97, "slower"),
        Comparison(figure, 30_000, 30_000, 1.0, 0.98, 1.02, "same"),
    ]
    sides = [{"label": f"{each}, digest", "versions": {"ray": "2.60.0"}} for each in ("a", "b")]
    stated = {"seconds": 1.0, "turns": 6, "rounds": 5, "threshold": 3.0}
    facts = {**FACTS, "checkouts": sides}
    text = comparison_report.markdown(facts, stated, compared, ["something"])
    assert [cell.strip() for cell in text.splitlines()[2].strip("|").split("|")] == [
        "HTTP hello (req/s)",
        "30,000",
        "28,500",
        "0.950",
        "0.930–0.970",
        "**slower**",
    ]
    assert "1 same, 1 slower." in text
    assert text.endswith("- something\n")
