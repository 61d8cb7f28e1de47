"""Several judgments of one comparison come to one decision, by the rule that was named."""

import pytest

from annotate.aggregation import EXCLUDED, UNDECIDED, Decision, Ruling, Vote, decide, learn_reliability


def votes(*labels: str) -> list[Vote]:
    return [Vote(10 + number, number, label) for number, label in enumerate(labels)]


def decided(*labels: str, rule: str = "majority", ruling: Ruling | None = None) -> Decision:
    return decide(votes(*labels), ruling, rule=rule, reliability=None)


@pytest.mark.parametrize(
    ("labels", "label", "support"),
    [
        (("first",), "first", 1.0),
        (("first", "second", "first"), "first", 2 / 3),
        (("tie", "tie", "second"), "tie", 2 / 3),
        (("both_bad", "both_bad"), "both_bad", 1.0),
        (("first", "second"), UNDECIDED, 0.5),
        (("first", "second", "tie"), UNDECIDED, 1 / 3),
        # The most frequent, and yet no more than half.
        (("first", "first", "second", "tie"), UNDECIDED, 0.5),
        (("first", "skip", "skip"), "first", 1.0),
        (("skip",), "skip", None),
    ],
)
def test_a_majority_is_more_than_half_of_those_who_decided(
    labels: tuple[str, ...], label: str, support: float | None
) -> None:
    found = decided(*labels)
    assert found.label == label
    assert found.support == (None if support is None else pytest.approx(support))
    assert len(found.votes) + len(found.abstained) == len(labels)


def test_a_reviewer_has_the_last_word_where_the_rule_says_so() -> None:
    ruling = Ruling(5, "second")
    assert decided("first", "first", ruling=ruling).label == "first"
    for rule in ("adjudicated", "dawid_skene"):
        found = decided("first", "first", "skip", rule=rule, ruling=ruling)
        assert found == Decision("second", (10, 11), (12,), adjudication=5)
        assert decided("first", "first", rule=rule).label == "first"


@pytest.mark.parametrize("rule", ["majority", "adjudicated", "dawid_skene"])
def test_what_a_reviewer_excludes_is_out_by_every_rule(rule: str) -> None:
    assert decided("first", "first", rule=rule, ruling=Ruling(5, EXCLUDED)).label == EXCLUDED


def test_single_decides_no_comparison() -> None:
    with pytest.raises(ValueError, match="majority, adjudicated or dawid_skene"):
        decided("first", rule="single")


def test_the_reliable_outweigh_the_many_and_nobodys_label_is_never_taken() -> None:
    said = []
    for unit in range(60):
        truth = ("first", "second")[unit % 2]
        said += [(unit, who, truth) for who in (1, 2, 3)]
        # 8 and 9 answer by the clock, not by the pair.
        said += [(unit, who, ("first", "second")[unit // (who - 6) % 2]) for who in (8, 9)]
    learnt = learn_reliability(said)
    split = [Vote(1, 1, "first"), Vote(2, 8, "second"), Vote(3, 9, "second")]
    found = decide(split, None, rule="dawid_skene", reliability=learnt)
    assert found.label == "first"
    assert found.support is not None
    assert found.support > 0.9
    assert decide(split, None, rule="majority", reliability=learnt).label == "second"
    contrary = learn_reliability([(unit, who, "first") for unit in range(30) for who in (1, 2)])
    assert contrary is not None
    alone = decide([Vote(1, 1, "tie")], None, rule="dawid_skene", reliability=contrary)
    assert alone.label in ("tie", UNDECIDED)


def test_which_response_is_the_first_means_nothing() -> None:
    one_sided = [(unit, who, "first") for unit in range(20) for who in (1, 2)] + [(99, 1, "first"), (99, 2, "second")]
    learnt = learn_reliability(one_sided)
    for labels in (("first", "second"), ("second", "first")):
        said = [Vote(1, 8, labels[0]), Vote(2, 9, labels[1])]
        assert decide(said, None, rule="dawid_skene", reliability=learnt).label == UNDECIDED


def test_without_overlap_nobodys_reliability_is_known() -> None:
    assert learn_reliability([(1, 1, "first"), (2, 2, "second"), (1, 2, "skip")]) is None
    assert decide(votes("tie"), None, rule="dawid_skene", reliability=None).label == "tie"
