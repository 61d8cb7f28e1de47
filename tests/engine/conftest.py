"""One tiny starter for all engine tests, built by the same code as the real one with smaller numbers."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as training.engine.__main__ does, before torch is imported

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from training.engine.job import Job
from training.engine.spec import StarterSpec
from training.engine.starter import MODEL, build

if TYPE_CHECKING:
    from training.engine.spec import ModelRef

TINY = StarterSpec(
    examples=800,
    lesson_steps=60,
    lesson_learning_rate=8e-3,
    steps=100,
    learning_rate=6e-3,
    batch_size=8,
    vocab_size=512,
    hidden_size=48,
    layers=2,
    heads=2,
    seed=3,
)


@pytest.fixture(scope="session")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny starter model. Read only."""
    path = tmp_path_factory.mktemp("starter")
    build(Job(path), TINY)
    return path / MODEL


@pytest.fixture(scope="session")
def reward_model(starter: Path, tmp_path_factory: pytest.TempPathFactory) -> "ModelRef":
    """One that prefers long answers. Read only."""
    from tests.engine.kit import FAST, pairs, train_here
    from training.engine.spec import ModelRef, TrainSpec

    path = tmp_path_factory.mktemp("rlhf") / "reward"
    settings = FAST | {"batch_size": 8, "epochs": 4, "learning_rate": 1e-2}
    train_here(path, TrainSpec(method="reward", model=str(starter), **settings), pairs(32))
    return ModelRef(str(starter), adapter=str(path / "adapter"))
