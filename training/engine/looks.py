"""Looks at the policy while it trains: what held-out judgments say of it, and whether a guard was crossed.

Every `look_every` optimizer steps, and once before the first, with the code that scoring uses. A look leaves training
as it found it: no random stream moves, no module changes its mode, no gradient is touched, so the weights are bit
for bit those of a run without looks. Three guards may warn, or end the run early with what it has learnt:

- KL: mean(log pi - log pi_0) over fresh answers drawn from the policy at temperature 1, in nats an answer. An estimate
  of KL(pi || pi_0) from `fresh_answers` samples cut at `fresh_tokens`, with its standard error in the event.
- displacement: the mean change of log pi(chosen) on the first preferred answers of the training rows since the start.
  DPO may raise the margin while both answers grow less likely (likelihood displacement).
- length: the mean length of the fresh answers against that of the policy before the first step.

Early stopping is on held-out accuracy: after `patience` looks without a better one the run ends. With patience the
weights of the best look are what is published.

Rows of `heldout.jsonl` are those of scoring: `{"kind": "pair", ...}` and `{"kind": "prompt", ...}`.
"""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotate.said import Said, packed, unpacked
from training.engine import rundir
from training.engine.chat import Chat, RowProblem, check_messages, check_text
from training.engine.job import Job
from training.engine.logprobs import token_logprobs
from training.engine.measures import mean, standard_error, wilson_interval
from training.engine.reward_model import rewards
from training.engine.rows import TrainingRow

if TYPE_CHECKING:
    from training.engine.spec import TrainSpec

# Preferred answers of the training rows whose log-probability is followed: the same ones at every look.
FOLLOWED = 32
BATCH = 16
STATE, BEST = "looks.json", "best.safetensors"
PAIRS = "pairs.jsonl"  # as scoring calls it

# (prompt ids, answer ids)
Sequences = list[tuple[list[int], list[int]]]
Weights = dict[str, Any]


class Looks:
    """What is looked at, how it was at the start, and what was best so far."""

    def __init__(self, job: Job, spec: "TrainSpec", chat: Chat, rows: Sequence[TrainingRow]) -> None:
        self.job, self.spec, self.chat = job, spec, chat
        self.every = spec.look_every
        heldout = list(rundir.iter_rows(job.path / rundir.HELDOUT)) if (job.path / rundir.HELDOUT).exists() else []
        wanted = self.every or spec.own.makes_reward_model
        self.pair_ids, self.pairs, prompts = _usable(job, chat, spec, heldout) if wanted else ([], [], [])
        self.followed: Sequences = [
            (row.prompt_ids, row.answer_ids[0][: spec.max_length - len(row.prompt_ids)])
            for row in [row for row in rows if row.answer_ids and row.trl.get("label", True)][:FOLLOWED]
        ]
        # Reserved prompts where there are any; else those of the training rows.
        known = prompts or [(row.id, row.prompt_ids) for row in rows]
        self.prompts = known[: spec.fresh_answers] if {spec.kl_guard, spec.length_guard} != {"off"} else []
        self.base: list[float] = []
        # A model of its own to measure the KL against; None: the one in training with its adapter off.
        self.base_model: Any = None
        self.start: dict[str, float] = {}
        self.warned: list[str] = []
        self.best = {"accuracy": -1.0, "step": 0, "since": 0}
        self.best_weights: Weights = {}
        # Where and why training ended before its last step although nobody cancelled it.
        self.ended: tuple[int, Said] | None = None
        if self.every and spec.patience and not self.pairs:
            job.events.warning(
                Said("There are no held-out judgments, so the run cannot stop early on them: judge reserved prompts.")
            )

    def about(self) -> dict[str, str]:
        """What a checkpoint must agree in: the same looks at the same things."""
        if not self.every:
            return {}
        seen = (
            [[list(part) for part in pair] for pair in self.pairs],
            [list(map(list, row[1:])) for row in self.prompts],
        )
        return {"heldout": rundir.sha256_of_text(rundir.dumps(seen))}

    def measure_base(self, base: Any) -> None:
        """log pi_0 of the held-out answers, from the plain base before an adapter is added."""
        if self.pairs:
            with untouched(base):
                self.base = self._logprobs(base, _both(self.pairs))

    @property
    def base_is_apart(self) -> bool:
        """Is the base another model than the one in training with its adapter off? So it is where every weight is
        trained, where an earlier adapter was merged, and where it is named as a model of its own."""
        spec = self.spec
        merged = bool(spec.start_adapter) and not spec.own.has_reference
        return spec.adaptation == "full" or merged or bool(spec.reference_model)

    @property
    def wants_base_model(self) -> bool:
        """Must a model be kept for it? Only for the guard: it takes memory."""
        return bool(self.every and self.prompts) and self.spec.kl_guard != "off" and self.base_is_apart

    # --- A look ---

    def at_start(self, model: Any) -> None:
        """Before the first step, also of a run that resumes: how things were is measured again, and is the same."""
        if self.every:
            with untouched(model):
                values = self._held_out(model) | self._fresh(model)
                if self.followed:
                    self.start["chosen"] = mean(self._logprobs(model, self.followed))
                    values["chosen_change"] = 0.0
                self._report(0, values)

    def due(self, step: int, total: int) -> bool:
        return bool(self.every) and (step % self.every == 0 or step == total)

    def look(self, model: Any, step: int) -> Said | None:
        """Measures and reports; why training should end here, or None."""
        with untouched(model):
            values = self._held_out(model) | self._fresh(model)
            if self.followed:
                values["chosen_change"] = mean(self._logprobs(model, self.followed)) - self.start["chosen"]
            self._report(step, values)
        return self._guards(values, step) or self._patience(values, step, model)

    def _report(self, step: int, values: Mapping[str, float]) -> None:
        if "mean_tokens" in values:
            self.start.setdefault("tokens", values["mean_tokens"])
        self.job.events.measured("look", step, {name: round(value, 6) for name, value in values.items()})

    def _held_out(self, model: Any) -> dict[str, float]:
        """As in `training.engine.score`: r(y) = beta (log pi - log pi_0), a win is r(chosen) > r(rejected)."""
        if not self.pairs:
            return {}
        gaps = [ours - theirs for ours, theirs in zip(self._logprobs(model, _both(self.pairs)), self.base, strict=True)]
        n = len(self.pairs)
        margins = [self.spec.beta * (chosen - rejected) for chosen, rejected in zip(gaps[:n], gaps[n:], strict=True)]
        if not any(margins):
            return {}  # the base itself prefers nothing to itself
        return {"heldout_accuracy": mean([margin > 0 for margin in margins]), "heldout_margin": mean(margins)}

    def _fresh(self, model: Any) -> dict[str, float]:
        """Length of fresh answers, and the KL to the base on them."""
        from training.engine.sampling import Request, draw, stream_seed

        if not self.prompts:
            return {}
        drawn = draw(
            model,
            self.chat,
            [Request(ids, stream_seed(self.spec.seed, row_id, 0)) for row_id, ids in self.prompts],
            temperature=1.0,
            top_p=1.0,
            max_new_tokens=self.spec.fresh_tokens,
            batch_size=BATCH,
            before_batch=lambda done: None,
        )
        values = {"mean_tokens": mean([len(answer.ids) for answer in drawn])}
        if self.base_is_apart and self.base_model is None:
            return values
        answers = [(ids, answer.ids) for (_, ids), answer in zip(self.prompts, drawn, strict=True)]
        policy = self._logprobs(model, answers)
        if self.base_model is not None:
            base = self._logprobs(self.base_model, answers)
        else:
            with model.disable_adapter():
                base = self._logprobs(model, answers)
        gaps = [ours - theirs for ours, theirs in zip(policy, base, strict=True)]
        error = standard_error(gaps)
        return values | {"kl_per_response": mean(gaps)} | ({} if error is None else {"kl_per_response_se": error})

    def _logprobs(self, model: Any, sequences: Sequences) -> list[float]:
        pad = int(self.chat.tokenizer.pad_token_id)
        found = token_logprobs(model, sequences, pad_token_id=pad, batch_size=BATCH)
        return [float(logps.double().sum()) for logps in found]

    # --- What follows from it ---

    def _guards(self, values: Mapping[str, float], step: int) -> Said | None:
        """Warns once a guard; the sentence of the first that is set to stop."""
        stop = None
        for name, action, crossed in (
            ("kl", self.spec.kl_guard, self._kl(values)),
            ("chosen", self.spec.chosen_guard, self._displacement(values)),
            ("length", self.spec.length_guard, self._drift(values)),
        ):
            if crossed is None or action == "off":
                continue
            if action == "stop":
                stop = stop or crossed
            elif name not in self.warned:
                self.warned.append(name)
                self.job.events.warning(Said("At step %(step)s: %(what)s.", step=step, what=crossed))
        return stop

    def _kl(self, values: Mapping[str, float]) -> Said | None:
        kl = values.get("kl_per_response")
        if kl is None or kl <= self.spec.kl_budget:
            return None
        return Said(
            "the KL to the base is %(kl)s nats an answer, and %(budget)s were allowed",
            kl=round(kl, 2),
            budget=self.spec.kl_budget,
        )

    def _displacement(self, values: Mapping[str, float]) -> Said | None:
        change = values.get("chosen_change")
        if change is None or change >= -self.spec.chosen_drop:
            return None
        return Said(
            "preferred answers are %(nats)s nats less likely than at the start, and %(limit)s were allowed "
            "(likelihood displacement)",
            nats=round(-change, 2),
            limit=self.spec.chosen_drop,
        )

    def _drift(self, values: Mapping[str, float]) -> Said | None:
        before, now = self.start.get("tokens"), values.get("mean_tokens")
        if not before or now is None or 1 / self.spec.length_ratio <= now / before <= self.spec.length_ratio:
            return None
        return Said(
            "answers are %(ratio)s times as long as at the start; %(limit)s times, or one part in that, was allowed",
            ratio=float(f"{now / before:.2g}"),
            limit=self.spec.length_ratio,
        )

    def _patience(self, values: Mapping[str, float], step: int, model: Any) -> Said | None:
        accuracy = values.get("heldout_accuracy")
        if not self.spec.patience or accuracy is None:
            return None
        if accuracy > self.best["accuracy"]:
            self.best = {"accuracy": accuracy, "step": step, "since": 0}
            self.best_weights = _copied(model)
            return None
        self.best["since"] += 1
        if self.best["since"] < self.spec.patience:
            return None
        return Said(
            "no better held-out accuracy than the %(percent)s%% of step %(step)s in %(looks)s looks",
            percent=round(100 * self.best["accuracy"]),
            step=int(self.best["step"]),
            looks=int(self.best["since"]),
        )

    def at_end(self, model: Any) -> dict[str, Any]:
        """What the run's result says of what came of it. A policy is scored by a job of its own."""
        return {}

    def end(self, step: int, total: int, why: Said, model: Any) -> None:
        """No more steps: what has been learnt is published, marked as stopped early."""
        if not self.best_weights:
            # For an attempt that resumes: it must end here too, without a step more.
            self.best, self.best_weights = self.best | {"step": step}, _copied(model)
        self.ended = (
            step,
            Said("stopped early after step %(step)s of %(total)s: %(why)s", step=step, total=total, why=why),
        )
        self.job.events.phase("early", self.ended[1])

    def take_best(self, model: Any, step: int) -> None:
        """With patience the weights of the best look. After an early end, also in an attempt with nothing to train."""
        import torch

        if self.ended is not None:
            self.job.about["stopped_early"] = self.ended[1]
        if not self.best_weights:
            return
        with torch.no_grad():
            for name, value in _trained(model):
                value.copy_(self.best_weights[name])
        if (taken := int(self.best["step"])) != step:
            self.job.about["weights_of_step"] = taken
            self.job.events.phase(
                "best", Said("Taking the weights of step %(step)s, the best on held-out.", step=taken)
            )

    # --- Across a resume ---

    def save(self, folder: Path) -> None:
        """Into a checkpoint, before it is hashed."""
        if not self.every and self.ended is None:
            return
        ended = None if self.ended is None else [self.ended[0], packed(self.ended[1])]
        state = {"best": self.best, "warned": self.warned, "ended": ended}
        (folder / STATE).write_text(rundir.dumps(state), encoding="utf-8")
        if self.best_weights:
            from safetensors.torch import save_file

            save_file({name: value.contiguous() for name, value in self.best_weights.items()}, folder / BEST)

    def restore(self, folder: Path) -> None:
        """From a verified checkpoint."""
        if not (folder / STATE).exists():
            return
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        self.best, self.warned = state["best"], state["warned"]
        if state["ended"] is not None:
            self.ended = (state["ended"][0], unpacked(state["ended"][1]))
        if (folder / BEST).exists():
            from safetensors.torch import load_file

            self.best_weights = load_file(folder / BEST)


class RewardLooks(Looks):
    """The same at a reward model: how often it gives what people preferred the higher number."""

    def __init__(self, job: Job, spec: "TrainSpec", chat: Chat, rows: Sequence[TrainingRow]) -> None:
        super().__init__(job, spec, chat, rows)
        self.followed = []

    def measure_base(self, base: Any) -> None:
        """There is none: its numbers stand by themselves."""

    def _rewards(self, model: Any) -> tuple[list[float], list[float]]:
        pad = int(self.chat.tokenizer.pad_token_id)
        found = rewards(model, _both(self.pairs), pad_token_id=pad, batch_size=BATCH)
        return found[: len(self.pairs)], found[len(self.pairs) :]

    def _held_out(self, model: Any) -> dict[str, float]:
        if not self.pairs:
            return {}
        margins = [chosen - rejected for chosen, rejected in zip(*self._rewards(model), strict=True)]
        return {"heldout_accuracy": mean([margin > 0 for margin in margins]), "heldout_margin": mean(margins)}

    def at_end(self, model: Any) -> dict[str, Any]:
        """Held-out accuracy with Wilson's 95% interval; the rewards behind it go to `pairs.jsonl`."""
        n = len(self.pairs)
        if not n:
            self.job.about["heldout_accuracy"] = Said(
                "There are no held-out judgments yet: judge some reserved prompts."
            )
            return {"heldout_n": 0}
        with untouched(model):
            both = self._rewards(model)
        lines = [
            {"id": row_id, "reward_chosen": chosen, "reward_rejected": rejected}
            for row_id, chosen, rejected in zip(self.pair_ids, *both, strict=True)
        ]
        if self.job.rank == 0:
            rundir.write_rows(self.job.path / PAIRS, lines)
        margins = [chosen - rejected for chosen, rejected in zip(*both, strict=True)]
        wins = sum(margin > 0 for margin in margins)
        low, high = wilson_interval(wins, n)
        shares = {"heldout_accuracy": wins / n, "heldout_low": low, "heldout_high": high}
        return {"heldout_n": n, "heldout_wins": wins, "heldout_margin": mean(margins)} | shares


@contextmanager
def untouched(model: Any) -> Iterator[None]:
    """`model` in evaluation mode, and afterwards all as it was: the modules' modes, and every random stream."""
    import numpy as np
    import torch

    modes = [(module, module.training) for module in model.modules()]
    streams = random.getstate(), np.random.get_state(), torch.get_rng_state()  # what libraries use
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        random.setstate(streams[0])
        np.random.set_state(streams[1])
        torch.set_rng_state(streams[2])
        if devices:
            torch.cuda.set_rng_state_all(devices)


def _copied(model: Any) -> Weights:
    return {name: value.detach().cpu().clone() for name, value in _trained(model)}


def _trained(model: Any) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in model.named_parameters() if value.requires_grad)


def _both(pairs: Sequence[tuple[list[int], list[int], list[int]]]) -> Sequences:
    return [(prompt, chosen) for prompt, chosen, _ in pairs] + [(prompt, rejected) for prompt, _, rejected in pairs]


def _usable(
    job: Job, chat: Chat, spec: "TrainSpec", rows: Sequence[Mapping[str, Any]]
) -> tuple[list[int | str], list[tuple[list[int], list[int], list[int]]], list[tuple[int | str, list[int]]]]:
    """Held-out pairs (ids, tokens) and reserved prompts that fit; the others are counted in a warning."""
    pair_ids, pairs, prompts, left_out = [], [], [], 0
    for row in rows:
        try:
            messages = check_messages(row.get("messages"))
            if row.get("kind") == "pair":
                ids, answers = chat.split(messages, [check_text(row.get("chosen")), check_text(row.get("rejected"))])
                if not all(answers) or len(ids) + max(map(len, answers)) > spec.max_length:
                    left_out += 1
                else:
                    pair_ids.append(row["id"])
                    pairs.append((ids, answers[0], answers[1]))
            elif len(ids := chat.prompt_ids(messages)) < spec.max_length:
                prompts.append((row["id"], ids))
            else:
                left_out += 1
        except RowProblem:
            left_out += 1
    if left_out:
        job.events.warning(Said("Held-out rows that are too long or malformed, and not looked at: %(n)s.", n=left_out))
    return pair_ids, pairs, prompts
