"""The references' log-probabilities on disk: whole or not there, bounded, and never in anybody's way."""

import os
import signal
import subprocess
import sys
import time
from array import array
from pathlib import Path

from training.engine.refcache import MOST_SEGMENTS, STALE_SECONDS, SUFFIX, ReferenceCache, answer_key, trim

PLENTY = 2**30


def numbers(*values: float) -> "array[float]":
    return array("f", values)


def segments(root: Path) -> list[Path]:
    return sorted(root.rglob(f"*{SUFFIX}"))


def test_a_key_is_the_very_tokens_and_where_the_answer_begins() -> None:
    keys = [answer_key([1, 2], [3]), answer_key([1], [2, 3]), answer_key([12], [3]), answer_key([1, 2], [3, 4])]
    assert len({*keys, answer_key([1, 2], [])}) == 5
    assert answer_key([1, 2], [3]) == keys[0]


def test_what_was_added_is_found_bit_for_bit_and_only_what_was_asked_for(tmp_path: Path) -> None:
    known = {answer_key([1], [n]): numbers(-0.1 * n, -1e-30, -n) for n in range(5)} | {answer_key([1], []): numbers()}
    ReferenceCache(tmp_path, "base", limit_bytes=PLENTY).add(known)
    asked = [*list(known)[2:], b"unknown"]
    cache = ReferenceCache(tmp_path, "base", limit_bytes=PLENTY)
    assert cache.get(asked) == {key: known[key] for key in asked[:-1]}
    assert ReferenceCache(tmp_path, "another", limit_bytes=PLENTY).get(asked) == {}
    cache.add(known)  # the same again: named by its content, it is the same file
    assert len(segments(tmp_path)) == 1
    cache.forget()
    assert cache.get(asked) == {}
    assert cache.get([]) == {}


def test_a_segment_that_was_altered_or_cut_is_thrown_away_and_the_others_stay(tmp_path: Path) -> None:
    cache = ReferenceCache(tmp_path, "base", limit_bytes=PLENTY)
    keys = [answer_key([0], [n]) for n in range(3)]
    for key in keys:
        cache.add({key: numbers(-1.0)})
    first, second, third = segments(tmp_path)
    content = bytearray(first.read_bytes())
    content[-1] ^= 1
    first.write_bytes(content)
    second.write_bytes(second.read_bytes()[:-2])
    assert len(cache.get(keys)) == 1
    assert segments(tmp_path) == [third]


def test_many_segments_become_one_and_nothing_is_lost(tmp_path: Path) -> None:
    cache = ReferenceCache(tmp_path, "base", limit_bytes=PLENTY)
    known = {answer_key([0], [n]): numbers(-n) for n in range(MOST_SEGMENTS + 1)}
    for number, (key, value) in enumerate(known.items(), start=1):
        cache.add({key: value})
        assert len(segments(tmp_path)) == (number if number <= MOST_SEGMENTS else 1)
    assert cache.get(known) == known


def test_it_stays_below_its_limit_and_what_was_used_last_stays_longest(tmp_path: Path) -> None:
    key, value = answer_key([0], [1]), numbers(*[-1.0] * 1000)
    for number, name in enumerate(("old", "used", "new")):
        cache = ReferenceCache(tmp_path, name, limit_bytes=PLENTY)
        cache.add({key: value})
        os.utime(segments(cache.folder)[0], (number, number))
    assert ReferenceCache(tmp_path, "used", limit_bytes=PLENTY).get([key])
    size = segments(tmp_path)[0].stat().st_size
    trim(tmp_path, limit_bytes=2 * size)
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["new", "used"]
    trim(tmp_path, limit_bytes=size)
    assert [folder.name for folder in tmp_path.iterdir()] == ["used"]
    trim(tmp_path, limit_bytes=0)
    assert list(tmp_path.iterdir()) == []


def test_a_full_or_forbidden_disk_only_forgets(tmp_path: Path) -> None:
    (tmp_path / "base").write_text("a file where the folder should be")
    cache = ReferenceCache(tmp_path, "base", limit_bytes=PLENTY)
    cache.add({answer_key([0], [1]): numbers(-1.0)})
    assert cache.get([answer_key([0], [1])]) == {}


WRITER = """
import sys
from array import array
from pathlib import Path
from training.engine.refcache import ReferenceCache, answer_key
cache = ReferenceCache(Path(sys.argv[1]), "base", limit_bytes=2**30)
number = 0
while True:
    # Both processes write the same answers, each half of a segment also its own.
    keys = [answer_key([0], [number]), answer_key([int(sys.argv[2])], [number])]
    cache.add({key: array("f", [-number] * 2000) for key in keys})
    print(number, flush=True)
    number += 1
"""


def test_two_writers_and_a_kill_leave_only_whole_segments(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(name)], cwd=root, stdout=subprocess.PIPE, text=True
        )
        for name in (1, 2)
    ]
    done = []
    for writer in writers:
        assert writer.stdout is not None
        for line in writer.stdout:
            if int(line) >= 2 * MOST_SEGMENTS:
                break
        writer.send_signal(signal.SIGKILL)
        done.append(2 * MOST_SEGMENTS)
    for writer in writers:
        writer.communicate()
    cache = ReferenceCache(tmp_path, "base", limit_bytes=PLENTY)
    before = segments(tmp_path)
    wanted = {answer_key([name], [n]): n for name in (0, 1, 2) for n in range(min(done))}
    found = cache.get(wanted)
    assert segments(tmp_path) == before, "none of them was torn"
    assert {key: values[0] for key, values in found.items()} == {key: -n for key, n in wanted.items()}
    torn = tmp_path / "base" / ".left.tmp"
    torn.touch()
    trim(tmp_path, limit_bytes=PLENTY)
    assert torn.exists(), "somebody may be writing it"
    os.utime(torn, (0, time.time() - STALE_SECONDS - 1))
    trim(tmp_path, limit_bytes=PLENTY)
    assert not torn.exists()
