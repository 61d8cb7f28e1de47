"""PURE: one decision as plain values, as exports, snapshots and statistics read it. No Django, no database.

``annotate.queries.records`` streams these. ``chosen`` and ``rejected`` do not appear here: they exist only at the
border.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from annotate.aggregation import Decision
from annotate.assign import strict_pairs
from annotate.orders import OrderDecision

Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """One response: its text, who wrote it ("base", "policy 7", ...), and how it was sampled."""

    id: int
    text: str
    author: str
    author_kind: str
    policy: int | None
    sampling: dict[str, Any] = field(default_factory=dict)
    # The response that a person rewrote into this one.
    edited_from: int | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """One answer is better than another, and what says so: a ``judgment``, an ``edit`` of the better answer (which is
    then better than the original), or a ``ranking``.
    """

    source: Literal["judgment", "edit", "ranking"]
    better: Answer
    worse: Answer
    # The judgment whose edit it is, where a comparison has several.
    judgment: int | None = None

    @property
    def flaw(self) -> str:
        """Why nothing can be learnt from it: "empty", "identical", or nothing."""
        better, worse = self.better.text.strip(), self.worse.text.strip()
        # Two answers that differ only in white space around them teach the tokenizer's quirks, not a preference.
        return "empty" if not better or not worse else "identical" if better == worse else ""


@dataclass(frozen=True, slots=True)
class JudgmentRecord:
    """One judgment: ``a`` was shown left (or first), ``b`` was the other, ``preferred`` is the one that won."""

    id: int
    client_id: str
    project: int
    comparison: int
    purpose: str
    prompt: int
    prompt_sha256: str
    split: str
    messages: list[Message]
    a: Answer
    b: Answer
    choice: str
    strength: int | None
    skip_reason: str
    rationale: str
    tags: list[str]
    # True when the comparison's first response was shown as B.
    swapped: bool
    annotator: str
    guideline_version: int | None
    round: int | None
    active_seconds: float | None
    shown_at: datetime | None
    created_at: datetime
    # When an edit replaced it, or a lead took it back; such ones are read only by whoever asks for them.
    superseded_at: datetime | None = None
    retracted_at: datetime | None = None
    # Which retraction took it back, and why.
    retraction: int | None = None
    retraction_reason: str = ""
    # The annotator's own version of the answer that won.
    edited: Answer | None = None

    @property
    def preferred(self) -> Answer | None:
        """The answer that won, or None for a tie, both bad, and a skip."""
        return {"A": self.a, "B": self.b}.get(self.choice)

    @property
    def other(self) -> Answer | None:
        """The answer that lost, or None for a tie, both bad, and a skip."""
        return {"A": self.b, "B": self.a}.get(self.choice)

    @property
    def pairs(self) -> list[Pair]:
        """What the judgment prefers to what: the answer that won to the other, and an edit of it to itself."""
        if self.preferred is None or self.other is None:
            return []
        judged = [Pair("judgment", self.preferred, self.other)]
        return judged if self.edited is None else [*judged, Pair("edit", self.edited, self.preferred)]


@dataclass(frozen=True, slots=True)
class PairRecord:
    """One comparison with what its judgments came to (``annotate.aggregation``): ``a`` is its first response."""

    id: int
    project: int
    purpose: str
    prompt: int
    prompt_sha256: str
    split: str
    messages: list[Message]
    a: Answer
    b: Answer
    round: int | None
    decision: Decision
    # How much better the preferred answer is, 0 to 3 (``aggregation.agreed_strength``); None where nobody said.
    strength: float | None = None
    # Better versions that annotators wrote of the answer that each preferred. They are no votes: whoever is outvoted
    # has still improved an answer.
    edits: tuple[Pair, ...] = ()

    @property
    def choice(self) -> str:
        """``first``, ``second``, or why neither was preferred."""
        return self.decision.label

    @property
    def preferred(self) -> Answer | None:
        """The answer that won, or None."""
        return {"first": self.a, "second": self.b}.get(self.choice)

    @property
    def other(self) -> Answer | None:
        """The answer that lost, or None."""
        return {"first": self.b, "second": self.a}.get(self.choice)

    @property
    def pairs(self) -> list[Pair]:
        """The answer that won to the other, if one did, and each edit to the answer that it was made of."""
        if self.preferred is None or self.other is None:
            return list(self.edits)
        return [Pair("judgment", self.preferred, self.other), *self.edits]


@dataclass(frozen=True, slots=True)
class RatingRecord:
    """One rating: thumbs ``up``, ``down`` or ``skip`` on one answer."""

    id: int
    client_id: str
    project: int
    prompt: int
    prompt_sha256: str
    split: str
    messages: list[Message]
    answer: Answer
    value: str
    skip_reason: str
    rationale: str
    tags: list[str]
    annotator: str
    guideline_version: int | None
    round: int | None
    active_seconds: float | None
    shown_at: datetime | None
    created_at: datetime
    # When an edit replaced it, or a lead took it back; such ones are read only by whoever asks for them.
    superseded_at: datetime | None = None
    retracted_at: datetime | None = None
    # Which retraction took it back, and why.
    retraction: int | None = None
    retraction_reason: str = ""


@dataclass(frozen=True, slots=True)
class RankingRecord:
    """One ranking: the answers in the order shown, and the rank of each (1 is best, equal is a tie; none of a skip)."""

    id: int
    client_id: str
    project: int
    lineup: int
    purpose: str
    prompt: int
    prompt_sha256: str
    split: str
    messages: list[Message]
    answers: list[Answer]
    ranks: list[int]
    value: str
    skip_reason: str
    rationale: str
    tags: list[str]
    annotator: str
    guideline_version: int | None
    round: int | None
    active_seconds: float | None
    shown_at: datetime | None
    created_at: datetime
    # When an edit replaced it, or a lead took it back; such ones are read only by whoever asks for them.
    superseded_at: datetime | None = None
    retracted_at: datetime | None = None
    # Which retraction took it back, and why.
    retraction: int | None = None
    retraction_reason: str = ""

    @property
    def pairs(self) -> list[Pair]:
        """Each two answers of different rank, the better one first: n(n-1)/2 when nothing is tied."""
        return [
            Pair("ranking", self.answers[better], self.answers[worse]) for better, worse in strict_pairs(self.ranks)
        ]


@dataclass(frozen=True, slots=True)
class LineupRecord:
    """One lineup with what its rankings came to (``annotate.orders``): ``answers`` in order of id."""

    id: int
    project: int
    purpose: str
    prompt: int
    prompt_sha256: str
    split: str
    messages: list[Message]
    answers: list[Answer]
    round: int | None
    decision: OrderDecision

    @property
    def pairs(self) -> list[Pair]:
        """Each two answers that were decided for one of them, the better one first."""
        answers = {answer.id: answer for answer in self.answers}
        return [Pair("ranking", answers[better], answers[worse]) for better, worse in self.decision.better]
