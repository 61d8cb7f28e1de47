"""The starter's domain: enough variety, reproducible, and pools that never meet."""

import pytest

from training.engine.domain import (
    GUIDELINE,
    demo_prompts,
    make_corpus,
    make_lesson,
    make_messages,
    pool_of,
    true_reward,
    unseen_prompts,
)
from training.engine.reward import _topics_of
from training.engine.topics import TOPICS


def test_the_same_seed_gives_the_same_text_and_another_seed_another() -> None:
    assert make_corpus(200, 3) == make_corpus(200, 3)
    assert make_corpus(200, 3) != make_corpus(200, 4)
    assert demo_prompts(240) == demo_prompts(240)


def test_there_are_thousands_of_distinct_messages_of_every_topic() -> None:
    messages = make_messages(5000, 0)
    assert len(set(messages)) == 5000
    assert {topic.name for message in messages for topic in _topics_of(message.lower())} == {t.name for t in TOPICS}


def test_a_pool_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="pool must be one of corpus, demo, unseen"):
        make_messages(1, 0, pool="holdout")


def test_corpus_demo_and_unseen_prompts_never_overlap_whatever_the_seed() -> None:
    corpus = {example.message for seed in range(3) for example in (*make_corpus(2000, seed), *make_lesson(2000, seed))}
    demo = {message for seed in range(3) for message in demo_prompts(300, seed)}
    unseen = {message for seed in range(3) for message in unseen_prompts(300, seed)}
    assert not corpus & demo
    assert not corpus & unseen
    assert not demo & unseen
    assert {pool_of(message) for message in demo} == {"demo"}


def test_nearly_every_message_is_read_as_about_its_topic_and_every_help_sentence_helps() -> None:
    lesson = make_lesson(2000, 1)
    helpful = [true_reward(example.message, f"I am sorry about that. {example.reply}") >= 0.75 for example in lesson]
    assert sum(helpful) > 0.99 * len(lesson)


def test_the_corpus_is_of_mixed_quality_also_for_one_message() -> None:
    corpus = make_corpus(2000, 0)
    rewards = [true_reward(example.message, example.reply) for example in corpus]
    assert 0.3 < sum(rewards) / len(rewards) < 0.6
    assert sum(reward < 0.15 for reward in rewards) > 200
    assert sum(reward > 0.8 for reward in rewards) > 200
    by_message: dict[str, list[float]] = {}
    for example, reward in zip(corpus, rewards, strict=True):
        by_message.setdefault(example.message, []).append(reward)
    apart = [max(found) - min(found) for found in by_message.values() if len(found) > 1]
    assert sum(apart) / len(apart) > 0.2


def test_the_guideline_fits_on_a_page_and_names_what_the_reward_counts() -> None:
    assert len(GUIDELINE) < 1500
    for word in ("kind", "concrete", "tie", "both bad"):
        assert word in GUIDELINE
