"""SFT and full fine-tuning make whole models: what follows stands on them, and is held close to the right one."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from annotate.models import User
from tests.cast import make_comparison, make_judgment, make_prompt
from tests.engineless import publish_as_trained
from training.models import Job, Loop, Policy, Run
from training.paths import adapter_folder, model_of
from training.queries.facts import new_decisions
from training.queries.invariants import broken
from training.services.loops import adopt_policy, ensure_loop
from training.services.runs import start_run
from training.services.sampling import model_ref
from training.services.scoring import start_scoring
from training.services.snapshots import run_rows

pytestmark = pytest.mark.django_db


def started(loop: Loop, method: str, **chosen: object) -> Run:
    loop.refresh_from_db()
    return start_run(loop=loop, method=method, settings=chosen, started_by=None, reason="a test")


def published(run: Run, folder: Path) -> Policy:
    """As if the engine had just finished, and scoring found nothing wrong."""
    policy = publish_as_trained(run, folder)
    adopt_policy(policy=policy)
    Run.objects.filter(pk=run.pk).update(state="finished")
    return policy


@pytest.fixture
def loop(project: object, bob: User) -> Iterator[Loop]:
    loop = ensure_loop(project=project, base_model=str(settings.STARTER_DIR))  # type: ignore[arg-type]
    for _ in range(9):
        make_judgment(make_comparison(make_prompt(loop.project), round=1), bob, "A")
    yield loop
    shutil.rmtree(settings.POLICIES_DIR, ignore_errors=True)


def test_what_follows_an_sft_policy_stands_on_it(loop: Loop, tmp_path: Path) -> None:
    base = loop.sampler
    assert base is not None
    first = published(started(loop, "sft", source="chosen"), tmp_path / "1")
    here = str(Path(settings.HOME) / first.adapter_path)
    assert first.whole
    assert (model_of(first), adapter_folder(first)) == ((here, ""), "")
    assert (model_ref(first).model, model_ref(first).adapter) == (here, "")

    run = started(loop, "dpo")
    assert (run.spec["model"], run.spec["start_adapter"], run.spec["reference"]) == (here, "", "base")
    second = published(run, tmp_path / "2")
    assert not second.whole
    assert model_of(second) == (here, "")
    assert adapter_folder(second).endswith("/2")
    third = started(loop, "sft", source="chosen")
    assert (third.spec["model"], third.spec["start_adapter"]) == (here, adapter_folder(second))
    fourth = published(third, tmp_path / "3")
    assert model_of(fourth) != model_of(second)
    assert list(broken()) == []


def test_a_whole_model_is_measured_against_the_model_that_its_training_began_from(loop: Loop, tmp_path: Path) -> None:
    run = started(loop, "sft", source="chosen")
    first = published(run, tmp_path / "1")
    job = start_scoring(run=run)
    assert job is not None
    assert job.payload["spec"]["base"] == str(settings.STARTER_DIR)
    Job.objects.all().update(state="done")
    run = started(loop, "dpo")
    published(run, tmp_path / "2")
    job = start_scoring(run=run)
    assert job is not None
    assert (job.payload["spec"]["base"], job.payload["spec"]["policy"]["model"]) == ("", model_of(first)[0])


def test_what_was_imitated_is_still_to_be_learned_from(loop: Loop, tmp_path: Path) -> None:
    loop.refresh_from_db()
    method = loop.method
    first = started(loop, "sft", source="chosen")
    assert len(run_rows(first).rows) == 9
    published(first, tmp_path / "1")
    loop.refresh_from_db()
    assert loop.method == method == "dpo"  # rounds that start by themselves go on as before
    assert new_decisions(loop.project, method="dpo") == 9
    second = started(loop, "dpo")
    assert (second.snapshot.selection, len(run_rows(second).rows)) == ("new", 9)
    assert new_decisions(loop.project, method="dpo") == 0


def test_no_page_names_a_reference_where_there_is_none(client: Client, lea: User, loop: Loop, tmp_path: Path) -> None:
    client.force_login(lea)
    for number, (method, chosen, named) in enumerate((("sft", {"source": "chosen"}, False), ("dpo", {}, True)), 1):
        published(started(loop, method, **chosen), tmp_path / str(number))
        for name in ("run", "policy"):
            page = client.get(reverse(f"training:{name}", args=[loop.pk, number])).content.decode()
            assert ("<dt>Reference</dt>" in page) == named


def test_full_fine_tuning_is_held_close_to_where_it_began_round_after_round(loop: Loop, tmp_path: Path) -> None:
    starter, base = str(settings.STARTER_DIR), loop.sampler
    run = started(loop, "dpo", adaptation="full")
    assert (run.spec["model"], run.spec["reference_model"]) == (starter, "")
    first = published(run, tmp_path / "1")
    assert first.whole
    assert first.anchor == base
    run = started(loop, "dpo", adaptation="lora")
    assert (run.spec["model"], run.spec["reference_model"]) == (model_of(first)[0], starter)
    second = published(run, tmp_path / "2")
    assert (second.whole, second.anchor) == (False, base)
    job = start_scoring(run=run)
    assert job is not None
    spec = job.payload["spec"]
    assert (spec["base"], spec["policy"]["model"], spec["previous_model"]) == (starter, model_of(first)[0], "")
    Job.objects.all().update(state="done")
    run = started(loop, "dpo", adaptation="full", reference="previous")
    assert (run.spec["start_adapter"], run.spec["reference_model"]) == (adapter_folder(second), "")
    third = published(run, tmp_path / "3")
    job = start_scoring(run=run)
    assert job is not None
    spec = job.payload["spec"]
    assert (spec["base"], spec["previous_model"]) == (starter, model_of(second)[0])
    assert spec["previous"] == adapter_folder(second)
    Job.objects.all().update(state="done")
    sft = published(started(loop, "sft", source="chosen"), tmp_path / "4")  # begins anew
    assert (third.anchor, sft.anchor) == (base, None)
