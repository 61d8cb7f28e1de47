"""Two tables: what is judged, and what was said."""

from django.db import models


class Item(models.Model):
    """Two answers to one prompt."""

    prompt = models.TextField()
    left = models.TextField()
    right = models.TextField()

    def __str__(self) -> str:
        return f"item {self.pk}"


class Vote(models.Model):
    """One decision on one item."""

    item = models.ForeignKey(Item, on_delete=models.CASCADE)
    choice = models.CharField(max_length=10)
    person = models.IntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"vote {self.pk}"
