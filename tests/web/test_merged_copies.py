"""Whole models made of adapters stay within a size, and none vanishes while somebody reads it."""

import os
import time
from pathlib import Path

import pytest
from django.conf import LazySettings

from training.services.merged_copies import IN_USE_SECONDS, note_use, trim_merged


@pytest.fixture
def merged(settings: LazySettings, tmp_path: Path) -> list[Path]:
    """Three copies of 600 KiB each, the first used longest ago, in two projects; and what a crash left."""
    settings.HOME = tmp_path
    made = [tmp_path / "merged" / place for place in ("1/1", "2/1", "1/2")]
    for age, folder in enumerate([*made, tmp_path / "merged" / "1" / ".7.gone"]):
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "model.safetensors").write_bytes(bytes(600 * 1024))
        rested = time.time() - IN_USE_SECONDS - 1000 + age
        os.utime(folder, (rested, rested))
    return made


def test_those_used_longest_ago_go_until_the_rest_fits(settings: LazySettings, merged: list[Path]) -> None:
    settings.MERGED_MB = 1
    assert trim_merged(keep=merged[2]) == merged[:2]
    assert [folder.exists() for folder in merged] == [False, False, True]
    assert not (merged[0].parent / ".7.gone").exists()
    assert trim_merged(keep=merged[2]) == []


def test_what_was_just_made_or_asked_for_stays(settings: LazySettings, merged: list[Path]) -> None:
    settings.MERGED_MB = 1
    note_use(merged[1])
    assert trim_merged(keep=merged[0]) == [merged[2]]
    assert merged[0].exists()
    assert merged[1].exists()


def test_within_the_size_or_without_one_all_stay(settings: LazySettings, merged: list[Path]) -> None:
    for size in (2, 0):
        settings.MERGED_MB = size
        assert trim_merged(keep=merged[2]) == []
