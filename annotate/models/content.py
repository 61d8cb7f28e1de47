"""What is judged: prompts, the responses to them, and the comparisons made of those."""

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from annotate.models.people import Project, User


class PromptImport(models.Model):
    """One file of prompts that was read to its end: imported + skipped = rows."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="prompt_imports")
    name = models.CharField(max_length=200)
    rows = models.PositiveIntegerField()
    imported = models.PositiveIntegerField()
    # {reason: count}, and the first few bad rows as [{"row": 3, "reason": "...", "message": "..."}].
    skipped = models.JSONField(default=dict)
    problems = models.JSONField(default=list)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-created_at", "-id"]

    def __str__(self) -> str:
        values = {"name": self.name, "imported": self.imported, "rows": self.rows}
        return gettext("%(name)s: %(imported)s of %(rows)s rows") % values


class Prompt(models.Model):
    """A conversation that wants an answer: a list of ``{"role", "content"}`` messages that ends with the user's."""

    class Split(models.TextChoices):
        TRAIN = "train", _("Train")
        RESERVED = "reserved", _("Reserved")

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="prompts")
    messages = models.JSONField()
    # sha256 of the canonical JSON of `messages`: the identity that makes a second import harmless.
    sha256 = models.CharField(max_length=64)
    split = models.CharField(max_length=10, choices=Split)
    # What the file said beside the messages (category, question id, later turns): kept, never shown to annotators.
    meta = models.JSONField(default=dict, blank=True)
    prompt_import = models.ForeignKey(
        PromptImport, on_delete=models.SET_NULL, null=True, blank=True, related_name="prompts"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["project", "sha256"], name="prompt_once_per_project"),
        ]
        indexes: ClassVar = [models.Index(fields=["project", "split", "id"], name="prompt_by_split")]

    def __str__(self) -> str:
        return f"prompt {self.pk}"


class Author(models.Model):
    """Who wrote a response: policy 7 (0 is the base), an imported file, a person. ``annotate`` knows no more of it."""

    class Kind(models.TextChoices):
        POLICY = "policy", _("Policy")
        IMPORTED = "imported", _("Imported")
        PERSON = "person", _("Person")

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="authors")
    kind = models.CharField(max_length=10, choices=Kind)
    # The policy's number (0 is the base), and nothing for the other kinds.
    number = models.PositiveIntegerField(null=True, blank=True)
    name = models.CharField(max_length=120)
    user = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["project", "number"], condition=Q(kind="policy"), name="author_policy_number_once"
            ),
            models.CheckConstraint(
                condition=Q(kind="policy", number__isnull=False) | (~Q(kind="policy") & Q(number__isnull=True)),
                name="author_number_only_for_policies",
            ),
            models.UniqueConstraint(
                fields=["project", "user"], condition=Q(kind="person", user__isnull=False), name="author_person_once"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Response(models.Model):
    """One answer to one prompt. Sampling parameters and seed are recorded; the text never changes."""

    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="responses")
    author = models.ForeignKey(Author, on_delete=models.PROTECT, related_name="responses")
    text = models.TextField()
    sha256 = models.CharField(max_length=64)
    # {"temperature", "top_p", "max_new_tokens", "seed", "index"}; empty for what was not sampled.
    sampling = models.JSONField(default=dict, blank=True)
    tokens = models.PositiveIntegerField(null=True, blank=True)
    finish_reason = models.CharField(max_length=20, blank=True)
    round = models.PositiveIntegerField(null=True, blank=True)
    # A person's rewriting of this other response: a demonstration, and a pair edited > original.
    edited_from = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="edits")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            # An author who says the same twice has said it once: exact duplicates teach nothing.
            models.UniqueConstraint(fields=["prompt", "author", "sha256"], name="response_once_per_author"),
        ]

    def __str__(self) -> str:
        return f"response {self.pk}"


class Comparison(models.Model):
    """Two responses to one prompt, to be judged. Which one is shown left is decided per slot, when it is shown."""

    class Purpose(models.TextChoices):
        COLLECT = "collect", _("Collect preferences")
        DUEL = "duel", _("Candidate against champion")
        GOLD = "gold", _("Known answer")
        RECHECK = "recheck", _("Seen before, sides swapped")

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="comparisons")
    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="comparisons")
    first = models.ForeignKey(Response, on_delete=models.PROTECT, related_name="+")
    second = models.ForeignKey(Response, on_delete=models.PROTECT, related_name="+")
    purpose = models.CharField(max_length=10, choices=Purpose, default=Purpose.COLLECT)
    # A copy of prompt.split, so that the database itself can refuse a duel on a prompt that is trained on.
    split = models.CharField(max_length=10, choices=Prompt.Split)
    # Gold only: the answer that is known to be right, told by the responses ("first", "second", "tie", "both_bad").
    expected = models.CharField(max_length=10, blank=True)
    # Gold only: why that is right, in Markdown, shown after a quiz.
    explanation = models.TextField(max_length=2000, blank=True)
    # Recheck only: the judgment that is asked again.
    original = models.ForeignKey(
        "annotate.Judgment", on_delete=models.PROTECT, null=True, blank=True, related_name="rechecks"
    )
    round = models.PositiveIntegerField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=~Q(first=F("second")), name="comparison_of_two_responses"),
            models.CheckConstraint(
                condition=~Q(purpose="duel") | Q(split="reserved"), name="comparison_duels_on_reserved_prompts"
            ),
            models.UniqueConstraint(
                fields=["first", "second"], condition=Q(purpose="collect"), name="comparison_collected_once"
            ),
            models.CheckConstraint(condition=Q(purpose="gold") ^ Q(expected=""), name="comparison_gold_is_known"),
            models.CheckConstraint(
                condition=Q(purpose="recheck", original__isnull=False)
                | (~Q(purpose="recheck") & Q(original__isnull=True)),
                name="comparison_recheck_of_something",
            ),
            models.UniqueConstraint(fields=["original"], name="comparison_rechecked_once"),
        ]
        indexes: ClassVar = [models.Index(fields=["project", "round"], name="comparison_by_round")]

    def __str__(self) -> str:
        return f"comparison {self.pk}"
