"""`score`: how a trained policy answers, and whether it agrees with judgments it never saw.

Rows in, of two kinds:

- `{"kind": "pair", "id", "messages", "chosen", "rejected"}`: a held-out judgment
- `{"kind": "prompt", "id", "messages"}`: a reserved prompt

Files out, before the result:

- `pairs.jsonl`: per held-out pair the log-probabilities under policy and base, so that anyone can recompute the rewards
- `samples.jsonl`: every fresh answer: `{"id", "set": "policy" | "previous" | "kl", "text", ...}`
- `kl.jsonl`: per answer of the KL estimate its tokens and its log-probabilities under policy and base
- `before_after.jsonl`: the first prompts with the answers of `previous` and of the policy, from the same random numbers

Metrics that cannot be had (no pairs, no prompts, no adapter) are null, with the reason under `about`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from annotate.said import Said
from training.engine import rundir
from training.engine.chat import (
    EMPTY_ANSWER,
    PAIR_TOO_LONG,
    PROMPT_TOO_LONG,
    Chat,
    RowProblem,
    check_messages,
    check_text,
)
from training.engine.job import Failure, Job, require_ids
from training.engine.measures import mean, ratio_standard_error, repeats_itself, standard_error, wilson_interval
from training.engine.sizes import within_reach
from training.engine.spec import ModelRef, ScoreSpec

if TYPE_CHECKING:
    from training.engine.models import Device
    from training.engine.refcache import ReferenceCache
    from training.engine.sampling import Drawn

PAIRS, SAMPLES, DIVERGENCE, BEFORE_AFTER = "pairs.jsonl", "samples.jsonl", "kl.jsonl", "before_after.jsonl"
UNKNOWN_KIND = "kind is neither pair nor prompt"

# (id, prompt ids) and (id, prompt ids, chosen ids, rejected ids)
Prompt = tuple[int | str, list[int]]
Pair = tuple[int | str, list[int], list[int], list[int]]


def score(job: Job, spec: ScoreSpec, rows: Sequence[Mapping[str, Any]]) -> str:
    """Writes the files and metrics above and returns the closing sentence."""
    from training.engine.models import add_adapter, choose_device, load_base, load_tokenizer
    from training.engine.reference import open_cache
    from training.engine.sampling import Request, draw, stream_seed

    require_ids(rows)
    job.events.phase("load", Said("Loading the model"))
    device = choose_device(spec.device)
    chat = load_tokenizer(spec.policy, job)
    spec = within_reach(job, spec.policy, spec)
    pairs, prompts = _usable(job, chat, spec, rows)
    if rows and not pairs and not prompts:
        raise Failure("all_rows_skipped", Said("None of the rows can be scored; see the reasons of the skipped rows."))
    policy: Any = load_base(spec.policy, device)
    base = load_base(ModelRef(spec.base, spec.base_revision), device) if spec.base else None
    cache = open_cache(spec, base or policy, device, adapter="") if pairs else None
    if spec.policy.adapter:
        policy = add_adapter(policy, spec.policy.adapter, trainable=False).eval()
    scorer = _Scorer(job, spec, chat, policy, base, has_adapter=bool(spec.policy.adapter))

    job.events.phase("pairs", Said("Comparing with %(n)s held-out judgments", n=len(pairs)))
    scorer.held_out(pairs, device, cache)

    def fresh(model: Any, name: str, wanted: Sequence[Prompt], temperature: float, top_p: float) -> "list[Drawn]":
        job.events.phase(f"sample {name}", Said("Sampling %(n)s answers of %(model)s", n=len(wanted), model=name))

        def before_batch(done: int) -> None:
            job.raise_if_stopped()
            job.events.progress(done, len(wanted))

        return draw(
            model,
            chat,
            [Request(ids, stream_seed(spec.seed, row_id, 0)) for row_id, ids in wanted],
            temperature=temperature,
            top_p=top_p,
            max_new_tokens=spec.max_new_tokens,
            batch_size=spec.batch_size,
            before_batch=before_batch,
        )

    answers = fresh(policy, "policy", prompts, spec.temperature, spec.top_p)
    scorer.describe(answers)
    # The KL is an expectation under the policy itself: at another temperature or top_p it would be of something else.
    plain = spec.temperature == 1 and spec.top_p == 1
    wanted = prompts[: spec.kl_samples]
    for_kl = answers[: len(wanted)] if plain else fresh(policy, "kl", wanted, 1.0, 1.0)
    scorer.divergence(wanted, for_kl)

    own = not spec.previous_model or spec.previous_model == spec.policy.model
    if own and spec.previous == spec.policy.adapter:
        before = answers
    elif own and not spec.previous:
        with policy.disable_adapter():
            before = fresh(policy, "previous", prompts, spec.temperature, spec.top_p)
    else:  # on a model of its own: peft would only add the adapter beside the policy's
        job.raise_if_stopped()
        model, revision = spec.policy.model, spec.policy.revision
        if not own:
            model, revision = spec.previous_model, spec.previous_revision
        known = base is not None and (model, revision) == (spec.base, spec.base_revision)
        earlier = base if known else load_base(ModelRef(model, revision), device)
        before = fresh(
            add_adapter(earlier, spec.previous, trainable=False).eval() if spec.previous else earlier,
            "previous",
            prompts,
            spec.temperature,
            spec.top_p,
        )
    _write_samples(job, prompts, {"policy": answers, "previous": before} | ({} if plain else {"kl": for_kl}))
    rundir.write_rows(
        job.path / BEFORE_AFTER,
        (
            {"id": row_id, "before": old.text, "after": new.text}
            for (row_id, _), old, new in list(zip(prompts, before, answers, strict=True))[: spec.n_before_after]
        ),
    )
    job.used = [row["id"] for row in rows if row["id"] not in {item["id"] for item in job.skipped}]
    job.about["device"] = device.name
    return Said(
        "Scored on %(pairs)s held-out judgments and %(prompts)s reserved prompts; %(skipped)s rows skipped.",
        pairs=len(pairs),
        prompts=len(prompts),
        skipped=len(job.skipped),
    )


class _Scorer:
    """The measurements; each fills its metrics, or explains why there are none."""

    def __init__(self, job: Job, spec: ScoreSpec, chat: Chat, policy: Any, base: Any, *, has_adapter: bool) -> None:
        self.job, self.spec, self.chat, self.policy, self.base = job, spec, chat, policy, base
        self.has_adapter = has_adapter

    def _logprobs(self, sequences: Sequence[tuple[list[int], list[int]]]) -> tuple[list[float], list[float]]:
        """Summed log-probabilities of each answer under (policy, base)."""
        from training.engine.logprobs import token_logprobs

        def under(model: Any) -> list[float]:
            pad = int(self.chat.tokenizer.pad_token_id)
            found = token_logprobs(
                model,
                sequences,
                pad_token_id=pad,
                batch_size=self.spec.batch_size,
                before_batch=self.job.raise_if_stopped,
            )
            return [float(logps.double().sum()) for logps in found]

        policy = under(self.policy)
        if self.base is None and not self.has_adapter:
            return policy, policy
        with self._as_base() as base:
            return policy, under(base)

    @contextmanager
    def _as_base(self) -> Iterator[Any]:
        """The model that the policy is measured against, which may be the policy's own with its adapter off."""
        with nullcontext() if self.base is not None or not self.has_adapter else self.policy.disable_adapter():
            yield self.policy if self.base is None else self.base

    def held_out(self, pairs: Sequence[Pair], device: "Device", cache: "ReferenceCache | None") -> None:
        """Implicit reward r(y) = beta (log pi(y|x) - log pi_0(y|x)), base as pi_0; a win is r(chosen) > r(rejected).

        What the base says of them is the same after each round, so it is kept.
        """
        from training.engine.reference import sums_under

        both = [(ids, chosen) for _, ids, chosen, _ in pairs] + [(ids, rejected) for _, ids, _, rejected in pairs]
        known: dict[str, Any] = {
            "job": self.job,
            "device": device,
            "pad_token_id": int(self.chat.tokenizer.pad_token_id),
        }
        policy, _ = sums_under(self.policy, both, batch_size=self.spec.batch_size, **known)
        with self._as_base() as model:
            base, found = sums_under(model, both, batch_size=self.spec.batch_size, cache=cache, **known)
        self.job.about["reference"] = {"known_answers": found, "computed_answers": len(both) - found}
        n, beta = len(pairs), self.spec.beta
        lines: list[dict[str, Any]] = []
        for place, (row_id, _, chosen, rejected) in enumerate(pairs):
            values = {
                "policy_chosen": policy[place],
                "policy_rejected": policy[n + place],
                "base_chosen": base[place],
                "base_rejected": base[n + place],
            }
            reward_chosen = beta * (values["policy_chosen"] - values["base_chosen"])
            reward_rejected = beta * (values["policy_rejected"] - values["base_rejected"])
            margin = reward_chosen - reward_rejected
            tokens = {"tokens_chosen": len(chosen), "tokens_rejected": len(rejected)}
            lines.append({"id": row_id, "margin": margin, "logps": values, "beta": beta} | tokens)
        rundir.write_rows(self.job.path / PAIRS, lines)
        margins = [float(line["margin"]) for line in lines]
        wins, ties = sum(margin > 0 for margin in margins), sum(margin == 0 for margin in margins)
        metrics: dict[str, Any] = {"heldout_n": n, "heldout_wins": wins, "heldout_ties": ties}
        if n and (self.has_adapter or self.base is not None):
            low, high = wilson_interval(wins, n)
            metrics |= {"heldout_accuracy": wins / n, "heldout_low": low, "heldout_high": high}
            metrics["heldout_margin"] = mean(margins)
        else:
            metrics |= dict.fromkeys(("heldout_accuracy", "heldout_low", "heldout_high", "heldout_margin"))
            self.job.about["heldout_accuracy"] = (
                Said("The policy is the base itself, so every margin is 0.")
                if n
                else Said("There are no held-out judgments yet: judge some reserved prompts.")
            )
        self.job.metrics |= metrics

    def divergence(self, prompts: Sequence[Prompt], drawn: "Sequence[Drawn]") -> None:
        """KL(pi || pi_0) in nats: the mean of log pi(y|x) - log pi_0(y|x) over answers y drawn from pi."""
        names = ("kl_per_response", "kl_per_response_se", "kl_per_token", "kl_per_token_se")
        self.job.metrics |= dict.fromkeys(names) | {"kl_n": len(drawn)}
        if not drawn:
            self.job.about["kl_per_response"] = Said("There are no reserved prompts to sample answers for.")
            return
        policy, base = self._logprobs([(ids, answer.ids) for (_, ids), answer in zip(prompts, drawn, strict=True)])
        rundir.write_rows(
            self.job.path / DIVERGENCE,
            (
                {"id": row_id, "tokens": len(answer.ids), "policy": ours, "base": theirs}
                for (row_id, _), answer, ours, theirs in zip(prompts, drawn, policy, base, strict=True)
            ),
        )
        gaps = [ours - theirs for ours, theirs in zip(policy, base, strict=True)]
        tokens = [float(len(answer.ids)) for answer in drawn]
        values = (mean(gaps), standard_error(gaps), sum(gaps) / sum(tokens), ratio_standard_error(gaps, tokens))
        self.job.metrics |= dict(zip(names, values, strict=True))

    def describe(self, drawn: "Sequence[Drawn]") -> None:
        """Length, emptiness, repetition (see `repeats_itself`) and truncation of the fresh answers."""
        names = ("mean_tokens", "mean_characters", "empty_share", "repetition_share", "truncated_share")
        self.job.metrics |= dict.fromkeys(names) | {"samples_n": len(drawn)}
        if not drawn:
            self.job.about["mean_tokens"] = Said("There are no reserved prompts to sample answers for.")
            return
        values = (
            mean([len(answer.ids) for answer in drawn]),
            mean([len(answer.text) for answer in drawn]),
            mean([not answer.text for answer in drawn]),
            mean([repeats_itself(answer.text) for answer in drawn]),
            mean([answer.finish_reason == "length" for answer in drawn]),
        )
        self.job.metrics |= dict(zip(names, values, strict=True))


def _usable(
    job: Job, chat: Chat, spec: ScoreSpec, rows: Sequence[Mapping[str, Any]]
) -> tuple[list[Pair], list[Prompt]]:
    pairs: list[Pair] = []
    prompts: list[Prompt] = []
    for row in rows:
        try:
            messages = check_messages(row.get("messages"))
            if row.get("kind") == "pair":
                chosen, rejected = check_text(row.get("chosen")), check_text(row.get("rejected"))
                ids, answers = chat.split(messages, [chosen, rejected])
                if not all(answers):
                    raise RowProblem(EMPTY_ANSWER)
                if len(ids) + max(map(len, answers)) > spec.max_length:
                    raise RowProblem(PAIR_TOO_LONG)
                pairs.append((row["id"], ids, answers[0], answers[1]))
            elif row.get("kind") == "prompt":
                ids = chat.prompt_ids(messages)
                if len(ids) > spec.max_prompt_tokens:
                    raise RowProblem(PROMPT_TOO_LONG)
                prompts.append((row["id"], ids))
            else:
                raise RowProblem(UNKNOWN_KIND)
        except RowProblem as problem:
            job.skip(row["id"], str(problem))
    return pairs, prompts


def _write_samples(job: Job, prompts: Sequence[Prompt], sets: "Mapping[str, Sequence[Drawn]]") -> None:
    rundir.write_rows(
        job.path / SAMPLES,
        (
            {
                "id": row_id,
                "set": name,
                "text": answer.text,
                "tokens": len(answer.ids),
                "finish_reason": answer.finish_reason,
            }
            for name, drawn in sets.items()
            for (row_id, _), answer in zip(prompts, drawn, strict=False)  # the KL set may be shorter
        ),
    )
