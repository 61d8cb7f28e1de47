"""The starter's domain: short messages to a shop, and replies of mixed quality. Pure Python, reproducible by seed.

The messages fall into three pools by a hash of their text, so that what the starter learns from, what people judge in
the demo, and what a simulation calls unseen never overlap, whatever the seeds.
"""

import hashlib
import random
import re
from dataclasses import dataclass

from training.engine import topics
from training.engine.reward import true_reward
from training.engine.topics import TOPICS, Topic

__all__ = [
    "GUIDELINE",
    "Example",
    "demo_prompts",
    "make_corpus",
    "make_lesson",
    "make_messages",
    "true_reward",
    "unseen_prompts",
]

POOLS = ("corpus", "demo", "unseen")

GUIDELINE = """\
You see a message to a shop and two replies. Choose the reply that you would rather get as the customer.

**Good replies**

- do something about *this* problem: a concrete next step (a new parcel, a refund, a label, a link), not "we will see";
- are kind: an apology where one is due, a thank-you, an offer to help further. One kind sentence is enough;
- stay on the subject and are as short as they can be.

**Bad replies** are rude or curt, refuse without a reason, talk about something else, repeat themselves, or break off.

If one reply helps and the other is only polite, prefer the one that helps. Long is not better. Choose **tie** when you
would not mind which one you got, and **both bad** when you would be annoyed by either.
"""


@dataclass(frozen=True)
class Example:
    """One row of the corpus."""

    message: str
    reply: str


@dataclass(frozen=True)
class _Case:
    """A message with what it was made of, so that a reply can refer to it."""

    topic: Topic
    message: str
    slots: dict[str, str]


def make_messages(n: int, seed: int, pool: str = "corpus") -> list[str]:
    """`n` distinct customer messages of one pool. Raises ValueError when the domain has fewer."""
    return [case.message for case in _cases(n, seed, pool)]


def make_corpus(n: int, seed: int) -> list[Example]:
    """`n` messages of the corpus pool, each with a reply: kind or curt, helping or not, some rambling or broken."""
    rng = random.Random(f"corpus {seed}")  # reproducible, not secret
    # A message may come back with another reply: that is what teaches the model that several answers are possible.
    cases = _cases(max(n // 2, 1), seed, "corpus")
    return [Example(case.message, _reply(rng, case)) for case in (cases[i % len(cases)] for i in range(n))]


def make_lesson(n: int, seed: int) -> list[Example]:
    """`n` corpus messages, each answered by one sentence that helps: what to learn before learning to be moody.

    In the corpus only some replies depend on what the customer wrote, and a tiny model takes long to notice.
    """
    rng = random.Random(f"lesson {seed}")  # reproducible, not secret
    cases = _cases(n, seed, "corpus")
    return [Example(case.message, rng.choice(case.topic.helps).format(**_grounded(case))) for case in cases]


def demo_prompts(n: int = 240, seed: int = 0) -> list[str]:
    """Messages for the demo project: never in the starter's corpus, never among `unseen_prompts`."""
    return make_messages(n, seed, "demo")


def unseen_prompts(n: int, seed: int = 0) -> list[str]:
    """Messages that neither the starter nor anyone who judges the demo has met."""
    return make_messages(n, seed, "unseen")


def pool_of(message: str) -> str:
    """The pool a message belongs to, by a hash of its text: half are corpus, a quarter demo, a quarter unseen."""
    byte = hashlib.sha256(message.encode()).digest()[0]
    return POOLS[0] if byte < 128 else POOLS[1] if byte < 192 else POOLS[2]


def _cases(n: int, seed: int, pool: str) -> list[_Case]:
    if pool not in POOLS:
        raise ValueError(f"pool must be one of {', '.join(POOLS)}, not {pool!r}")
    rng = random.Random(f"messages {seed} {pool}")  # reproducible, not secret
    found: dict[str, _Case] = {}
    # Coupon collecting gets slow near the end of the domain; long before that, say that it is too small.
    for _ in range(40 * n + 1000):
        if len(found) >= n:
            break
        topic = rng.choice(TOPICS)
        slots = {
            "item": rng.choice(topics.ITEMS[topic.items]),
            "day": rng.choice(topics.DAYS),
            "city": rng.choice(topics.CITIES),
            "color": rng.choice(topics.COLORS),
        }
        body = rng.choice(topic.messages).format(**slots)
        message = f"{rng.choice(topics.GREETINGS)}{body}{rng.choice(topics.REQUESTS)}"
        if pool_of(message) == pool:
            found.setdefault(message, _Case(topic, message, slots))
    if len(found) < n:
        raise ValueError(f"the domain has too few distinct messages for n={n}; ask for fewer")
    return list(found.values())[:n]


def _reply(rng: random.Random, case: _Case) -> str:
    """One reply. Kindness and help are drawn apart, so every mix occurs for every message."""
    tone = rng.choices(("kind", "plain", "curt"), (36, 40, 24))[0]
    body = rng.choices(("help", "vague", "off", "refuse"), (44, 24, 12, 20))[0]
    openings = {"kind": topics.KIND_OPENINGS, "plain": topics.PLAIN_OPENINGS, "curt": topics.CURT_OPENINGS}[tone]
    sentences = [rng.choice(openings)]
    if body == "help":
        sentences += rng.sample(case.topic.helps, rng.choice((1, 1, 2)))
    elif body == "vague":
        sentences.append(rng.choice(topics.VAGUE))
    elif body == "refuse":
        sentences.append(rng.choice(topics.REFUSALS))
    else:
        other = rng.choice([topic for topic in TOPICS if topic.name != case.topic.name])
        sentences.append(rng.choice((rng.choice(other.helps), rng.choice(topics.CHATTER))))
    flaw = rng.random()
    if flaw < 0.08:
        sentences += rng.sample(topics.CHATTER, rng.choice((2, 3)))
    elif flaw < 0.11:
        sentences += [sentences[-1]] * 2
    if tone == "kind" and rng.random() < 0.6:
        sentences.append(rng.choice(topics.KIND_CLOSINGS))
    elif tone == "curt" and rng.random() < 0.35:
        sentences.append(rng.choice(topics.CURT_CLOSINGS))
    text = " ".join(sentence.format(**_grounded(case)) for sentence in sentences if sentence)
    if flaw > 0.96:  # breaks off in the middle
        words = text.split()
        text = " ".join(words[: max(2, len(words) - rng.randint(1, 4))]).rstrip(".")
    return text


def _grounded(case: _Case) -> dict[str, str]:
    """The slots a reply may use: what the message did not say is replaced by something that is always true."""
    general = {"item": "parcel", "day": "Monday", "city": "Berlin", "color": "blue"}
    said = set(re.findall(r"\w+", case.message))
    return {name: value if value in said else general[name] for name, value in case.slots.items()}
