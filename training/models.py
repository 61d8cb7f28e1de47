"""The trainer app's tables: the loop's settings, rounds, policies, snapshots, runs, and the leased jobs behind them.

The states and their moves are described in ``training.states``. The arrow is ``training -> annotate``: nothing there
points here.
"""

import uuid
from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from annotate.models import (
    Adjudication,
    Aggregation,
    Author,
    Comparison,
    Judgment,
    Lineup,
    OrderVerdict,
    Project,
    Prompt,
    Ranking,
    RankingPairs,
    Rating,
    User,
)
from annotate.models.said import SaidField
from annotate.telling import told
from training.engine.methods import METHODS


def method_choices() -> list[tuple[str, str]]:
    """The methods that the engine knows. A callable, so that another one costs no migration."""
    return [(method.name, told(method.label)) for method in METHODS.values()]


class Reference(models.TextChoices):
    BASE = "base", _("The base model")
    PREVIOUS = "previous", _("The policy the run starts from")


class Loop(models.Model):
    """A project's side of the trainer: which base model, how to sample, when a round starts by itself."""

    project = models.OneToOneField(Project, on_delete=models.CASCADE, related_name="loop", primary_key=True)
    base_model = models.CharField(
        max_length=300,
        help_text=_("A local model folder, or a hub id. Set before the first answers are sampled."),
    )
    base_revision = models.CharField(
        max_length=80, blank=True, help_text=_("Commit of a hub model; empty for a folder.")
    )

    responses_per_prompt = models.PositiveSmallIntegerField(
        default=4, validators=[MinValueValidator(2), MaxValueValidator(16)]
    )
    temperature = models.FloatField(default=1.0, validators=[MinValueValidator(0.05), MaxValueValidator(3)])
    top_p = models.FloatField(default=1.0, validators=[MinValueValidator(0.05), MaxValueValidator(1)])
    max_new_tokens = models.PositiveIntegerField(
        default=256, validators=[MinValueValidator(1), MaxValueValidator(8192)]
    )
    pairs_per_prompt = models.PositiveSmallIntegerField(
        default=2,
        validators=[MinValueValidator(1), MaxValueValidator(16)],
        help_text=_("How many comparisons are made of one prompt's answers in a round."),
    )
    queue_target = models.PositiveIntegerField(
        default=60,
        validators=[MinValueValidator(4), MaxValueValidator(10_000)],
        help_text=_("Sample more when fewer open items than this wait for the annotators."),
    )

    train_after = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(4)],
        help_text=_("Start a round after this many new judgments."),
    )
    train_every_hours = models.FloatField(
        null=True, blank=True, validators=[MinValueValidator(0.01)], help_text=_("Start a round every so many hours.")
    )
    replay_percent = models.PositiveSmallIntegerField(
        default=25,
        validators=[MaxValueValidator(400)],
        help_text=_("For every hundred new judgments, so many old ones are trained on again."),
    )
    aggregation = models.CharField(
        max_length=20,
        choices=Aggregation,
        default=Aggregation.ADJUDICATED,
        help_text=_("How several judgments of one comparison become training rows."),
    )
    ranking_pairs = models.CharField(
        max_length=20,
        choices=RankingPairs,
        default=RankingPairs.BEST_WORST,
        help_text=_("Which two answers of a ranking become a training row."),
    )
    # What a round that starts by itself trains with: a method and its spec, as the form last saved them.
    method = models.CharField(max_length=20, choices=method_choices, default="dpo")
    settings = models.JSONField(default=dict, blank=True)
    paused_at = models.DateTimeField(null=True, blank=True)

    # The policy that is served and exported, and the one that the next answers are sampled from. Moving an alias is
    # all that promotion and rollback do.
    champion = models.ForeignKey("Policy", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    sampler = models.ForeignKey("Policy", on_delete=models.PROTECT, null=True, blank=True, related_name="+")

    # What the tick last decided and why, in a sentence.
    decision = models.CharField(max_length=20, blank=True)
    reason = SaidField(blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"loop of {self.project}"


class Round(models.Model):
    """One turn of the loop. It opens when its policy starts to sample and closes when its run ends with a policy."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="rounds")
    number = models.PositiveIntegerField()
    policy = models.ForeignKey("Policy", on_delete=models.PROTECT, related_name="rounds")
    opened_at = models.DateTimeField(auto_now_add=True)
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-number"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["project", "number"], name="round_number_once"),
            models.UniqueConstraint(fields=["project"], condition=Q(closed_at__isnull=True), name="round_open_once"),
        ]

    def __str__(self) -> str:
        return f"round {self.number}"


class Policy(models.Model):
    """An immutable, numbered version of the model: the base (number 0), or the base plus an adapter."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="policies")
    number = models.PositiveIntegerField()
    parent = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="children")
    author = models.OneToOneField(Author, on_delete=models.PROTECT, related_name="policy")
    run = models.OneToOneField("Run", on_delete=models.PROTECT, null=True, blank=True, related_name="policy")
    # The base it stands on, copied so that a changed project setting cannot change what this policy is.
    base_model = models.CharField(max_length=300)
    base_revision = models.CharField(max_length=80, blank=True)
    # Folder of its own weights below the data folder: an adapter, or a whole model. Empty for the base.
    adapter_path = models.CharField(max_length=300, blank=True)
    # Folder below the data folder of the whole model that it stands on, or is, where one was made; empty: base_model.
    # "Without the adapter" is that model, so it is what later policies are held close to.
    model_path = models.CharField(max_length=300, blank=True)
    # The policy whose model it is held close to and measured against, where that is not the one it stands on: full
    # fine-tuning makes a model a round, and they would drift without end if each were held close to the last.
    anchor = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    manifest = models.JSONField(default=dict, blank=True)
    manifest_sha256 = models.CharField(max_length=64, blank=True)
    # What scoring found (see docs/reference/metrics.md), and whether the guards let it be sampled from.
    metrics = models.JSONField(default=dict, blank=True)
    guard_failures = models.JSONField(default=list, blank=True)
    scored_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-number"]
        verbose_name_plural = "policies"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["project", "number"], name="policy_number_once"),
            models.CheckConstraint(
                condition=Q(number=0, adapter_path="") | (Q(number__gt=0) & ~Q(manifest_sha256="")),
                name="policy_trained_has_a_manifest",
            ),
        ]

    def __str__(self) -> str:
        return gettext("base") if self.number == 0 else gettext("policy %(number)s") % {"number": self.number}

    @property
    def whole(self) -> bool:
        """Are its own weights a whole model, and not an adapter?"""
        return bool(self.adapter_path) and self.adapter_path == self.model_path


class Snapshot(models.Model):
    """The frozen, hashed list of judgments, ratings and rankings that one run trains on. used + skipped = its items."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="snapshots")
    # sha256 over the canonical training rows, in order.
    sha256 = models.CharField(max_length=64)
    # How several judgments of one comparison became rows. Under "single" there are no SnapshotComparisons.
    aggregation = models.CharField(max_length=20, choices=Aggregation, default=Aggregation.SINGLE)
    ranking_pairs = models.CharField(max_length=20, choices=RankingPairs, default=RankingPairs.ALL)
    # "new": what the parent had not learnt from, and `replayed` decisions that it had. "all": every current decision.
    # "reward": what the run's reward model learned from.
    selection = models.CharField(max_length=10, default="all")
    replayed = models.PositiveIntegerField(default=0)
    # The snapshot of an earlier run whose decisions it holds again, so that two runs can be compared. What became of
    # them is each run's own.
    copied_from = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="copies")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"snapshot {self.pk}"


class Outcome(models.TextChoices):
    PENDING = "pending", _("Not trained yet")
    USED = "used", _("Used")
    SKIPPED = "skipped", _("Skipped")


class SnapshotComparison(models.Model):
    """One comparison in a snapshot, what the rule made of its judgments (``items``), and what became of the row.

    The decision is frozen: later judgments, verdicts and retractions change nothing here.
    """

    snapshot = models.ForeignKey(Snapshot, on_delete=models.CASCADE, related_name="comparisons")
    comparison = models.ForeignKey(Comparison, on_delete=models.PROTECT, related_name="+")
    # As ``annotate.aggregation`` says it: first, second, tie, both_bad, undecided, excluded, skip.
    label = models.CharField(max_length=10)
    # Share of the votes, or the probability under Dawid-Skene; null where a reviewer decided or nobody did.
    support = models.FloatField(null=True, blank=True)
    adjudication = models.ForeignKey(Adjudication, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    outcome = models.CharField(max_length=10, choices=Outcome, default=Outcome.PENDING)
    reason = models.CharField(max_length=60, blank=True)

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["snapshot", "comparison"], name="snapshot_comparison_once"),
            models.CheckConstraint(
                condition=Q(outcome="skipped") ^ Q(reason=""), name="snapshot_comparison_skipped_for_a_reason"
            ),
        ]

    def __str__(self) -> str:
        return f"comparison {self.comparison_id} in snapshot {self.snapshot_id}: {self.label}"


class SnapshotLineup(models.Model):
    """One lineup in a snapshot, what the rule made of its rankings (``items``) pair by pair, and what became of it."""

    snapshot = models.ForeignKey(Snapshot, on_delete=models.CASCADE, related_name="lineups")
    lineup = models.ForeignKey(Lineup, on_delete=models.PROTECT, related_name="+")
    # A list of [first response, second, label, support, why it makes no row or ""], as ``annotate.orders`` says it.
    pairs = models.JSONField()
    verdict = models.ForeignKey(OrderVerdict, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    outcome = models.CharField(max_length=10, choices=Outcome, default=Outcome.PENDING)
    reason = models.CharField(max_length=60, blank=True)

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["snapshot", "lineup"], name="snapshot_lineup_once"),
            models.CheckConstraint(
                condition=Q(outcome="skipped") ^ Q(reason=""), name="snapshot_lineup_skipped_for_a_reason"
            ),
        ]

    def __str__(self) -> str:
        return f"lineup {self.lineup_id} in snapshot {self.snapshot_id}"


class SnapshotItem(models.Model):
    """One judgment, rating or ranking in a snapshot, and what became of it: from a policy to every one, and back."""

    Outcome = Outcome

    snapshot = models.ForeignKey(Snapshot, on_delete=models.CASCADE, related_name="items")
    # The comparison that a judgment was counted in, when the snapshot's rule decides comparisons.
    counted_in = models.ForeignKey(
        SnapshotComparison, on_delete=models.CASCADE, null=True, blank=True, related_name="items"
    )
    # The lineup that a ranking was counted in, likewise.
    counted_in_lineup = models.ForeignKey(
        SnapshotLineup, on_delete=models.CASCADE, null=True, blank=True, related_name="items"
    )
    judgment = models.ForeignKey(
        Judgment, on_delete=models.PROTECT, null=True, blank=True, related_name="snapshot_items"
    )
    rating = models.ForeignKey(Rating, on_delete=models.PROTECT, null=True, blank=True, related_name="snapshot_items")
    ranking = models.ForeignKey(Ranking, on_delete=models.PROTECT, null=True, blank=True, related_name="snapshot_items")
    outcome = models.CharField(max_length=10, choices=Outcome, default=Outcome.PENDING)
    reason = models.CharField(max_length=60, blank=True)

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(judgment__isnull=False, rating__isnull=True, ranking__isnull=True)
                | Q(judgment__isnull=True, rating__isnull=False, ranking__isnull=True)
                | Q(judgment__isnull=True, rating__isnull=True, ranking__isnull=False),
                name="snapshot_item_is_one_thing",
            ),
            models.UniqueConstraint(fields=["snapshot", "judgment"], name="snapshot_judgment_once"),
            models.UniqueConstraint(fields=["snapshot", "rating"], name="snapshot_rating_once"),
            models.UniqueConstraint(fields=["snapshot", "ranking"], name="snapshot_ranking_once"),
            models.CheckConstraint(
                condition=Q(outcome="skipped") ^ Q(reason=""), name="snapshot_item_skipped_for_a_reason"
            ),
        ]

    def __str__(self) -> str:
        return f"item {self.pk} of snapshot {self.snapshot_id}"


class Recipe(models.Model):
    """A named sequence of stages, run as one. Each run of it keeps a copy, so it may change at any time."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="recipes")
    name = models.CharField(max_length=80)
    # In order, as ``training.recipes.Stage`` writes itself.
    stages = models.JSONField(default=list, blank=True)
    # Grows with each change: a form that was opened before somebody else's change is refused.
    version = models.PositiveIntegerField(default=1)
    archived_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["project", "name"], condition=Q(archived_at__isnull=True), name="recipe_name_once"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class RecipeRun(models.Model):
    """A recipe under way, or what became of it: its stages as they were when it began; ``runs`` is what was done."""

    class State(models.TextChoices):
        RUNNING = "running", _("Running")
        FINISHED = "finished", _("Finished")
        STOPPED = "stopped", _("Stopped")

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="recipe_runs")
    number = models.PositiveIntegerField()
    recipe = models.ForeignKey(Recipe, on_delete=models.PROTECT, related_name="runs")
    name = models.CharField(max_length=80)
    version = models.PositiveIntegerField()
    stages = models.JSONField()
    start = models.ForeignKey(Policy, on_delete=models.PROTECT, related_name="+")
    # The stage that is under way, or at which it stopped; from 1.
    at = models.PositiveSmallIntegerField(default=1)
    state = models.CharField(max_length=10, choices=State, default=State.RUNNING)
    message = SaidField(blank=True)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-number"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["project", "number"], name="recipe_run_number_once"),
            models.UniqueConstraint(fields=["project"], condition=Q(state="running"), name="recipe_run_active_once"),
        ]

    def __str__(self) -> str:
        return f"recipe run {self.number}"


class Run(models.Model):
    """One training job: method, settings, snapshot, events, result. Its state moves as ``training.states`` draws."""

    class State(models.TextChoices):
        QUEUED = "queued", _("Queued")
        TRAINING = "training", _("Training")
        SCORING = "scoring", _("Scoring")
        FINISHED = "finished", _("Finished")
        FAILED = "failed", _("Failed")
        CANCELLED = "cancelled", _("Cancelled")

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="runs")
    round = models.ForeignKey(Round, on_delete=models.PROTECT, related_name="runs")
    number = models.PositiveIntegerField()
    snapshot = models.OneToOneField(Snapshot, on_delete=models.PROTECT, related_name="run")
    method = models.CharField(max_length=20, choices=method_choices)
    # The engine's whole TrainSpec, frozen when the run opens.
    spec = models.JSONField()
    reference = models.CharField(max_length=10, choices=Reference, default=Reference.BASE)
    parent = models.ForeignKey(Policy, on_delete=models.PROTECT, related_name="+")
    # The recipe that it is a stage of, and which; a stage that did not end well may have several runs.
    recipe_run = models.ForeignKey(RecipeRun, on_delete=models.PROTECT, null=True, blank=True, related_name="runs")
    stage = models.PositiveSmallIntegerField(null=True, blank=True)
    # What gives its answers their rewards, where the method wants that.
    reward_model = models.ForeignKey(
        "RewardModel", on_delete=models.PROTECT, null=True, blank=True, related_name="used_by"
    )
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    # A wish, not a state: the launcher polls it.
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    # Another: end early and publish what has been learnt. A cancel comes before it.
    stop_requested_at = models.DateTimeField(null=True, blank=True)
    step = models.PositiveIntegerField(default=0)
    total_steps = models.PositiveIntegerField(default=0)
    # The newest metrics, and once it has ended the engine's result.
    latest = models.JSONField(default=dict, blank=True)
    result = models.JSONField(default=dict, blank=True)
    code = models.CharField(max_length=40, blank=True)
    message = SaidField(blank=True)
    # Why it started: "Lea pressed Start", "50 new judgments".
    reason = SaidField(blank=True)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["project", "number"], name="run_number_once"),
            # One run at a time in a project: the next round samples from its result.
            models.UniqueConstraint(
                fields=["project"], condition=Q(state__in=["queued", "training", "scoring"]), name="run_active_once"
            ),
            models.CheckConstraint(
                condition=Q(recipe_run__isnull=True, stage__isnull=True)
                | Q(recipe_run__isnull=False, stage__isnull=False),
                name="run_of_a_recipe_names_its_stage",
            ),
        ]

    def __str__(self) -> str:
        return f"run {self.number}"

    @property
    def held_close_to(self) -> str:
        """The reference in words; empty where the method has none."""
        method = METHODS.get(self.method)
        return "" if method is not None and not method.has_reference else self.get_reference_display()

    @property
    def method_title(self) -> str:
        """The method as people write it."""
        return told(METHODS[self.method].title) if self.method in METHODS else self.method.upper()


class RewardModel(models.Model):
    """What a run of the method "reward" made: it gives answers a number, and never answers (docs/adr/0014).

    Its weights stand on the model of its run's parent.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="reward_models")
    number = models.PositiveIntegerField()
    run = models.OneToOneField(Run, on_delete=models.PROTECT, related_name="made_reward_model")
    manifest = models.JSONField(default=dict, blank=True)
    manifest_sha256 = models.CharField(max_length=64)
    # Of the engine's result: the held-out accuracy and its interval.
    metrics = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-number"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["project", "number"], name="reward_model_number_once"),
        ]

    def __str__(self) -> str:
        return gettext("reward model %(number)s") % {"number": self.number}


class RunEvent(models.Model):
    """One thing that happened in a run: a move (from, to, why), a metric, a warning, a checkpoint."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="events")
    kind = models.CharField(max_length=20)
    step = models.PositiveIntegerField(null=True, blank=True)
    data = models.JSONField(default=dict)
    at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["id"]
        indexes: ClassVar = [models.Index(fields=["run", "kind", "id"], name="run_event_by_kind")]

    def __str__(self) -> str:
        return f"{self.kind} of run {self.run_id}"


class Job(models.Model):
    """A piece of engine work with a fenced lease. The row is the truth; the broker's message carries its id only.

    Every UPDATE that renews, finishes or publishes is filtered by the token, so that whoever lost the lease changes
    nothing (docs/adr/0004).
    """

    class Kind(models.TextChoices):
        SAMPLE = "sample", _("Sample answers")
        TRAIN = "train", _("Train")
        SCORE = "score", _("Score")
        TRIAL = "trial", _("Let two policies answer")
        MERGE = "merge", _("Merge an adapter into its base")
        PUSH = "push", _("Push to the Hub")

    class State(models.TextChoices):
        QUEUED = "queued", _("Queued")
        RUNNING = "running", _("Running")
        DONE = "done", _("Done")
        FAILED = "failed", _("Failed")
        CANCELLED = "cancelled", _("Cancelled")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="jobs")
    run = models.ForeignKey(Run, on_delete=models.CASCADE, null=True, blank=True, related_name="jobs")
    policy = models.ForeignKey(Policy, on_delete=models.CASCADE, null=True, blank=True, related_name="jobs")
    kind = models.CharField(max_length=10, choices=Kind)
    # The frozen plan: the engine's spec, and the ids of its rows where they are not the run's snapshot.
    payload = models.JSONField(default=dict)
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    owner = models.CharField(max_length=120, blank=True)
    token = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    attempt = models.PositiveSmallIntegerField(default=0)
    rung_at = models.DateTimeField(null=True, blank=True)
    error = SaidField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["created_at"]
        indexes: ClassVar = [
            models.Index(fields=["state", "lease_until"], condition=Q(state__in=["queued", "running"]), name="job_due"),
        ]
        constraints: ClassVar = [
            # Two ticks at once may both decide to sample; one of them finds the job there.
            models.UniqueConstraint(
                fields=["project", "kind"],
                condition=Q(state__in=["queued", "running"], kind__in=["sample", "train", "score"]),
                name="job_active_once",
            ),
            # Two presses on the same button.
            models.UniqueConstraint(
                fields=["policy", "kind"],
                condition=Q(state__in=["queued", "running"], kind__in=["merge", "push"]),
                name="job_active_once_for_policy",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} job {self.pk}"


class Trial(models.Model):
    """Two policies answer the same prompts, with the same settings and seed, for a lead to look at.

    Nothing of it is judged or trained on. Its job holds the frozen spec, and says how far it is.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="trials")
    left = models.ForeignKey(Policy, on_delete=models.PROTECT, related_name="+")
    right = models.ForeignKey(Policy, on_delete=models.PROTECT, related_name="+")
    job = models.OneToOneField(Job, on_delete=models.CASCADE, related_name="trial")
    # {"temperature", "top_p", "max_new_tokens", "seed"}: the same for both sides.
    sampling = models.JSONField()
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"trial {self.pk}"


class TrialRow(models.Model):
    """One conversation of a trial, frozen, and both answers once they are there."""

    trial = models.ForeignKey(Trial, on_delete=models.CASCADE, related_name="rows")
    place = models.PositiveSmallIntegerField()
    # The project's prompt it came from, or was turned into; none for what a lead typed.
    prompt = models.ForeignKey(Prompt, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    messages = models.JSONField()
    # {"text", "tokens", "finish_reason"}; empty until answered, and where the engine skipped it (`skipped` says why).
    left = models.JSONField(default=dict, blank=True)
    right = models.JSONField(default=dict, blank=True)
    skipped = models.CharField(max_length=60, blank=True)

    class Meta:
        ordering: ClassVar = ["place"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["trial", "place"], name="trial_row_once"),
        ]

    def __str__(self) -> str:
        return f"row {self.place} of trial {self.trial_id}"


class TickSlot(models.Model):
    """Proof that a periodic thing was done in its slot of time: two beats insert the same row and one of them loses."""

    name = models.CharField(max_length=40)
    slot = models.BigIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["name", "slot"], name="tick_slot_once")]

    def __str__(self) -> str:
        return f"{self.name} {self.slot}"


class Worker(models.Model):
    """A machine that does engine work, as the engine last saw it (``training.engine.machine.Machine``)."""

    host = models.CharField(max_length=255, unique=True)
    facts = models.JSONField()
    seen_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.host


class BaseFacts(models.Model):
    """How large a base model is, as the engine counted it (``training.engine.sizes.ModelFacts``)."""

    model = models.CharField(max_length=300, unique=True)
    facts = models.JSONField()
    seen_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "base facts"

    def __str__(self) -> str:
        return self.model
