"""Several simulated annotators at work at once, each a thread with a browser of its own."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus

from training.simulation.annotator import Temperament, decide
from training.simulation.client import Seen, SiteError, Visitor, form_with
from training.simulation.page import Page

Reward = Callable[[str, str], float]  # (message, reply) -> 0 to 1

# Seconds between two looks at an empty queue.
LOOK_AGAIN = 1.0
# What the page shows in the place of an answer without words.
SAID_OF_EMPTY = "This answer is empty."


@dataclass
class Annotator:
    """One account with its browser, its temper and its dice."""

    name: str
    visitor: Visitor
    temperament: Temperament
    rng: random.Random


@dataclass
class Worked:
    """What a crew did: how often each choice was made, by whom, and how long it took."""

    choices: Counter[str] = field(default_factory=Counter)
    by_annotator: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def judgments(self) -> int:
        return self.choices.total()


class _Tickets:
    """Hands out `n` turns, whichever thread comes first, and notes what became of them."""

    def __init__(self, n: int) -> None:
        self._lock = threading.Lock()
        self._left = n
        self.failed: SiteError | None = None
        self.progress_at = time.monotonic()
        self.worked = Worked()

    def take(self) -> bool:
        with self._lock:
            if self._left == 0 or self.failed is not None:
                return False
            self._left -= 1
            return True

    def give_back(self) -> None:
        with self._lock:
            self._left += 1

    def used(self, name: str, choice: str) -> None:
        with self._lock:
            self.worked.choices[choice] += 1
            self.worked.by_annotator[name] += 1
            self.progress_at = time.monotonic()

    def fail(self, error: SiteError) -> None:
        with self._lock:
            self.failed = self.failed or error


def judge_together(annotators: Sequence[Annotator], *, path: str, n: int, reward: Reward, patience: float) -> Worked:
    """All annotators judge on the page `path` until there are `n` new judgments.

    Raises SiteError when the site fails, or when the queue was empty for `patience` seconds.
    """
    began = time.monotonic()
    tickets = _Tickets(n)

    def work(annotator: Annotator) -> None:
        try:
            _work(annotator, path=path, tickets=tickets, reward=reward, patience=patience)
        except SiteError as error:
            tickets.fail(error)

    with ThreadPoolExecutor(len(annotators)) as pool:
        list(pool.map(work, annotators))
    if tickets.failed is not None:
        raise tickets.failed
    tickets.worked.seconds = time.monotonic() - began
    return tickets.worked


def _work(annotator: Annotator, *, path: str, tickets: _Tickets, reward: Reward, patience: float) -> None:
    seen: Seen | None = None
    while tickets.take():
        seen = seen or annotator.visitor.open(path)
        guideline = form_with(seen.page, "version")
        if guideline is not None:
            # A new version is read before anything is judged by it.
            seen = annotator.visitor.submit(guideline, at=seen.address)
        form = form_with(seen.page, "choice", "client_id")
        if form is None:
            tickets.give_back()
            if time.monotonic() - tickets.progress_at > patience:
                raise SiteError(
                    f"There was nothing to judge for {patience:.0f} seconds. Are the workers running (`make up`), and "
                    "has the project prompts? Its page says what its loop waits for."
                )
            time.sleep(LOOK_AGAIN)
            seen = None
            continue
        choice = decide_on(seen.page, annotator, reward)
        seen = annotator.visitor.submit(form, at=seen.address, choice=choice)
        if seen.status == HTTPStatus.OK:
            tickets.used(annotator.name, choice)
        else:
            # The pair was withdrawn while it was read, because a newer policy's answers had come.
            tickets.give_back()
            seen = None


def decide_on(page: Page, annotator: Annotator, reward: Reward) -> str:
    """What the annotator says of the pair on the page, going by what is to be read there and by nothing else."""
    try:
        message, left, right = (page.texts[hook] for hook in ("message", "a", "b"))
    except KeyError as error:
        raise SiteError(
            f"The judging page marks no text as {error}. Are the site and this command of one version?"
        ) from error
    left, right = ("" if text == SAID_OF_EMPTY else text for text in (left, right))
    return decide(annotator.temperament, reward(message, left), reward(message, right), annotator.rng)
