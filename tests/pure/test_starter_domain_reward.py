"""The hidden true reward puts hand-written replies in the right order and cannot be cheated by length or key words."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.engine.domain import true_reward

LATE = "Where is my lamp? It should have come on Monday."
REFUND = "I sent the coat back on Friday and there is no refund yet."
LOGIN = "I forgot my password."

# Best first. Written by hand, in words that the corpus does not use.
LADDERS = {
    LATE: (
        "I'm really sorry your lamp hasn't arrived. I'll contact the courier today, and you can follow the parcel with "
        "the link in your email. Thank you for your patience!",
        "I will send you another lamp by express tomorrow.",
        "I am so sorry to hear that. We will look into it.",
        "We will look into it.",
        "Not our problem. Just wait.",
    ),
    REFUND: (
        "Thanks for getting in touch, and sorry for the delay. I have sent the refund to your card today; the money "
        "should be there within three days.",
        "Your refund is on its way to your bank.",
        "Thank you for writing. These things take time.",
        "You should have read the rules.",
    ),
    LOGIN: (
        "Sorry about that! I have emailed you a link to reset your password. Please check your spam folder too.",
        "Please use the link on the login page to reset it.",
        "I am sorry about that. I have changed your delivery address.",
        "Calm down.",
    ),
}


@pytest.mark.parametrize("message", LADDERS)
def test_better_replies_get_more(message: str) -> None:
    rewards = [true_reward(message, reply) for reply in LADDERS[message]]
    assert rewards == sorted(rewards, reverse=True)
    assert all(better - worse > 0.04 for better, worse in itertools.pairwise(rewards))
    assert rewards[0] > 0.8
    assert rewards[-1] < 0.15


HELP = "I will send you a new lamp by express today."


@pytest.mark.parametrize(
    "cheat",
    [
        "sorry thanks please glad understand hope",
        "Sorry, sorry, sorry. Thank you, thank you. Please, please, please.",
        "sorry thank you carrier courier tracking express new parcel refund link label photo",
        "I am so sorry. " * 12,
        "Thank you for writing to us. I hope this helps. Have a lovely day. " * 3,
        f"{HELP} " * 6,
        "We will not send you a new lamp by express.",
        "I have cancelled your order, moved your appointment, reset your password and changed your delivery address.",
    ],
)
def test_cheats_earn_less_than_one_honest_helpful_sentence(cheat: str) -> None:
    assert true_reward(LATE, cheat) < true_reward(LATE, HELP) - 0.1


def test_saying_more_of_the_same_never_helps() -> None:
    once = true_reward(LATE, f"I am so sorry about that. {HELP}")
    assert true_reward(LATE, f"I am so sorry about that. {HELP} {HELP}") <= once
    assert true_reward(LATE, f"I am so sorry about that. I am very sorry. So sorry. {HELP}") <= once


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        (f"{HELP} Our winter catalogue is out now. The coffee in our office is very good.", HELP),
        ("I will send you a new lamp by", HELP),
        ("I will send you a new coat by express today.", HELP),
        (f"Calm down. {HELP}", HELP),
        ("No.", "We will look into it."),
        ("", "No lamp here, I am afraid."),
        ("   \n", "We are looking for it."),
    ],
)
def test_flaws_cost(worse: str, better: str) -> None:
    assert true_reward(LATE, worse) < true_reward(LATE, better)


def test_messages_from_outside_the_domain_are_judged_too() -> None:
    message = "What should I plant in my garden in spring?"
    helpful = "Thanks for asking! Please try peas and carrots: you can bring them to the garden in April."
    assert true_reward(message, helpful) > true_reward(message, "Plants. Whatever.") >= 0


@given(st.text(), st.text())
def test_any_two_texts_have_a_reward_between_0_and_1(message: str, reply: str) -> None:
    assert 0.0 <= true_reward(message, reply) <= 1.0
