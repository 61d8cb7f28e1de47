"""What there is in a project to learn from, counted: so that a form can say which methods fit the data."""

from dataclasses import dataclass

from django.db.models import Count, Q, QuerySet, Sum

from annotate.models import COUNTS, Judgment, Project, Prompt, Ranking, Rating
from annotate.said import Said, counted
from training.engine.methods import METHODS
from training.engine.methods.base import Method
from training.engine.methods.kto import balance, kto_weights
from training.models import RewardModel


def collected(project: Project) -> QuerySet[Judgment]:
    """Current judgments that could be trained on: neither duels, gold questions and rechecks, nor reserved prompts."""
    return Judgment.objects.filter(
        COUNTS, project=project, comparison__purpose="collect", comparison__split=Prompt.Split.TRAIN
    )


def rated(project: Project) -> QuerySet[Rating]:
    """Current thumbs that could be trained on."""
    return Rating.objects.filter(
        COUNTS, project=project, value__in=["up", "down"], response__prompt__split=Prompt.Split.TRAIN
    )


def ranked(project: Project) -> QuerySet[Ranking]:
    """Current rankings that say of two answers which is better; no checks."""
    return Ranking.objects.filter(
        COUNTS, project=project, pairs__gt=0, lineup__purpose="collect", lineup__split=Prompt.Split.TRAIN
    )


@dataclass(frozen=True, slots=True)
class Stock:
    """Counts of what could be trained on. A comparison that three people judged counts thrice."""

    preferences: int  # judgments that prefer one answer
    both_bad: int
    edits: int  # answers that an annotator improved
    ranking_pairs: int
    up: int
    down: int
    reward_models: int = 0

    @property
    def to_imitate(self) -> int:
        """At most so many rows of "demonstrations": an answer that was preferred twice is one."""
        return self.preferences + self.up

    @property
    def pairs(self) -> int:
        """Rows of "pairs"."""
        return self.preferences + self.edits + self.ranking_pairs

    @property
    def good(self) -> int:
        """Rows of "unpaired" with thumbs up: an edited answer is one more."""
        return self.preferences + self.edits + self.up

    @property
    def bad(self) -> int:
        """Rows of "unpaired" with thumbs down."""
        return self.preferences + 2 * self.both_bad + self.down


def stock(project: Project) -> Stock:
    """The project's counts, in four queries."""
    preferred = Q(choice__in=["A", "B"])
    judged = collected(project).aggregate(
        preferences=Count("pk", filter=preferred),
        both_bad=Count("pk", filter=Q(choice="both_bad")),
        edits=Count("pk", filter=preferred & Q(edited__isnull=False)),
    )
    thumbs = rated(project).aggregate(up=Count("pk", filter=Q(value="up")), down=Count("pk", filter=Q(value="down")))
    pairs = ranked(project).aggregate(pairs=Sum("pairs"))["pairs"] or 0
    reward_models = RewardModel.objects.filter(project=project).count()
    return Stock(**judged, **thumbs, ranking_pairs=pairs, reward_models=reward_models)


@dataclass(frozen=True, slots=True)
class Offer:
    """One method, what there is for it, and whether that is anything."""

    method: Method
    there_is: Said
    fits: bool
    # What the method would make of it; empty where that needs no saying.
    note: str = ""


def offers(project: Project) -> list[Offer]:
    """Every method with what the project has for it."""
    found = stock(project)
    return [
        Offer(method, _there_is(method, found), _fits(method, found), _note(method, found))
        for method in METHODS.values()
    ]


def _there_is(method: Method, found: Stock) -> Said:
    if method.data == "unpaired":
        return Said("%(good)s good and %(bad)s bad answers", good=found.good, bad=found.bad)
    if method.data == "demonstrations":
        return Said(
            "%(edits)s improved answers, %(good)s preferred or rated up", edits=found.edits, good=found.to_imitate
        )
    if method.data == "prompts":
        return counted("%(n)s reward model", "%(n)s reward models", n=found.reward_models)
    pairs = counted("%(n)s pair", "%(n)s pairs", n=found.pairs)
    if method.needs_reward_model:
        models = counted("%(n)s reward model", "%(n)s reward models", n=found.reward_models)
        return Said("%(pairs)s, %(models)s", pairs=pairs, models=models)
    return pairs


def _fits(method: Method, found: Stock) -> bool:
    if method.data == "unpaired":
        return bool(found.good and found.bad)
    if method.needs_reward_model and not found.reward_models:
        return False
    if method.data == "prompts":
        return True
    return (found.to_imitate if method.data == "demonstrations" else found.pairs) > 0


def _note(method: Method, found: Stock) -> str:
    if method.data != "unpaired" or not _fits(method, found):
        return ""
    return balance(found.good, found.bad, *kto_weights(None, None, found.good, found.bad))
