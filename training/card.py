"""PURE: the model card of a policy, written from facts: metadata for the Hub, then plain sections.

It goes where the weights go, so it holds no text that people wrote, no names, no folders of a machine: numbers,
settings and hashes. It is in English, in whatever language the site is read.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one run of the lineage trained on; the policy's own run first."""

    policy: int
    method: str
    judgments: int
    ratings: int
    rankings: int
    frozen: int
    rule: str
    snapshot_sha256: str
    retracted: int


@dataclass(frozen=True, slots=True)
class CardFacts:
    """Everything that the card says."""

    number: int
    # A hub id, or the name of a model that is nowhere public.
    base: str
    base_on_hub: bool
    base_revision: str
    # "adapter" (LoRA on the base) or "model" (whole weights).
    form: str
    method: str
    method_label: str
    parent: str
    reference: str
    # What gave its answers their rewards in training, or chose its pairs; empty where nothing did.
    reward_model: str = ""
    # How many pairs it did not train on, of how many, where the reward model chose among them.
    dropped: tuple[int, int] | None = None
    lessons: Sequence[Lesson] = ()
    annotators: int = 0
    prompts: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    # Why the guards keep it from being sampled from; English.
    guard_failures: Sequence[str] = ()
    scored: bool = False
    champion: bool = False
    manifest_sha256: str = ""
    made: str = ""


def card(facts: CardFacts) -> str:
    """README.md: YAML between dashes, then Markdown."""
    parts = [
        f"---\n{_yaml(metadata(facts))}---\n",
        f"# Policy {facts.number}\n",
        _summary(facts),
        _section("How to use it", _use(facts)),
        _section("Training data", _data(facts)),
        _section("Training", _training(facts)),
        _section("Evaluation", _evaluation(facts)),
        _section("Intended use", _intended(facts)),
        _section("Limits", _limits(facts)),
        _section("Provenance", _provenance(facts)),
    ]
    return "\n".join(parts)


def metadata(facts: CardFacts) -> dict[str, Any]:
    """What the Hub reads: https://huggingface.co/docs/hub/model-cards#model-card-metadata."""
    adapter = facts.form == "adapter"
    found: dict[str, Any] = {
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["pairloop", "trl", facts.method, "preference-learning", *(["lora"] if adapter else [])],
    }
    if facts.base_on_hub:
        found |= {"base_model": facts.base, "base_model_relation": "adapter" if adapter else "finetune"}
    accuracy = facts.metrics.get("heldout_accuracy")
    if accuracy is not None:
        result = {
            "task": {"type": "text-generation"},
            "dataset": {"type": "held-out-judgments", "name": "Judgments on reserved prompts (not public)"},
            "metrics": [{"type": "accuracy", "name": "Held-out preference accuracy", "value": round(accuracy, 4)}],
        }
        found["model-index"] = [{"name": f"policy-{facts.number}", "results": [result]}]
    return found


def _yaml(values: Mapping[str, Any]) -> str:
    """Block style at the top, JSON below it: JSON is YAML, and needs no library."""
    return "".join(f"{key}: {json.dumps(value, ensure_ascii=True)}\n" for key, value in values.items())


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}\n"


def _summary(facts: CardFacts) -> str:
    what = "a LoRA adapter for" if facts.form == "adapter" else "a whole model made from"
    base = f"`{facts.base}`" + (f" (revision `{facts.base_revision}`)" if facts.base_revision else "")
    status = "the policy in use" if facts.champion else "not the policy in use"
    return (
        f"This is {what} {base}, trained with {facts.method_label} on decisions that people made in a project of "
        f"Pairloop. When this card was written it was {status}.\n"
    )


def _use(facts: CardFacts) -> str:
    revision = f', revision="{facts.base_revision}"' if facts.base_revision else ""
    note = f"\nThe base is `{facts.base}`. It is not on the Hub from here: name your copy of its folder.\n"
    note = "" if facts.base_on_hub else note
    base = facts.base if facts.base_on_hub else "path/to/the/base"
    if facts.form == "adapter":
        return (
            "```python\nfrom peft import PeftModel\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
            f'tokenizer = AutoTokenizer.from_pretrained("{base}"{revision})\n'
            f'base = AutoModelForCausalLM.from_pretrained("{base}"{revision})\n'
            'model = PeftModel.from_pretrained(base, "path/to/this/folder")\n```\n' + note
        )
    return (
        "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")\n'
        'model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")\n```\n'
    )


def _data(facts: CardFacts) -> str:
    if not facts.lessons:
        return "None here: this is the base as it was before any training."
    rows = [
        f"| policy {row.policy} ({row.method.upper()}) | {row.judgments} | {row.ratings} | {row.rankings} | "
        f"{row.frozen} | {row.rule} | {row.retracted} |"
        for row in facts.lessons
    ]
    about = (
        f"Decisions of {_many(facts.annotators, 'annotator')} on answers to {_many(facts.prompts, 'prompt')} of one "
        "project. The prompts, the answers and who the annotators are, are not part of this card. The weights continue "
        "those of the policies listed below the first, so what those learned is in them too; what was replayed is "
        "counted once for each run."
    )
    columns = (
        "run of",
        "judgments used",
        "ratings used",
        "rankings used",
        "frozen in the snapshot",
        "several judgments of one comparison",
        "retracted since",
    )
    return "\n".join([about, "", f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|", *rows])


def _training(facts: CardFacts) -> str:
    if not facts.lessons:
        return "None here."
    settings = [f"| `{name}` | `{_plain(value)}` |" for name, value in facts.settings.items()]
    versions = ", ".join(f"{name} {version}" for name, version in sorted(facts.versions.items()))
    return "\n".join(
        [
            f"Method: {facts.method_label}. It continues {facts.parent}"
            + (f"; the reference it was held close to: {facts.reference}." if facts.reference else ".")
            + _rewarded(facts),
            "",
            "| setting | value |",
            "| --- | --- |",
            *settings,
            "",
            f"Libraries: {versions or 'not recorded'}.",
        ]
    )


def _rewarded(facts: CardFacts) -> str:
    if not facts.reward_model:
        return ""
    if facts.dropped is None:
        return f" Its answers were rewarded by {facts.reward_model}."
    dropped, compared = facts.dropped
    return (
        f" Before training {dropped} of its {compared} pairs were dropped, whose chosen answer was no better than one "
        f"of the policy it continues, as judged by {facts.reward_model}."
    )


def _evaluation(facts: CardFacts) -> str:
    if not facts.scored:
        return "It was not measured."
    m = facts.metrics
    lines = []
    if m.get("heldout_accuracy") is not None:
        lines.append(
            f"- Held-out preference accuracy: {m['heldout_accuracy']:.3f}, 95% Wilson interval {m['heldout_low']:.3f} "
            f"to {m['heldout_high']:.3f}, on {m['heldout_n']} judgments on prompts that were never trained on. The "
            "implicit reward is beta (log pi - log pi_base); one half is chance."
        )
    else:
        lines.append("- Held-out preference accuracy: not measured, for lack of judgments on reserved prompts.")
    if m.get("kl_per_response") is not None:
        lines.append(
            f"- KL to the base: {m['kl_per_response']:.3f} nats per answer (standard error "
            f"{_figure(m.get('kl_per_response_se'))}), {_figure(m.get('kl_per_token'))} per token, on "
            f"{m.get('kl_n', 0)} fresh answers."
        )
    if m.get("mean_tokens") is not None:
        base = _figure(m.get("mean_tokens_base"))
        lines.append(f"- Length: {m['mean_tokens']:.1f} tokens on average; the base's answers {base}.")
    for name, said in (("empty_share", "empty"), ("repetition_share", "repetitive"), ("truncated_share", "cut off")):
        if m.get(name) is not None:
            lines.append(f"- Fresh answers that were {said}: {100 * m[name]:.1f}%.")
    return "\n".join(lines)


def _intended(facts: CardFacts) -> str:
    return (
        "Answering messages like those of the project it was trained for, the way its annotators preferred. Anything "
        "else is outside of what was trained and measured."
    )


def _limits(facts: CardFacts) -> str:
    lines = [
        "- It has learned what a few people preferred under one guideline. That is not the same as being right, and "
        "their shared blind spots are in it.",
        "- The base model's own limits and its licence apply.",
        "- Nothing was measured here about safety, facts, bias or other languages and tasks.",
    ]
    if facts.guard_failures:
        lines.insert(0, f"- **The project's guards hold it back**: {'; '.join(facts.guard_failures)}.")
    n = facts.metrics.get("heldout_n") or 0
    if facts.lessons and n < 100:
        lines.append(f"- The held-out accuracy rests on {_many(n, 'judgment')}: its interval is wide.")
    if (retracted := sum(row.retracted for row in facts.lessons)) > 0:
        lines.append(f"- {_many(retracted, 'decision')} that trained it {_were(retracted)} taken back since.")
    return "\n".join(lines)


def _provenance(facts: CardFacts) -> str:
    lines = [f"- Made: {facts.made}"]
    if facts.manifest_sha256:
        lines.append(f"- sha256 of the weights' manifest as trained: `{facts.manifest_sha256}`")
    lines += [f"- Snapshot of policy {row.policy}'s run: sha256 `{row.snapshot_sha256}`" for row in facts.lessons]
    lines.append("- `manifest.json` beside this card names every file of this folder with its sha256.")
    return "\n".join(lines)


def _plain(value: Any) -> str:
    return "computed" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _figure(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, (int, float)) else "unknown"


def _many(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _were(n: int) -> str:
    return "was" if n == 1 else "were"
