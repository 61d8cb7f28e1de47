"""Responses come in once, and become comparisons and slots."""

import random
from collections import Counter
from collections.abc import Callable

import pytest

from annotate.models import Comparison, Project, Prompt, Response, Slot
from annotate.queries.judging import open_slots
from annotate.services.content import (
    AddedResponses,
    NewResponse,
    add_responses,
    clean_text,
    form_comparisons,
    form_thumb_slots,
    policy_author,
)
from tests.cast import make_prompt, make_user

Sample = Callable[[Prompt, list[str]], AddedResponses]


@pytest.fixture
def sample(project: Project) -> Sample:
    """Adds texts by policy 1, in round 5, to a prompt."""

    def add(prompt: Prompt, texts: list[str]) -> AddedResponses:
        author = policy_author(project=project, number=1, name="policy 1")
        return add_responses(author=author, round=5, responses=[NewResponse(prompt.pk, text) for text in texts])

    return add


def form(project: Project, *prompts: Prompt, per_prompt: int = 2, seed: int = 1) -> int:
    return form_comparisons(
        project=project,
        round=5,
        prompt_ids=[prompt.pk for prompt in prompts],
        per_prompt=per_prompt,
        rng=random.Random(seed),
    )


def test_a_policy_has_one_author_row(project: Project) -> None:
    first = policy_author(project=project, number=3, name="policy 3")
    assert policy_author(project=project, number=3, name="policy 3") == first


def test_what_was_sampled_is_kept_with_it(project: Project) -> None:
    prompt = make_prompt(project)
    author = policy_author(project=project, number=1, name="policy 1")
    new = NewResponse(prompt.pk, "Hello.", sampling={"seed": 4, "top_p": 0.9}, tokens=3, finish_reason="stop")
    add_responses(author=author, round=5, responses=iter([new]))
    kept = Response.objects.get(prompt=prompt)
    assert (kept.text, kept.sampling, kept.tokens, kept.finish_reason, kept.round) == (
        "Hello.",
        {"seed": 4, "top_p": 0.9},
        3,
        "stop",
        5,
    )


def test_exact_duplicates_are_dropped_and_counted(project: Project, sample: Sample) -> None:
    prompt = make_prompt(project)
    assert sample(prompt, ["one", "two", "one"]) == AddedResponses(kept=2, duplicates=1)
    assert sample(prompt, ["one", "two", "three"]) == AddedResponses(kept=1, duplicates=2)
    assert sorted(prompt.responses.values_list("text", flat=True)) == ["one", "three", "two"]


@pytest.mark.parametrize("bad", ["a\0b", "a\ud800b"])
def test_characters_that_a_database_refuses_are_replaced_when_they_come_in(
    project: Project, sample: Sample, bad: str
) -> None:
    prompt = make_prompt(project)
    assert sample(prompt, [bad, "a\ufffdb"]) == AddedResponses(kept=1, duplicates=1)
    assert prompt.responses.get().text == clean_text(bad) == "a\ufffdb"


def test_a_prompt_of_another_project_is_refused_and_nothing_is_stored(project: Project, sample: Sample) -> None:
    elsewhere = Project.objects.create(name="Other", created_by=make_user("olga"))
    mine, foreign = make_prompt(project), make_prompt(elsewhere)
    author = policy_author(project=project, number=1, name="policy 1")
    with pytest.raises(ValueError, match=str(foreign.pk)):
        add_responses(author=author, round=5, responses=[NewResponse(mine.pk, "one"), NewResponse(foreign.pk, "two")])
    assert not Response.objects.filter(author=author).exists()


def test_comparisons_pair_this_rounds_responses_and_open_a_slot_for_each_wanted_judgment(
    project: Project, sample: Sample
) -> None:
    project.overlap = 3
    prompt = make_prompt(project, split="reserved")
    sample(prompt, ["one", "two", "three", "four"])
    assert form(project, prompt) == 2
    made = list(Comparison.objects.filter(prompt=prompt))
    assert {(entry.split, entry.round, entry.purpose) for entry in made} == {("reserved", 5, "collect")}
    assert all(entry.first_id < entry.second_id for entry in made)
    assert len({pk for entry in made for pk in (entry.first_id, entry.second_id)}) == 4
    assert [entry.slots.filter(state="open", kind="pair").count() for entry in made] == [3, 3]


def test_forming_again_makes_nothing_and_new_responses_make_new_pairs(project: Project, sample: Sample) -> None:
    prompt = make_prompt(project)
    sample(prompt, ["one", "two", "three", "four"])
    assert form(project, prompt) == 2
    assert form(project, prompt, seed=2) == 0
    sample(prompt, ["five", "six"])
    assert form(project, prompt, per_prompt=1, seed=3) == 1
    newest = Comparison.objects.latest("pk")
    assert {newest.first.text, newest.second.text} == {"five", "six"}


def test_one_response_or_another_rounds_responses_make_no_comparison(project: Project, sample: Sample) -> None:
    prompt = make_prompt(project)
    sample(prompt, ["one"])
    author = policy_author(project=project, number=0, name="base")
    add_responses(author=author, round=4, responses=[NewResponse(prompt.pk, "old")])
    assert form(project, prompt) == 0


def test_a_project_is_asked_only_for_what_it_wants(project: Project, sample: Sample) -> None:
    prompt = make_prompt(project)
    sample(prompt, ["one", "two"])
    project.judging = Project.Judging.THUMBS
    assert form(project, prompt) == 0
    project.judging = Project.Judging.PAIRS
    assert form_thumb_slots(project=project, round=5, prompt_ids=[prompt.pk]) == 0


def test_thumbs_are_asked_once_for_each_response_or_for_some_of_them(project: Project, sample: Sample) -> None:
    project.overlap = 2
    prompt, other = make_prompt(project), make_prompt(project)
    sample(prompt, ["one", "two", "three"])
    sample(other, ["one", "two", "three"])
    ask = {"project": project, "round": 5, "rng": random.Random(1)}
    assert form_thumb_slots(**ask, prompt_ids=[prompt.pk], per_prompt=2) == 4  # type: ignore[arg-type]
    assert form_thumb_slots(**ask, prompt_ids=[prompt.pk], per_prompt=2) == 0  # type: ignore[arg-type]
    assert form_thumb_slots(**ask, prompt_ids=[prompt.pk, other.pk]) == 8  # type: ignore[arg-type]
    assert Slot.objects.filter(kind="thumb", response__round=5).count() == 12


def test_the_number_of_queries_does_not_grow_with_the_prompts(
    project: Project, sample: Sample, django_assert_max_num_queries: Callable[[int], object]
) -> None:
    prompts = [make_prompt(project) for _ in range(40)]
    for prompt in prompts:
        sample(prompt, ["one", "two", "three", "four"])
    with django_assert_max_num_queries(10):  # type: ignore[attr-defined]
        assert form(project, *prompts) == 80


def test_open_slots_counts_what_the_worst_served_member_can_still_be_given(project: Project, sample: Sample) -> None:
    Slot.objects.all().delete()
    project.overlap = 2
    prompt = make_prompt(project)
    sample(prompt, ["one", "two", "three", "four"])
    form(project, prompt)
    assert open_slots(project, "pair") == 4
    assert open_slots(project, "pair", round_number=4) == 0
    bob = make_user("worst-served")
    for comparison in Comparison.objects.filter(prompt=prompt):
        slot = comparison.slots.first()
        assert slot is not None
        Slot.objects.filter(pk=slot.pk).update(state="done", annotator=bob)
    # Two are open, and both are second opinions on what this person has judged already.
    assert Slot.objects.filter(state="open").count() == 2
    assert open_slots(project, "pair") == 0
    assert open_slots(project, "thumb") == 0


def test_a_share_of_the_comparisons_is_judged_by_several_people(project: Project, sample: Sample) -> None:
    project.overlap, project.overlap_percent = 3, 15
    project.save()
    prompts = [make_prompt(project) for _ in range(400)]
    for prompt in prompts:
        sample(prompt, ["One.", "Two."])
    assert form(project, *prompts, per_prompt=1) == 400
    slots = Counter(Slot.objects.filter(comparison__round=5).values_list("comparison", flat=True))
    assert set(slots.values()) == {1, 3}
    # 60 are expected; beyond four standard deviations (7.1 each) the draw would be wrong, whatever the seed.
    assert 32 < sum(count == 3 for count in slots.values()) < 88


@pytest.mark.parametrize(("percent", "slots"), [(0, 1), (100, 2)])
def test_no_share_and_the_whole_share_are_exact(project: Project, sample: Sample, percent: int, slots: int) -> None:
    project.overlap, project.overlap_percent = 2, percent
    project.save()
    prompts = [make_prompt(project) for _ in range(20)]
    for prompt in prompts:
        sample(prompt, ["One.", "Two."])
    form(project, *prompts, per_prompt=1)
    assert Slot.objects.filter(comparison__round=5).count() == 20 * slots
