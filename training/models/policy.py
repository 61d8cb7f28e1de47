"""What training makes: policies, which answer, and reward models, which never do."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext

from annotate.models import Author, Project


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


class RewardModel(models.Model):
    """What a run of the method "reward" made: it gives answers a number, and never answers (docs/adr/0014).

    Its weights stand on the model of its run's parent.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="reward_models")
    number = models.PositiveIntegerField()
    run = models.OneToOneField("Run", on_delete=models.PROTECT, related_name="made_reward_model")
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
