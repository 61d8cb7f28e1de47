"""Where policies come from, what they learned from, and from what was judged back to the policies trained on it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db.models import Count, Q, QuerySet
from django.utils.translation import gettext_lazy as _

from annotate.models import Comparison, Lineup, Project, Response
from training.engine.methods import METHODS, foreign_knobs
from training.models import Outcome, Policy, RewardModel, Run, SnapshotItem

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

# Deeper branches are drawn at this depth, so that a phone can show them.
DEEPEST = 6
# What tells two runs of one method apart at a glance, in this order.
IN_SHORT = ("loss_type", "beta", "learning_rate", "epochs", "lora_r")


# What takes space in a row and is on no list: answers before and after, metrics of every file.
_LARGE = ("manifest", "run__result", "run__latest", "parent__manifest", "parent__metrics")


def policies_of(project: Project) -> QuerySet[Policy]:
    """The project's policies, newest first, with all that a list shows."""
    rows = project.policies.select_related("parent", "run__snapshot", "run__created_by")
    return rows.defer(*_LARGE).order_by("-number")


def reward_models_of(project: Project) -> QuerySet[RewardModel]:
    """The project's reward models, newest first, with all that a list shows."""
    return project.reward_models.select_related("run", "run__parent").defer("manifest", "run__result", "run__latest")


def offered_to(method: str, project: Project) -> list[RewardModel]:
    """The reward models that a run of this method may train against, newest first."""
    if not METHODS[method].needs_reward_model:
        return []
    return list(project.reward_models.select_related("run__snapshot__project", "run__parent"))


def in_short(run: Run | None) -> str:
    """The settings that matter most, such as "beta 0.1 · learning_rate 0.001"; those that a method lacks are left
    out, and so is its usual loss."""
    if run is None:
        return ""
    shown = []
    for name in IN_SHORT:
        value = None if name in foreign_knobs(run.method) else run.spec.get(name)
        if value in (None, "", []) or (name == "loss_type" and value in (["sigmoid"], ["kto"])):
            continue
        plain = " + ".join(map(str, value)) if isinstance(value, list) else f"{value:g}" if _number(value) else value
        shown.append(str(plain) if name == "loss_type" else f"{name} {plain}")
    return " · ".join(shown)


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


# --- The tree ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Branch:
    """One policy in the tree. ``depth`` grows where a policy has several children; ``after`` is the parent's number
    where the row above is not the parent."""

    policy: Policy
    depth: int
    after: int | None


def lineage(project: Project) -> list[Branch]:
    """Every policy below its parent, older branches first."""
    children: dict[int | None, list[Policy]] = defaultdict(list)
    shown = ("number", "parent", "project", "guard_failures", "run__number", "run__method")
    for policy in project.policies.select_related("run").only(*shown).order_by("number"):
        children[policy.parent_id].append(policy)
    rows: list[Branch] = []
    waiting: list[tuple[Policy, int, int | None]] = [(policy, 0, None) for policy in reversed(children[None])]
    while waiting:
        policy, depth, above = waiting.pop()
        told = above is not None and rows[-1].policy.number != above
        rows.append(Branch(policy, min(depth, DEEPEST), above if told else None))
        inside = depth + (len(children[policy.pk]) > 1)
        waiting += [(child, inside, policy.number) for child in reversed(children[policy.pk])]
    return rows


def ancestors(policy: Policy) -> list[Policy]:
    """The policy and those whose weights it continues, nearest first, with their runs."""
    rows = policy.project.policies.select_related("run__snapshot").defer(*_LARGE[:3])
    family = {row.pk: row for row in rows}
    found: list[Policy] = []
    pk: int | None = policy.pk
    while pk is not None:
        found.append(family[pk])
        pk = family[pk].parent_id
    return found


def descendants(policies: Iterable[Policy]) -> list[Policy]:
    """Those that continue the weights of any of the policies, which are not among them, by number."""
    roots = list(policies)
    if not roots:
        return []
    children: dict[int | None, list[Policy]] = defaultdict(list)
    for policy in Policy.objects.filter(project__in={root.project_id for root in roots}).only("number", "parent"):
        children[policy.parent_id].append(policy)
    found: dict[int, Policy] = {}
    waiting = [root.pk for root in roots]
    while waiting:
        for child in children[waiting.pop()]:
            if child.pk not in found:
                found[child.pk] = child
                waiting.append(child.pk)
    known = {root.pk for root in roots}
    return sorted((row for row in found.values() if row.pk not in known), key=lambda row: row.number)


# --- What it learned from ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Learned:
    """How many decisions a policy's own run trained on, of how many that were frozen for it."""

    used: int
    frozen: int
    judgments: int
    ratings: int
    rankings: int


def learned_by(policies: Iterable[Policy]) -> dict[int, Learned]:
    """By policy id, what each one's own run learned from; one query. Policies without a run are not there."""
    snapshots = {policy.run.snapshot_id: policy.pk for policy in policies if policy.run is not None}
    used = Q(outcome=Outcome.USED)
    rows = (
        SnapshotItem.objects.filter(snapshot__in=snapshots)
        .order_by()
        .values("snapshot")
        .annotate(
            frozen=Count("pk"),
            used=Count("pk", filter=used),
            judgments=Count("judgment", filter=used),
            ratings=Count("rating", filter=used),
            rankings=Count("ranking", filter=used),
        )
    )
    found = {
        snapshots[row["snapshot"]]: Learned(
            row["used"], row["frozen"], row["judgments"], row["ratings"], row["rankings"]
        )
        for row in rows
    }
    return {pk: found.get(pk, Learned(0, 0, 0, 0, 0)) for pk in snapshots.values()}


def learned_from(lineage_of: Iterable[Policy], *, kind: str = "") -> QuerySet[SnapshotItem]:
    """Every decision that the policies' runs trained on, the first policy's first; what was replayed comes again.

    ``kind``: "judgment", "rating" or "ranking" for those only.
    """
    snapshots = [policy.run.snapshot_id for policy in lineage_of if policy.run is not None]
    rows = SnapshotItem.objects.filter(snapshot__in=snapshots, outcome=Outcome.USED)
    if kind:
        rows = rows.filter(**{f"{kind}__isnull": False})
    return rows.select_related(
        "counted_in",
        "judgment__annotator",
        "judgment__comparison__prompt",
        "rating__annotator",
        "rating__response__prompt",
        "ranking__annotator",
        "ranking__lineup__prompt",
    ).order_by("-snapshot", "pk")


SAID: "dict[str, _StrPromise]" = {
    "first": _("first is better"),
    "second": _("second is better"),
    "tie": _("tie"),
    "both_bad": _("both bad"),
    "up": _("thumbs up"),
    "down": _("thumbs down"),
    "ranked": _("ranked"),
}


@dataclass(frozen=True, slots=True)
class Lesson:
    """One decision that a policy learned from: of what kind, about what, and by whose run it went in."""

    policy: int
    run: int
    kind: str
    id: int
    # A comparison, a response or a lineup.
    subject: int
    prompt: int
    prompt_sha256: str
    # A key of ``SAID``.
    decision: str
    # What the comparison's judgments came to together, where the snapshot decides comparisons.
    decided: str
    annotator: str
    created_at: Any
    # "current", "superseded" by an edit, or "retracted".
    now: str
    question: str

    @property
    def said(self) -> "_StrPromise | str":
        return SAID.get(self.decision, self.decision)


# The columns of the CSV file; what people wrote stays where it is.
LESSON_COLUMNS = (
    "policy",
    "run",
    "kind",
    "id",
    "subject",
    "prompt",
    "prompt_sha256",
    "decision",
    "decided",
    "annotator",
    "created_at",
    "now",
)


def lesson(item: SnapshotItem, lineage_of: Iterable[Policy]) -> Lesson:
    """The decision behind an item of ``learned_from``. People go by their pseudonym."""
    policy, run = next((row, row.run) for row in lineage_of if row.run and row.run.snapshot_id == item.snapshot_id)
    thing: Any
    if item.judgment is not None:
        thing, kind, prompt = item.judgment, "judgment", item.judgment.comparison.prompt
        subject = item.judgment.comparison_id
        first = thing.preferred_id == item.judgment.comparison.first_id
        decision = thing.choice if thing.preferred_id is None else "first" if first else "second"
    elif item.rating is not None:
        thing, kind, prompt = item.rating, "rating", item.rating.response.prompt
        subject, decision = item.rating.response_id, item.rating.value
    elif item.ranking is not None:
        thing, kind, prompt = item.ranking, "ranking", item.ranking.lineup.prompt
        subject, decision = item.ranking.lineup_id, item.ranking.value
    else:
        raise ValueError(f"{item} is about nothing")
    return Lesson(
        policy=policy.number,
        run=run.number,
        kind=kind,
        id=thing.pk,
        subject=subject,
        prompt=prompt.pk,
        prompt_sha256=prompt.sha256,
        decision=decision,
        decided=item.counted_in.label if item.counted_in is not None else "",
        annotator=thing.annotator.pseudonym,
        created_at=thing.created_at,
        now="retracted" if thing.retracted_at else "superseded" if thing.superseded_at else "current",
        question=next((m["content"] for m in reversed(prompt.messages) if m["role"] == "user"), ""),
    )


def lessons(lineage_of: Iterable[Policy], *, chunk: int = 500) -> Iterator[Lesson]:
    """All of ``learned_from`` in its order, a page of rows in memory at a time and no cursor held open."""
    for policy in lineage_of:
        last = 0
        while page := list(learned_from([policy]).filter(pk__gt=last)[:chunk]):
            yield from (lesson(item, [policy]) for item in page)
            last = page[-1].pk


# --- And back ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TrainedOn:
    """A policy whose run trained on decisions about a comparison, a lineup or a response, and their numbers."""

    policy: Policy
    decisions: list[int]


_KINDS = {Comparison: "judgment__comparison", Lineup: "ranking__lineup", Response: "rating__response"}


def trained_on(subject: Comparison | Lineup | Response) -> tuple[list[TrainedOn], list[Policy]]:
    """The policies whose own runs trained on judgments of the comparison (rankings of the lineup, ratings of the
    response), and those that continue their weights."""
    about = _KINDS[type(subject)]
    used = SnapshotItem.objects.filter(outcome=Outcome.USED, snapshot__run__policy__isnull=False, **{about: subject})
    rows = list(used.order_by("pk").values_list("snapshot__run__policy", about.partition("__")[0]))
    policies = Policy.objects.only("number", "project").in_bulk({policy for policy, _ in rows})
    own = [
        TrainedOn(policy, sorted({decision for pk, decision in rows if pk == policy.pk and decision is not None}))
        for policy in sorted(policies.values(), key=lambda row: row.number)
    ]
    return own, descendants(policies.values())
