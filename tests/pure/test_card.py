"""The model card: what the Hub reads of it, and that it says what the facts say and nothing else."""

from dataclasses import replace

from huggingface_hub import ModelCard

from training.card import CardFacts, Lesson, card

LESSON = Lesson(
    policy=3,
    method="dpo",
    judgments=41,
    ratings=0,
    rankings=2,
    frozen=50,
    rule="majority",
    snapshot_sha256="a1" * 32,
    retracted=0,
)
FACTS = CardFacts(
    number=3,
    base="owner/name",
    base_on_hub=True,
    base_revision="0123abc",
    form="adapter",
    method="dpo",
    method_label="DPO",
    parent="policy 2",
    reference="the base",
    lessons=[LESSON, replace(LESSON, policy=2, judgments=1, retracted=1)],
    annotators=4,
    prompts=37,
    settings={"beta": 0.1, "loss_type": ["sigmoid"], "desirable_weight": None},
    versions={"torch": "2.13.0"},
    metrics={
        "heldout_accuracy": 0.71,
        "heldout_low": 0.58,
        "heldout_high": 0.81,
        "heldout_n": 52,
        "kl_per_response": 4.2,
        "kl_per_response_se": 0.31,
        "kl_per_token": 0.2,
        "kl_n": 64,
        "mean_tokens": 21.9,
        "mean_tokens_base": 20.3,
        "empty_share": 0.0,
    },
    scored=True,
    manifest_sha256="f" * 64,
    made="2026-03-01",
)


def test_the_hub_reads_the_metadata() -> None:
    data = ModelCard(card(FACTS)).data
    assert data.base_model == "owner/name"
    assert data.library_name == "peft"
    assert data.pipeline_tag == "text-generation"
    assert {"dpo", "lora", "pairloop"} <= set(data.tags or [])
    assert [(result.metric_type, result.metric_value) for result in data.eval_results or []] == [("accuracy", 0.71)]
    whole = ModelCard(card(replace(FACTS, form="model", base="mine", base_on_hub=False))).data
    assert (whole.library_name, whole.base_model) == ("transformers", None)
    assert "lora" not in (whole.tags or [])


def test_every_figure_comes_from_the_facts() -> None:
    text = card(FACTS)
    for said in (
        "# Policy 3",
        "4 annotators on answers to 37 prompts",
        "| policy 3 (DPO) | 41 | 0 | 2 | 50 | majority | 0 |",
        "| policy 2 (DPO) | 1 | 0 | 2 | 50 | majority | 1 |",
        "continues policy 2",
        "| `loss_type` | `sigmoid` |",
        "| `desirable_weight` | `computed` |",
        "0.710, 95% Wilson interval 0.580 to 0.810, on 52 judgments",
        "4.200 nats per answer (standard error 0.310), 0.200 per token, on 64 fresh answers",
        "21.9 tokens on average; the base's answers 20.300",
        "1 decision that trained it was taken back since",
        "rests on 52 judgments",
        "torch 2.13.0",
        "f" * 64,
        'revision="0123abc"',
    ):
        assert said in text, said


def test_what_was_not_measured_is_not_claimed() -> None:
    unscored = card(replace(FACTS, scored=False, metrics={}))
    assert "It was not measured." in unscored
    assert ModelCard(unscored).data.eval_results is None
    without = card(replace(FACTS, metrics={"mean_tokens": 3.0}))
    assert "not measured, for lack of judgments on reserved prompts" in without
    held = card(replace(FACTS, guard_failures=["40% empty answers, at most 10% allowed"]))
    assert "guards hold it back**: 40% empty answers" in held
