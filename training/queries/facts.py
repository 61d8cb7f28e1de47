"""The facts that ``loop.decide`` decides on, read from the tables at one moment."""

from datetime import datetime, timedelta
from pathlib import Path

from django.db.models import Exists, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from annotate.models import COUNTS, STANDS, Adjudication, Aggregation, Judgment, OrderVerdict, Project, Prompt, Ranking
from annotate.said import Said
from training.engine.methods import METHODS
from training.loop import ActiveRecipe, ActiveRun, LastSampling, LoopFacts
from training.models import Job, Loop, RecipeRun, Round, Run, SnapshotComparison, SnapshotItem, SnapshotLineup
from training.paths import is_starter
from training.queries.queue import open_items
from training.queries.stock import collected, ranked, rated
from training.states import JOB_ACTIVE, JOB_TERMINAL, RUN_ACTIVE


def gather(loop: Loop, *, now: datetime | None = None) -> LoopFacts:
    """Everything ``decide`` wants to know about this loop."""
    project = loop.project
    opened = Round.objects.filter(project=project, closed_at__isnull=True).first()
    waiting = open_items(project, round_number=opened.number) if opened else {}
    last_run = Run.objects.filter(project=project).order_by("-id").first()
    return LoopFacts(
        now=now or timezone.now(),
        paused=loop.paused_at is not None,
        train_prompts=project.prompts.filter(split=Prompt.Split.TRAIN).count(),
        open_items=min(waiting.values(), default=0),
        queue_target=loop.queue_target,
        sampling=Job.objects.filter(project=project, kind=Job.Kind.SAMPLE, state__in=JOB_ACTIVE).exists(),
        new_judgments=new_decisions(project, method=loop.method),
        train_after=loop.train_after,
        train_every=None if loop.train_every_hours is None else timedelta(hours=loop.train_every_hours),
        last_round_at=last_run.created_at if last_run else project.created_at,
        last_sampling=_last_sampling(project, round_number=opened.number if opened else 0),
        run=_active(Run.objects.filter(project=project, state__in=RUN_ACTIVE).first() or last_run),
        recipe=_recipe(project),
        obstacle=_obstacle(loop),
    )


def new_decisions(project: Project, *, method: str) -> int:
    """Judgments and rankings (or ratings, where single answers are learnt from) that no run has frozen yet.

    A ranking counts once, as what one person did, however many pairs it makes; one with nothing but ties does not.
    Counted against every earlier run, whatever became of it: one that failed or was cancelled must not start over by
    itself. The next run trains on those decisions all the same: no policy has learnt from them. A reviewer's verdict on
    what is frozen already counts where the loop's rule heeds it and it says something new.
    """
    seen = _frozen().filter(judgment=OuterRef("pk"))
    singles = METHODS[method].data == "unpaired"
    choices = ["A", "B", "both_bad"] if singles else ["A", "B"]
    count = collected(project).filter(~Exists(seen), choice__in=choices).count()
    count += _new_verdicts(project, choices=choices)
    if singles:
        return count + rated(project).filter(~Exists(_frozen().filter(rating=OuterRef("pk")))).count()
    count += ranked(project).filter(~Exists(_frozen().filter(ranking=OuterRef("pk")))).count()
    return count + _new_orders(project)


def _frozen() -> QuerySet[SnapshotItem]:
    """Of runs whose policy learned which answers are better. What was only imitated, or went into a reward model, is
    still to be learned from."""
    others = [name for name, method in METHODS.items() if method.imitates or method.makes_reward_model]
    return SnapshotItem.objects.exclude(snapshot__run__method__in=others)


def _heeds_verdicts(project: Project) -> bool:
    rule = Loop.objects.filter(project=project).values_list("aggregation", flat=True).first()
    return rule in (Aggregation.ADJUDICATED, Aggregation.DAWID_SKENE)


def _new_verdicts(project: Project, *, choices: list[str]) -> int:
    """Comparisons of which no judgment is new, but the verdict is, and says otherwise than what was frozen last."""
    if not _heeds_verdicts(project):
        return 0
    judged = Judgment.objects.filter(COUNTS, comparison=OuterRef("comparison"))
    seen = _frozen().filter(judgment=OuterRef("pk"))
    frozen = SnapshotComparison.objects.filter(comparison=OuterRef("comparison")).order_by("-snapshot_id")
    verdicts = Adjudication.objects.filter(
        STANDS,
        Exists(judged),
        ~Exists(judged.filter(~Exists(seen), choice__in=choices)),
        verdict__in=["first", "second"] + (["both_bad"] if "both_bad" in choices else []),
        comparison__project=project,
        comparison__purpose="collect",
        comparison__split=Prompt.Split.TRAIN,
    )
    return verdicts.exclude(verdict=Coalesce(Subquery(frozen.values("label")[:1]), Value(""))).count()


def _new_orders(project: Project) -> int:
    """The same of lineups; a verdict that only confirms what was frozen last counts until a run has frozen it."""
    if not _heeds_verdicts(project):
        return 0
    orders = Ranking.objects.filter(COUNTS, lineup=OuterRef("lineup"))
    seen = _frozen().filter(ranking=OuterRef("pk"))
    verdicts = OrderVerdict.objects.filter(
        STANDS,
        Exists(orders),
        ~Exists(orders.filter(~Exists(seen), pairs__gt=0)),
        ~Exists(SnapshotLineup.objects.filter(verdict=OuterRef("pk"))),
        lineup__project=project,
        lineup__purpose="collect",
        lineup__split=Prompt.Split.TRAIN,
    )
    return verdicts.exclude(ranks=[]).count()


def _active(run: Run | None) -> ActiveRun | None:
    if run is None or run.state not in RUN_ACTIVE:
        return None
    scoring = Job.objects.filter(run=run, kind=Job.Kind.SCORE, state__in=JOB_ACTIVE).exists()
    return ActiveRun(run.number, run.state, run.step, run.total_steps, scoring_job=scoring)


def _recipe(project: Project) -> ActiveRecipe | None:
    running = RecipeRun.objects.filter(project=project, state="running").first()
    return None if running is None else ActiveRecipe(running.name, running.at, len(running.stages))


def _last_sampling(project: Project, *, round_number: int) -> LastSampling | None:
    """The newest sampling of the open round that has ended; another round's troubles are over."""
    job = (
        Job.objects.filter(project=project, kind=Job.Kind.SAMPLE, state__in=JOB_TERMINAL, ended_at__isnull=False)
        .order_by("-ended_at")
        .first()
    )
    if job is None or job.ended_at is None or job.payload.get("round") != round_number:
        return None
    return LastSampling(job.ended_at, int(job.payload.get("made", 0)), job.error)


def _obstacle(loop: Loop) -> str:
    """Why the base model cannot even be tried, or nothing. A hub id is left to the engine."""
    path = Path(loop.base_model)
    if path.is_absolute() and not (path / "config.json").exists():
        if is_starter(loop.base_model):
            return Said("the starter model is not built yet (manage.py up builds it)")
        return Said("there is no model in %(folder)s", folder=loop.base_model)
    return ""
