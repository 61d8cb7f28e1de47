"""The hidden true reward of the starter's domain: how good a reply to a customer message is, by fixed rules.

Simulated annotators judge by it, and learning curves are drawn with it. No model ever sees it. It has to be right on
text that nobody wrote by hand, and hard to cheat: kind words count once, steps count only in sentences that say who
does what.
"""

import re

from training.engine.topics import ITEMS, TOPICS, Topic

# Each class of kindness counts once, however often it is said.
_KINDNESS = tuple(
    re.compile(pattern)
    for pattern in (
        r"\bsorry\b|\bapolog|\bregret\b",
        r"\bthank(s| you)\b|\bgrateful\b|\bappreciate\b",
        r"\bplease\b|\bkindly\b|\byou(’|')?re welcome\b",
        r"\bunderstand\b|\bannoying\b|\bfrustrating\b|\bthat must\b",
        r"\bhappy to\b|\bglad to\b|\bof course\b|\bgladly\b|\bwith pleasure\b|\banything else\b",
        r"\bhope\b|\blovely\b|\bnice day\b|\bbest wishes\b|\bkind regards\b|\bhave a (good|great|wonderful)\b",
    )
)
_RUDE = re.compile(
    r"your (own )?fault|not our problem|so what|calm down|we are busy|read the (website|rules|manual)"
    r"|do(n't| not) care|do(n't| not) write again|case closed|should have read|stupid|idiot|shut up|whatever|go away"
    r"|\bagain\?|nonsense|liar"
)
_REFUSAL = re.compile(
    r"nothing (we|i) can do|ask someone else|just wait|not possible"
    r"|can(no|’|')t help|unfortunately.*(not|can(no|’|')t)|^no\b"
)
_VAGUE = re.compile(
    r"look into|at some point|will check|passed it on|takes? time|be fine|as soon as possible|get back to you"
    r"|be patient"
)
_CHATTER = re.compile(
    r"catalogue|weather|founded by|many people like|parking lot|my cousin|to the lake|the coffee|did you know"
)
# A step is something done, promised, offered or asked for: an actor with a verb, or a request.
_ACTOR = re.compile(
    r"\b(i|we|you|it|he|she|they|our \w+|your \w+|the \w+|someone)( \w+)?"
    r"( (have|has|will|can|could|may|am|are|is|was|just|already|also|then)\b|(’|')(ve|ll|re|m)\b)"
)
_REQUEST = re.compile(
    r"^(please|just|simply|then|first|now|also|and|so|to|if|once)?,? ?(\w+ ){0,3}?"
    r"(open|print|click|use|send|hold|try|go|choose|enter|follow|drop|reply|keep|bring|log|download|pick|tell|call|press|visit)\b"
)
_NEGATION = re.compile(r"\b(not|never|no|cannot|can(’|')t|won(’|')t|nothing|nobody|don(’|')t|refuse to)\b")
# Two promises that need a "not".
_GOOD_NEGATION = re.compile(r"not be charged|no longer be charged|if (that|it|this) does not help")
_FUNCTION_WORDS = frozenset(
    """
    a an the i we you he she it they me us him her them my our your his its their this that these those is are
    was were be been am do does did have has had will would can could should may might must not no and or but if
    so because as of to in on at by for from with about into over after before again then there here what when
    where who how why all any each more most other some such than too very just also please still only own out
    up down off
    """.split()  # noqa: SIM905  # a text is easier to read than a hundred quoted words
)
_ITEM = re.compile(rf"\b({'|'.join(ITEMS['any'])})s?\b")


def true_reward(message: str, reply: str) -> float:
    """How good `reply` is as an answer to the customer's `message`: 0 (worst) to 1 (best), for any two texts.

    ::

        reward = 0.25 + 0.22 kindness + 0.40 help + 0.13 subject - penalties, cut to [0, 1]; an empty reply gets 0

    - kindness: distinct classes of kind words (apology, thanks, courtesy, empathy, offer, wish): one 0.6, two 0.9,
      three 1; nothing when the reply is rude, or when kind words are most of what it says
    - help: distinct concrete steps that fit the message's topic: one 0.75, two 1; a vague promise 0.15; a step for some
      other topic 0.05. A negated step ("we will not refund it") is none
    - subject: speaks of what the message is about; half when it names a product that the message does not
    - penalties: rude, refusing, very short, rambling (small talk, or more than 45 words), repeating itself, breaking
      off, or not sentences at all

    More words, more kind words or more of the same step never add anything beyond these caps.
    """
    asked, text = _plain(message), _plain(reply)
    words = re.findall(r"[a-z0-9'’]+", text)
    if not words:
        return 0.0
    sentences = [part for part in re.split(r"(?<=[.!?])\s+|\n+", text) if re.search(r"\w", part)]
    distinct = list(dict.fromkeys(sentences))
    meant = _topics_of(asked)
    rude = len(_RUDE.findall(text))

    score = 0.25 + 0.22 * (0.0 if rude else _kindness(text, words)) + 0.40 * _help(distinct, meant)
    score += 0.13 * _subject(asked, text, meant)
    score -= min(0.2 + 0.05 * (rude - 1), 0.3) if rude else 0.0
    score -= 0.1 if any(_REFUSAL.search(sentence) for sentence in distinct) else 0.0
    score -= 0.15 if len(words) < 4 else 0.05 if len(words) < 7 else 0.0
    score -= min(0.1 * sum(bool(_CHATTER.search(sentence)) for sentence in sentences), 0.3)
    score -= min(0.006 * max(len(words) - 45, 0), 0.3)
    score -= 0.5 * _repetition(words)
    score -= 0.1 if text.rstrip(" \"'”’)*")[-1:] not in {".", "!", "?"} else 0.0
    if len(words) >= 6 and not 0.2 <= sum(word in _FUNCTION_WORDS for word in words) / len(words) <= 0.85:
        score -= 0.35  # a heap of key words
    return round(min(max(score, 0.0), 1.0), 4)


def _plain(text: str) -> str:
    return text.replace("\0", " ").strip().lower()


def _topics_of(asked: str) -> tuple[Topic, ...]:
    """The topics whose key words are found most often: usually one, several at a tie, none outside the domain."""
    hits = [len(re.findall(topic.about, asked)) for topic in TOPICS]
    return tuple(topic for topic, count in zip(TOPICS, hits, strict=True) if count and count == max(hits))


def _kindness(text: str, words: list[str]) -> float:
    classes = [pattern for pattern in _KINDNESS if pattern.search(text)]
    share = sum(len(pattern.findall(text)) for pattern in _KINDNESS) / len(words)
    return 0.0 if share > 0.35 else (0.0, 0.6, 0.9, 1.0)[min(len(classes), 3)]


def _help(sentences: list[str], meant: tuple[Topic, ...]) -> float:
    steps = [sentence for sentence in sentences if _is_step(sentence)]
    fitting = sum(any(re.search(topic.acts, step) for topic in meant) for step in steps)
    if fitting:
        return 0.75 if fitting == 1 else 1.0
    if any(re.search(topic.acts, step) for topic in TOPICS for step in steps):
        return 0.05 if meant else 0.5  # outside the domain any concrete step is worth something
    return 0.15 if any(_VAGUE.search(sentence) for sentence in sentences) else 0.0


def _is_step(sentence: str) -> bool:
    """Whether the sentence says that somebody does something, rather than names things."""
    if _NEGATION.search(sentence) and not _GOOD_NEGATION.search(sentence):
        return False
    if _RUDE.search(sentence) or _CHATTER.search(sentence) or sentence.endswith("?"):
        return False
    return len(sentence.split()) >= 4 and bool(_ACTOR.search(sentence) or _REQUEST.search(sentence))


def _subject(asked: str, text: str, meant: tuple[Topic, ...]) -> float:
    said, bought = set(_ITEM.findall(text)), set(_ITEM.findall(asked))
    if meant:
        speaks = bool(said & bought) or any(re.search(f"{topic.about}|{topic.acts}", text) for topic in meant)
    else:
        content = {word for word in re.findall(r"[a-z]{4,}", asked) if word not in _FUNCTION_WORDS}
        speaks = bool(content & set(re.findall(r"[a-z]{4,}", text)))
    return (0.5 if said - bought else 1.0) if speaks else 0.0


def _repetition(words: list[str]) -> float:
    """Share of three-word sequences that occurred before: 0 for ordinary text, near 1 for a loop."""
    triples = list(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(set(triples)) / len(triples) if triples else 0.0
