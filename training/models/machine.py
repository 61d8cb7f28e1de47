"""What the engine last said of the machines it runs on, and of base models."""

from django.db import models


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
