"""What the engine's process sees of ours: no secret, no telemetry, no tracker that nobody named."""

import pytest

from training.launcher import engine_environment


@pytest.fixture(autouse=True)
def _rich(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DO_NOT_TRACK", "HF_HUB_DISABLE_TELEMETRY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("PAIRLOOP_SECRET_KEY", "WANDB_API_KEY", "MLFLOW_TRACKING_TOKEN", "TRACKIO_SPACE_ID", "HF_TOKEN"):
        monkeypatch.setenv(name, "private")


def test_nothing_is_told_to_anybody_unless_asked() -> None:
    seen = engine_environment()
    off = {"DO_NOT_TRACK": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "WANDB_MODE": "disabled"}
    assert off.items() <= seen.items()
    assert seen["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert seen["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert not {"PAIRLOOP_SECRET_KEY", "WANDB_API_KEY", "MLFLOW_TRACKING_TOKEN", "TRACKIO_SPACE_ID"} & set(seen)
    assert seen["HF_TOKEN"] == "private"


def test_a_tracker_that_is_named_sees_its_own_settings_and_no_other() -> None:
    seen = engine_environment(["wandb"])
    assert seen["WANDB_API_KEY"] == "private"
    assert "WANDB_MODE" not in seen
    assert not {"MLFLOW_TRACKING_TOKEN", "TRACKIO_SPACE_ID"} & set(seen)


def test_what_the_workers_own_environment_says_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "0")
    assert engine_environment()["HF_HUB_DISABLE_TELEMETRY"] == "0"
