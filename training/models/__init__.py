"""The trainer app's tables: the loop's settings, rounds, policies, snapshots, runs, and the leased jobs behind them.

Verbs live in ``training.services``, questions in ``training.queries``. The arrow is ``training -> annotate``: nothing
there points here.
"""

from training.models.job import Job, TickSlot
from training.models.loop import Loop, Round
from training.models.machine import BaseFacts, Worker
from training.models.method import Reference, method_choices
from training.models.policy import Policy, RewardModel
from training.models.recipe import Recipe, RecipeRun
from training.models.run import Run, RunEvent
from training.models.snapshot import Outcome, Snapshot, SnapshotComparison, SnapshotItem, SnapshotLineup
from training.models.trial import Trial, TrialRow

__all__ = [
    "BaseFacts",
    "Job",
    "Loop",
    "Outcome",
    "Policy",
    "Recipe",
    "RecipeRun",
    "Reference",
    "RewardModel",
    "Round",
    "Run",
    "RunEvent",
    "Snapshot",
    "SnapshotComparison",
    "SnapshotItem",
    "SnapshotLineup",
    "TickSlot",
    "Trial",
    "TrialRow",
    "Worker",
    "method_choices",
]
