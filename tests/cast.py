"""Makers of small test data: people, prompts, responses, comparisons, decisions. Fixtures of the cast: conftest.py."""

import hashlib
import itertools
import uuid
from typing import Any

from annotate.assign import strict_pairs
from annotate.models import (
    Author,
    Choice,
    Comparison,
    GuidelineAcknowledgement,
    Judgment,
    Lineup,
    LineupAnswer,
    Membership,
    Project,
    Prompt,
    Ranking,
    Rating,
    Response,
    Role,
    SkipReason,
    Slot,
    Thumb,
    User,
)
from annotate.prompt_files import messages_sha256

PASSWORD = "correct horse battery staple"

_numbers = itertools.count(1)


def make_user(username: str, **fields: Any) -> User:
    return User.objects.create_user(username=username, password=PASSWORD, **fields)


def join(project: Project, user: User, role: Role = Role.ANNOTATOR) -> Membership:
    """A member who has read the guideline as it is now."""
    for guideline in project.guidelines.all()[:1]:
        GuidelineAcknowledgement.objects.create(guideline=guideline, user=user)
    return Membership.objects.create(project=project, user=user, role=role)


def make_prompt(project: Project, text: str | None = None, *, split: str = "train", **fields: Any) -> Prompt:
    messages = [{"role": "user", "content": text or f"Question {next(_numbers)}: where is my parcel?"}]
    return Prompt.objects.create(
        project=project, messages=messages, sha256=messages_sha256(messages), split=split, **fields
    )


def policy_author(project: Project, number: int = 0) -> Author:
    """The author row of the base (0) or of a policy, made when it is not there yet."""
    name = "base" if number == 0 else f"policy {number}"
    author, _ = Author.objects.get_or_create(
        project=project, kind=Author.Kind.POLICY, number=number, defaults={"name": name}
    )
    return author


def make_response(prompt: Prompt, text: str | None = None, *, author: Author | None = None, **fields: Any) -> Response:
    text = text if text is not None else f"Answer {next(_numbers)}: it is on its way."
    return Response.objects.create(
        prompt=prompt,
        author=author or policy_author(prompt.project),
        text=text,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        **fields,
    )


def make_comparison(
    prompt: Prompt,
    first: Response | None = None,
    second: Response | None = None,
    *,
    slots: int = 1,
    **fields: Any,
) -> Comparison:
    """A comparison of two (new) responses, with as many open slots as judgments are wanted."""
    comparison = Comparison.objects.create(
        project=prompt.project,
        prompt=prompt,
        first=first or make_response(prompt),
        second=second or make_response(prompt),
        split=prompt.split,
        **fields,
    )
    for _ in range(slots):
        Slot.objects.create(project=prompt.project, kind=Slot.Kind.PAIR, comparison=comparison)
    return comparison


def make_judgment(
    comparison: Comparison, annotator: User, choice: str = Choice.A, *, swapped: bool = False, **fields: Any
) -> Judgment:
    """A judgment and its done slot, written straight to the tables: for tests of what reads judgments."""
    slot = comparison.slots.filter(state=Slot.State.OPEN).first() or Slot(
        project=comparison.project, kind=Slot.Kind.PAIR, comparison=comparison
    )
    slot.state, slot.annotator, slot.swapped = Slot.State.DONE, annotator, swapped
    slot.save()
    left, right = (comparison.second, comparison.first) if swapped else (comparison.first, comparison.second)
    return Judgment.objects.create(
        client_id=uuid.uuid4(),
        comparison=comparison,
        annotator=annotator,
        project=comparison.project,
        slot=slot,
        guideline=comparison.project.guidelines.first(),
        choice=choice,
        swapped=swapped,
        preferred={"A": left, "B": right}.get(choice),
        skip_reason=SkipReason.UNCLEAR if choice == Choice.SKIP else "",
        **fields,
    )


def make_rating(response: Response, annotator: User, value: str = Thumb.UP, **fields: Any) -> Rating:
    """A rating and its done slot, written straight to the tables."""
    project = response.prompt.project
    slot = Slot.objects.create(
        project=project, kind=Slot.Kind.THUMB, response=response, state=Slot.State.DONE, annotator=annotator
    )
    return Rating.objects.create(
        client_id=uuid.uuid4(),
        response=response,
        annotator=annotator,
        project=project,
        slot=slot,
        guideline=project.guidelines.first(),
        value=value,
        skip_reason=SkipReason.UNCLEAR if value == Thumb.SKIP else "",
        **fields,
    )


def make_lineup(prompt: Prompt, *texts: str, slots: int = 1, **fields: Any) -> Lineup:
    """A lineup of the texts (four new answers without them), with as many open slots as rankings are wanted."""
    lineup = Lineup.objects.create(project=prompt.project, prompt=prompt, split=prompt.split, **fields)
    for text in texts or [None] * 4:
        LineupAnswer.objects.create(lineup=lineup, response=make_response(prompt, text, round=lineup.round))
    for _ in range(slots):
        Slot.objects.create(project=prompt.project, kind=Slot.Kind.RANKING, lineup=lineup)
    return lineup


def make_ranking(lineup: Lineup, annotator: User, ranks: list[int], **fields: Any) -> Ranking:
    """A ranking of the responses in order of id ([] is a skip) and its done slot, written straight to the tables."""
    slot = lineup.slots.filter(state=Slot.State.OPEN).first() or Slot(
        project=lineup.project, kind=Slot.Kind.RANKING, lineup=lineup
    )
    slot.state, slot.annotator = Slot.State.DONE, annotator
    slot.save()
    return Ranking.objects.create(
        client_id=uuid.uuid4(),
        lineup=lineup,
        annotator=annotator,
        project=lineup.project,
        slot=slot,
        guideline=lineup.project.guidelines.first(),
        value="ranked" if ranks else "skip",
        shown=sorted(lineup.responses.values_list("pk", flat=True)),
        ranks=ranks,
        pairs=len(strict_pairs(ranks)),
        skip_reason="" if ranks else SkipReason.UNCLEAR,
        **fields,
    )
