"""What leads do to the queue: assignments of open slots to a person or a group."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from annotate.models.people import AnnotatorGroup, Project, User


class Assignment(models.Model):
    """Open slots that a lead gave to one person or one group. Undone, what is still open is everybody's again."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="assignments")
    user = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    # Null for a person's, and for a group that is no more.
    group = models.ForeignKey(AnnotatorGroup, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    # Whom it was for and what was chosen, in words that stay true when the group is renamed or gone.
    to = models.CharField(max_length=200)
    what = models.CharField(max_length=500)
    slots = models.PositiveIntegerField(default=0)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    undone_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    undone_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(user__isnull=True) | Q(group__isnull=True), name="assignment_to_one"),
        ]

    def __str__(self) -> str:
        return f"assignment {self.pk} to {self.to}"
