"""Which methods a project is offered, and a run from the command line: the same service as the page's."""

import re
from io import StringIO
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from annotate.models import Project, User
from tests.cast import make_comparison, make_judgment, make_prompt, make_rating, make_response
from tests.web.test_runs import form_data
from training.models import Job, Loop, Run
from training.queries.stock import Stock, stock
from training.services.defaults import default_settings, with_changes
from training.services.loops import ensure_loop
from training.services.snapshots import run_rows

pytestmark = pytest.mark.django_db


@pytest.fixture
def loop(project: Project) -> Loop:
    return ensure_loop(project=project, base_model=str(settings.STARTER_DIR))


def judge(project: Project, bob: User, choices: str, split: str = "train") -> None:
    for choice in choices:
        comparison = make_comparison(make_prompt(project, split=split), round=1)
        make_judgment(comparison, bob, {"A": "A", "b": "both_bad", "t": "tie"}[choice])


def start(project: Project, *arguments: str) -> Run:
    call_command("train", "--project", str(project.pk), *arguments, stdout=StringIO())
    return Run.objects.get(project=project)


def test_what_there_is_to_learn_from_is_counted_by_method(loop: Loop, bob: User) -> None:
    judge(loop.project, bob, "AAAbt")
    judge(loop.project, bob, "AA", split="reserved")
    make_rating(make_response(make_prompt(loop.project)), bob, "up")
    found = stock(loop.project)
    assert found == Stock(preferences=3, both_bad=1, edits=0, ranking_pairs=0, up=1, down=0)
    assert (found.pairs, found.good, found.bad) == (3, 4, 5)


def test_the_form_says_beside_each_method_what_there_is_for_it(
    client: Client, alice: User, loop: Loop, bob: User
) -> None:
    judge(loop.project, bob, "b")
    client.force_login(alice)
    page = client.get(reverse("training:start", args=[loop.project.pk])).content.decode()
    said = re.findall(r'<span class="segment-stock( none)?">([^<]*)</span>', page)
    assert (" none", "0 pairs") in said
    assert (" none", "0 good and 2 bad answers") in said
    for loss in ("cdpo", "sft_mixed", "sppo_hard"):
        assert f'value="{loss}"' in page
    assert "discopop" not in page


def test_the_command_line_starts_the_run_that_the_page_would(loop: Loop, bob: User) -> None:
    judge(loop.project, bob, "A" * 9)
    run = start(
        loop.project, "--method", "dpo", "--set", "loss_type=cdpo,sft", "--set", "label_smoothing=0.1", "--set",
        "loss_weights=1, 0.5", "--set", "ld_alpha=0.4", "--set", "f_divergence_type=reverse_kl",
    )  # fmt: skip
    assert (run.method, str(run.reason)) == ("dpo", "from the command line")
    assert (run.spec["loss_type"], run.spec["loss_weights"]) == (["cdpo", "sft"], [1, 0.5])
    assert (run.spec["label_smoothing"], run.spec["ld_alpha"]) == (0.1, 0.4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "betta=1"], "NAME among source, loss_type"),
        (["--set", "beta"], "NAME=VALUE"),
        (["--set", "beta=-1"], "beta: must be a number above 0"),
        (["--set", "label_smoothing=0.1"], "no effect on sigmoid"),
        ([], "Too few rows"),
    ],
)
def test_the_command_line_says_what_is_wrong(loop: Loop, arguments: list[str], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        start(loop.project, *arguments)
    with pytest.raises(CommandError, match="does not exist"):
        call_command("train", "--project", "999", stdout=StringIO())


@pytest.mark.parametrize(
    ("arguments", "usual"),
    [
        (["loss_type=ipo"], {"beta": 1.0}),
        (["loss_type=ipo,sft", "loss_weights=1,0.1"], {"beta": 1.0}),
        (["loss_type=sigmoid_norm"], {"beta": 5.0}),
        (["loss_type=sigmoid_norm", "beta=0.3"], {"beta": 0.3}),
        (["loss_type=exo_pair"], {"beta": 0.1, "label_smoothing": 0.001}),
        (["loss_type=cdpo"], {"beta": 0.1, "label_smoothing": 0.1}),
        (["loss_type=ipo,sigmoid"], {"beta": 0.1}),
    ],
)
def test_a_loss_brings_the_values_that_are_usual_with_it(
    loop: Loop, bob: User, arguments: list[str], usual: dict[str, float]
) -> None:
    judge(loop.project, bob, "A" * 9)
    run = start(loop.project, *(part for argument in arguments for part in ("--set", argument)))
    assert {name: run.spec[name] for name in usual} == usual


def test_a_run_like_another_with_another_loss_keeps_only_what_was_chosen(loop: Loop, bob: User) -> None:
    judge(loop.project, bob, "A" * 9)
    start(loop.project, "--set", "epochs=2")
    Run.objects.update(state="finished")
    Job.objects.update(state="done")
    call_command("train", "--project", str(loop.pk), "--like", "1", "--set", "loss_type=ipo", stdout=StringIO())
    run = Run.objects.get(number=2)
    assert (run.spec["loss_type"], run.spec["beta"], run.spec["epochs"]) == (["ipo"], 1.0, 2)
    chosen: dict[str, Any] = {"method": "dpo", "base_model": loop.base_model, "changes": {"loss_type": ["ipo"]}}
    assert with_changes(kept={"loss_type": ["sigmoid"], "beta": 0.2}, **chosen)["beta"] == 0.2
    assert with_changes(kept={"loss_type": ["sigmoid_norm"], "beta": 5.0}, **chosen)["beta"] == 1.0
    # The paper's authors hold that dividing by the spread is what biases GRPO.
    grpo = default_settings(method="grpo", base_model=loop.base_model, losses=["dr_grpo"])
    assert (grpo["scale_rewards"], default_settings(method="grpo", base_model=loop.base_model)["scale_rewards"]) == (
        False,
        True,
    )


def test_the_form_shows_what_another_loss_changes_before_it_starts_and_keeps_what_was_typed(
    client: Client, alice: User, loop: Loop, bob: User
) -> None:
    judge(loop.project, bob, "A" * 9)
    client.force_login(alice)
    address = reverse("training:start", args=[loop.pk])
    assert 'name="usual_for" value="sigmoid"' in client.get(address).content.decode()
    sent = form_data(loop, loss_type=["ipo"], usual_for="sigmoid")
    shown = client.post(address, sent)
    assert shown.status_code == 422
    page = shown.content.decode()
    assert "Beta is 1.0 now, as is usual with this loss, and was 0.1. Look, then press again." in page
    assert 'name="usual_for" value="ipo"' in page
    assert not Run.objects.exists()
    form = shown.context["form"]
    again = sent | {name: form[name].value() for name in ("beta", "usual_for")}
    assert client.post(address, again).status_code == 302
    run = Run.objects.get()
    assert (run.spec["loss_type"], run.spec["beta"]) == (["ipo"], 1.0)
    Run.objects.update(state="finished")
    Job.objects.update(state="done")
    assert client.post(address, sent | {"beta": "0.3"}).status_code == 302
    assert Run.objects.get(number=2).spec["beta"] == 0.3


def test_kto_says_the_balance_before_and_after_its_weights(client: Client, alice: User, loop: Loop, bob: User) -> None:
    judge(loop.project, bob, "AAAb")
    client.force_login(alice)
    page = client.get(reverse("training:start", args=[loop.project.pk]), {"method": "kto"}).content.decode()
    assert "3 good and 5 bad answers, a ratio of 0.60. Weights of 1.92 and 1.00 make it 1.15" in page
    assert 'name="source"' in page


def test_a_run_may_learn_from_one_kind_of_decision_only(loop: Loop, bob: User) -> None:
    judge(loop.project, bob, "A" * 4)
    for number in range(8):
        make_rating(make_response(make_prompt(loop.project)), bob, "up" if number % 2 else "down")
    run = start(loop.project, "--method", "kto", "--set", "source=ratings", "--set", "loss_type=apo_zero_unpaired")
    assert run.spec["source"] == "ratings"
    assert sorted(row["id"][0] for row in run_rows(run).rows) == ["r"] * 8
    assert run.snapshot.items.filter(reason="other_source").count() == 4
