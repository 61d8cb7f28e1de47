"""Answers without a model, for tests that are about what comes after."""

from random import Random

from annotate.services.content import NewResponse, add_responses, form_comparisons
from training.models import Loop, Policy


def answers_for(loop: Loop) -> None:
    """Two answers of the base to every train prompt, and a pair of them that waits."""
    prompts = list(loop.project.prompts.filter(split="train").values_list("pk", flat=True))
    answers = [
        NewResponse(pk, text)
        for pk in prompts
        for text in (f"It left us on day {pk}, sorry for the wait.", f"Wait {pk}.")
    ]
    base = Policy.objects.select_related("author").get(project=loop.project, number=0)
    add_responses(author=base.author, round=1, responses=answers)
    form_comparisons(project=loop.project, round=1, prompt_ids=prompts, per_prompt=1, rng=Random(0))
