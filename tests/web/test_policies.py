"""Policies on their pages: what they are, where they came from, and what was measured."""

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from annotate.models import Author, Project, User
from annotate.services.review import retract, reverse_retraction
from tests.cast import make_comparison, make_judgment, make_prompt
from training.models import Loop, Policy
from training.services.loops import ensure_loop
from training.services.runs import start_run

METRICS = {
    "heldout_accuracy": 0.71,
    "heldout_low": 0.58,
    "heldout_high": 0.81,
    "heldout_n": 52,
    "heldout_wins": 37,
    "kl_per_response": 4.2,
    "kl_per_response_se": 0.31,
    "kl_per_token": 0.2,
    "kl_n": 64,
    "mean_tokens": 21.9,
    "mean_tokens_base": 20.3,
    "empty_share": 0.0,
    "repetition_share": 0.02,
    "samples_n": 100,
}


@pytest.fixture
def loop(project: Project, bob: User) -> Loop:
    """A loop with a base and a scored policy 1, which is sampled from."""
    loop = ensure_loop(project=project, base_model="owner/name")
    for _ in range(20):
        make_judgment(make_comparison(make_prompt(project), round=1), bob, "A")
    run = start_run(loop=loop, method="dpo", settings={}, started_by=None, reason="20 new judgments")
    author = Author.objects.create(project=project, kind="policy", number=1, name="policy 1")
    policy = Policy.objects.create(
        project=project,
        number=1,
        run=run,
        parent=run.parent,
        author=author,
        base_model="owner/name",
        adapter_path="policies/1/1",
        manifest_sha256="f" * 64,
        metrics=METRICS,
        scored_at=timezone.now(),
    )
    Loop.objects.filter(pk=loop.pk).update(sampler=policy)
    return loop


def test_the_list_says_which_policy_gives_the_next_answers(client: Client, lea: User, loop: Loop) -> None:
    client.force_login(lea)
    page = client.get(reverse("training:policies", args=[loop.pk])).content.decode()
    assert page.index("Policy 1") < page.index("Sampler") < page.index("Base</a>") < page.index("Champion")
    assert "71 %" in page


def test_a_policy_names_its_parent_run_snapshot_and_manifest(client: Client, lea: User, loop: Loop) -> None:
    client.force_login(lea)
    page = client.get(reverse("training:policy", args=[loop.pk, 1])).content.decode()
    run = Policy.objects.get(number=1).run
    assert run is not None
    for text in ("f" * 64, run.snapshot.sha256, "Run 1", "owner/name"):
        assert text in page


def test_held_out_accuracy_comes_with_its_interval_and_number(client: Client, lea: User, loop: Loop) -> None:
    client.force_login(lea)
    page = client.get(reverse("training:policy", args=[loop.pk, 1])).content.decode()
    assert "95% interval 58 % to 81 % (Wilson), 37 of 52 judgments" in page
    assert "4.20" in page
    assert "0.31" in page


def test_an_accuracy_that_cannot_be_had_is_explained(client: Client, lea: User, loop: Loop) -> None:
    Policy.objects.filter(number=1).update(metrics=METRICS | {"heldout_accuracy": None, "heldout_n": 0})
    client.force_login(lea)
    page = client.get(reverse("training:policy", args=[loop.pk, 1])).content.decode()
    assert "judge some reserved prompts" in page


def test_a_policy_that_the_guards_hold_back_says_why(client: Client, lea: User, loop: Loop) -> None:
    Policy.objects.filter(number=1).update(guard_failures=["40% empty answers, at most 10% allowed"])
    client.force_login(lea)
    page = client.get(reverse("training:policy", args=[loop.pk, 1])).content.decode()
    assert "40% empty answers" in page
    assert "Held back" in page


def test_a_policy_that_is_not_there_is_a_404(client: Client, lea: User, loop: Loop) -> None:
    client.force_login(lea)
    assert client.get(reverse("training:policy", args=[loop.pk, 9])).status_code == 404


def test_a_policy_is_marked_while_judgments_that_it_learned_from_are_retracted(
    client: Client, lea: User, bob: User, loop: Loop
) -> None:
    policy = Policy.objects.get(project=loop.project, number=1)
    assert policy.run is not None
    learned = list(policy.run.snapshot.items.order_by("id"))
    policy.run.snapshot.items.filter(pk__in=[item.pk for item in learned[:14]]).update(outcome="used")
    policy.run.snapshot.items.filter(outcome="pending").update(outcome="skipped", reason="tie")
    client.force_login(lea)
    pages = [reverse("training:policies", args=[loop.pk]), reverse("training:policy", args=[loop.pk, 1])]
    assert not any("retracted" in client.get(url).content.decode() for url in pages)
    made = retract(project=loop.project, actor=lea, annotator=bob, reason="clicked through")
    listed, shown = (client.get(url).content.decode() for url in pages)
    assert "14 judgments retracted" in listed
    assert listed.count("judgments retracted") == 1  # the base learned from nobody
    assert "Trained on 14 judgments that were retracted since." in shown
    reverse_retraction(retraction=made, actor=lea)
    assert not any("retracted" in client.get(url).content.decode() for url in pages)
