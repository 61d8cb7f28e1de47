from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.loop import ActiveRecipe, ActiveRun, LastSampling, LoopFacts, decide, guards

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
CALM = LoopFacts(
    now=NOON,
    paused=False,
    train_prompts=200,
    open_items=60,
    queue_target=60,
    sampling=False,
    new_judgments=37,
    train_after=50,
    last_round_at=NOON - timedelta(hours=5),
)


def test_it_waits_for_enough_judgments_and_says_how_many_are_there() -> None:
    assert decide(CALM).action == "wait"
    assert decide(CALM).reason == "waiting: 37 of 50 new judgments"


def test_enough_judgments_start_a_round() -> None:
    decision = decide(replace(CALM, new_judgments=50))
    assert (decision.action, decision.reason) == ("train", "50 new judgments")


def test_a_low_queue_is_filled_before_anything_is_trained() -> None:
    decision = decide(replace(CALM, open_items=12, new_judgments=50))
    assert (decision.action, decision.reason) == ("sample", "queue low: 12 of 60 open items")


def test_a_round_starts_while_sampling_is_already_under_way() -> None:
    assert decide(replace(CALM, open_items=12, sampling=True, new_judgments=50)).action == "train"


def test_sampling_is_not_started_twice() -> None:
    decision = decide(replace(CALM, open_items=12, sampling=True))
    assert (decision.action, decision.reason) == ("wait", "sampling: 12 of 60 open items")


def test_the_queue_is_filled_during_training() -> None:
    run = ActiveRun(number=3, state="training", step=12, total_steps=40)
    assert decide(replace(CALM, open_items=0, run=run)).action == "sample"


def test_a_recipe_goes_on_before_anything_else_also_while_paused_and_waits_for_its_run() -> None:
    recipe = ActiveRecipe(name="Night", at=1, stages=3)
    for paused in (False, True):
        decision = decide(replace(CALM, open_items=0, new_judgments=500, paused=paused, recipe=recipe))
        assert (decision.action, decision.reason) == ("stage", "recipe Night: stage 1 of 3 is over")
    run = ActiveRun(number=3, state="training", step=12, total_steps=40)
    assert decide(replace(CALM, new_judgments=500, recipe=recipe, run=run)).action == "wait"
    scoring = ActiveRun(number=3, state="scoring")
    assert decide(replace(CALM, recipe=recipe, run=scoring)).action == "score"


def test_a_run_under_way_is_told_by_its_step() -> None:
    run = ActiveRun(number=3, state="training", step=12, total_steps=40)
    decision = decide(replace(CALM, new_judgments=500, run=run))
    assert (decision.action, decision.reason) == ("wait", "training run 3: step 12 of 40")


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("queued", "training run 3: waiting for a worker"),
        ("training", "training run 3: starting"),
        ("scoring", "training run 3: scoring the new policy"),
    ],
)
def test_each_state_of_a_run_has_its_words(state: str, reason: str) -> None:
    run = ActiveRun(number=3, state=state, scoring_job=True)
    assert decide(replace(CALM, run=run)).reason == reason


@pytest.mark.parametrize("paused", [True, False])
def test_a_new_policy_is_scored_also_while_paused(paused: bool) -> None:
    run = ActiveRun(number=3, state="scoring")
    assert decide(replace(CALM, paused=paused, open_items=0, run=run)).action == "score"


def test_pausing_starts_nothing() -> None:
    decision = decide(replace(CALM, paused=True, open_items=0, new_judgments=500))
    assert (decision.action, decision.reason) == ("wait", "paused: nothing starts by itself")


def test_without_prompts_it_asks_for_them() -> None:
    assert decide(replace(CALM, train_prompts=0, open_items=0)).reason == "waiting: import prompts to begin"


def test_the_schedule_starts_a_round_when_its_time_has_come() -> None:
    facts = replace(CALM, train_after=None, train_every=timedelta(hours=4))
    assert decide(facts).action == "train"
    assert decide(facts).reason == "every 4 hours: 37 new judgments"
    early = decide(replace(facts, last_round_at=NOON - timedelta(hours=1)))
    assert (early.action, early.reason) == ("wait", "waiting: next round at 2026-11-21 15:00 UTC")


def test_the_schedule_does_not_train_on_nothing_new() -> None:
    facts = replace(CALM, train_after=None, train_every=timedelta(hours=4), new_judgments=2)
    decision = decide(facts)
    assert decision.action == "wait"
    assert decision.reason == "waiting: a round is due, with 2 of at least 8 new judgments"


def test_without_a_rule_a_lead_starts_the_round() -> None:
    assert decide(replace(CALM, train_after=None)).reason == "waiting: a lead starts the next round (37 new judgments)"


def test_a_sampling_that_failed_is_left_alone_for_a_while() -> None:
    failed = LastSampling(ended_at=NOON - timedelta(minutes=3), made=0, error="no such model")
    facts = replace(CALM, open_items=0, last_sampling=failed)
    assert decide(facts).action == "wait"
    assert decide(facts).reason == "waiting: sampling failed, trying again at 12:07 UTC"
    assert decide(replace(facts, now=NOON + timedelta(minutes=8))).action == "sample"


def test_a_sampling_that_made_nothing_new_is_not_repeated_at_once() -> None:
    dry = LastSampling(ended_at=NOON, made=0)
    decision = decide(replace(CALM, open_items=0, last_sampling=dry))
    assert decision.reason == "waiting: the last sampling made nothing new, trying again at 12:10 UTC"
    assert decide(replace(CALM, open_items=0, last_sampling=replace(dry, made=5))).action == "sample"


def test_an_obstacle_is_named_and_nothing_is_tried() -> None:
    decision = decide(replace(CALM, open_items=0, obstacle="the model folder is not there"))
    assert (decision.action, decision.reason) == ("wait", "waiting: the model folder is not there")


@given(
    st.builds(
        LoopFacts,
        now=st.just(NOON),
        paused=st.booleans(),
        train_prompts=st.integers(0, 3),
        open_items=st.integers(0, 100),
        queue_target=st.integers(4, 100),
        sampling=st.booleans(),
        new_judgments=st.integers(0, 100),
        train_after=st.none() | st.integers(4, 100),
        train_every=st.none() | st.timedeltas(min_value=timedelta(minutes=1), max_value=timedelta(days=40)),
        last_round_at=st.none() | st.datetimes(timezones=st.just(UTC)),
        run=st.none()
        | st.builds(ActiveRun, number=st.integers(1, 9), state=st.sampled_from(["queued", "training", "scoring"])),
        obstacle=st.sampled_from(["", "the model folder is not there"]),
    )
)
def test_whatever_the_facts_it_never_starts_a_second_run_or_a_second_sampling(facts: LoopFacts) -> None:
    decision = decide(facts)
    assert decision.reason
    assert len(decision.reason) <= 300
    if decision.action == "train":
        assert facts.run is None
        assert not facts.paused
    if decision.action == "sample":
        assert not facts.sampling
        assert facts.open_items < facts.queue_target


GOOD = {
    "samples_n": 64,
    "empty_share": 0.0,
    "repetition_share": 0.05,
    "kl_per_response": 4.2,
    "mean_tokens": 22.0,
    "mean_tokens_base": 20.0,
}


def test_a_sound_policy_passes_the_guards() -> None:
    assert guards(GOOD) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"empty_share": 0.4}, "40% empty answers"),
        ({"repetition_share": 0.6}, "60% repetitive answers"),
        ({"kl_per_response": 158.0}, "KL to the base 158 nats"),
        ({"kl_per_response": float("nan")}, "not a finite number"),
        ({"kl_per_response": "inf"}, "not a finite number"),
        ({"mean_tokens": 120.0}, "6 times as long as the base's, 0.25 to 4 times allowed"),
        ({"mean_tokens": 2.0}, "0.1 times as long"),
    ],
)
def test_each_guard_says_what_it_found(changed: dict[str, object], words: str) -> None:
    failures = guards(GOOD | changed)
    assert len(failures) == 1
    assert words in failures[0]


def test_a_flaw_that_the_previous_policy_had_too_is_not_held_against_the_new_one() -> None:
    had = {"repetition_share_previous": 0.55}
    assert guards(GOOD | had | {"repetition_share": 0.6}) == []
    assert guards(GOOD | had | {"repetition_share": 0.9}) != []
    # Fewer than the limit allows were no licence either.
    assert guards(GOOD | {"repetition_share_previous": 0.01, "repetition_share": 0.2}) == []


def test_a_share_is_held_against_a_policy_only_where_chance_does_not_explain_it() -> None:
    one_of_six = GOOD | {"samples_n": 6, "empty_share": 1 / 6}
    assert guards(one_of_six) == []
    assert guards(one_of_six | {"empty_share": 3 / 6}) == ["50% empty answers, at most 10% allowed"]
    # The same share of more answers is evidence.
    assert guards(one_of_six | {"samples_n": 600}) == ["17% empty answers, at most 10% allowed"]


def test_metrics_that_could_not_be_measured_fail_nobody() -> None:
    assert guards({"kl_per_response": None, "empty_share": None, "samples_n": 0}) == []
