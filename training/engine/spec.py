"""What one engine job is asked to do: frozen dataclasses, one comment per knob.

The same classes validate the web form and the job, so a nonsense value never costs a process start. Pure Python:
importing this module imports no torch. Every field that may be set has its allowed range checked on construction; all
problems are collected and raised together as one `SpecError`, keyed by field, so that a form can show each beside its
field. What is a method's own (its fields, its checks, values to start from) is in `training.engine.methods`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Self, TypeVar

from annotate.said import Said
from training.engine.checks import Checks, SpecError
from training.engine.methods import METHODS, foreign_knobs
from training.engine.methods.base import Method

# Raised when the meaning of a field changes, so that an engine refuses a spec of another time instead of guessing.
SPEC_FORMAT = 1

REFERENCES = ("base", "previous")
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "float32", "bfloat16")
ADAPTATIONS: dict[str, Said] = {
    "lora": Said("LoRA (2106.09685): a small adapter; the usual choice"),
    "dora": Said("DoRA (2402.09353): LoRA with a magnitude of its own; a little better at low rank, slower"),
    "qlora": Said("QLoRA (2305.14314): LoRA on a base in 4 bits; a quarter of the memory, needs a GPU"),
    "full": Said("full fine-tuning: every weight; a whole model each time, and twice the memory for the reference"),
}
TRACKERS = ("wandb", "mlflow", "trackio")
GUARD_ACTIONS = ("off", "warn", "stop")
SCHEDULERS = ("linear", "cosine", "constant", "constant_with_warmup")


class Spec:
    """JSON in and out. `from_json` is loud on unknown and missing keys."""

    kind: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict, with `kind` and `format`; tuples become lists."""
        plain: dict[str, Any] = asdict(self)  # type: ignore[call-overload]  # every subclass is a dataclass
        return {"kind": self.kind, "format": SPEC_FORMAT} | {key: _listed(value) for key, value in plain.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The spec, or `SpecError`. A JSON list becomes a tuple; a whole number is accepted where a float is meant."""
        if not isinstance(data, Mapping):
            raise SpecError({"spec": f"must be a JSON object, not {type(data).__name__}"})
        values = dict(data)
        if (kind := values.pop("kind", cls.kind)) != cls.kind:
            raise SpecError({"kind": f"this command needs a {cls.kind!r} spec, not {kind!r}"})
        if (version := values.pop("format", SPEC_FORMAT)) != SPEC_FORMAT:
            raise SpecError(
                {"format": f"this engine reads format {SPEC_FORMAT}, not {version!r}; use the same release"}
            )
        return _construct(cls, values)


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, (tuple, list)) else value


_T = TypeVar("_T")


def _construct(cls: type[_T], values: Mapping[str, Any]) -> _T:
    known = {item.name for item in fields(cls)}  # type: ignore[arg-type]  # called with dataclasses only
    if unknown := sorted(set(values) - known):
        raise SpecError(dict.fromkeys(unknown, Said("unknown field; check the spelling and the release")))
    built: dict[str, Any] = {}
    for name, value in values.items():
        if name in {"model", "policy", "left", "right", "reward_model"} and isinstance(value, Mapping):
            built[name] = _construct(ModelRef, value)
        else:
            built[name] = tuple(value) if isinstance(value, list) else value
    try:
        return cls(**built)
    except TypeError as error:  # a required field is missing: dataclasses say which
        raise SpecError({"spec": str(error).removeprefix(f"{cls.__name__}.__init__() ")}) from error


@dataclass(frozen=True)
class ModelRef:
    """A policy as the engine sees it: a base, and an adapter on it or none."""

    model: str  # a local folder, or a hub id (HF_HUB_OFFLINE=1 is respected)
    revision: str = ""  # pinned commit or tag of a hub id; "" = the default branch
    adapter: str = ""  # folder of a LoRA adapter; "" = the base itself

    def __post_init__(self) -> None:
        checks = Checks(self)
        checks.text("model", required=True)
        checks.text("revision")
        checks.text("adapter")
        checks.finish()


@dataclass(frozen=True)
class StarterSpec(Spec):
    """How the starter model is made. The defaults fit two CPU cores in about a minute."""

    kind: ClassVar[str] = "starter"

    examples: int = 6000  # generated (message, reply) rows of mixed quality
    lesson_steps: int = 500  # optimizer steps on replies that only help: learning what the message is about
    lesson_learning_rate: float = 3e-3  # high, as tiny models want it
    steps: int = 800  # optimizer steps on the replies of mixed quality
    learning_rate: float = 2e-3  # likewise, falling to 0
    batch_size: int = 8  # rows a step; small, because tiny models need many steps rather than large ones
    vocab_size: int = 1024  # of the byte-level BPE tokenizer
    hidden_size: int = 128  # model width
    layers: int = 4  # transformer blocks
    heads: int = 4  # attention heads
    seed: int = 0  # of corpus, initial weights and order
    device: str = "cpu"  # "auto", "cpu" or "cuda"; cpu by default, so that everyone's starter is alike

    def __post_init__(self) -> None:
        checks = Checks(self)
        checks.number("examples", 100, 1_000_000, whole=True)
        checks.number("lesson_steps", 1, 1_000_000, whole=True)
        checks.number("lesson_learning_rate", 0, 1, above=True)
        checks.number("steps", 1, 1_000_000, whole=True)
        checks.number("learning_rate", 0, 1, above=True)
        checks.number("batch_size", 1, 1024, whole=True)
        checks.number("vocab_size", 300, 65536, whole=True)
        checks.number("hidden_size", 16, 4096, whole=True)
        checks.number("layers", 1, 64, whole=True)
        checks.number("heads", 1, 64, whole=True)
        checks.number("seed", 0, 2**32 - 1, whole=True)
        checks.choice("device", DEVICES)
        if not checks.problems and self.hidden_size % (2 * self.heads):
            checks.add(
                "hidden_size", f"must be a multiple of twice the heads ({2 * self.heads}), not {self.hidden_size}"
            )
        checks.finish()


@dataclass(frozen=True)
class TrainSpec(Spec):
    """One LoRA training run. Rows: see `training.engine.rows`."""

    kind: ClassVar[str] = "train"

    method: str  # one of training.engine.methods.METHODS
    model: str  # base model: local folder or hub id
    revision: str = ""  # pinned commit or tag of a hub id
    start_adapter: str = ""  # adapter folder to continue; "" = a fresh LoRA
    reference: str = "base"  # what the policy is held close to: "base", or "previous" = the start adapter, frozen
    reference_model: str = ""  # the base that is meant by "base", where `model` without its adapter is another one
    reference_revision: str = ""  # of a hub id
    source: str = ""  # of which decisions the rows were made, "" = the method's first; for whoever makes the rows
    loss_type: tuple[str, ...] = ()  # () = the method's own: ("sigmoid",) or ("kto",); several are summed
    loss_weights: tuple[float, ...] = ()  # one per loss; () = all 1
    beta: float = 0.1  # strength of the pull to the reference; larger = closer
    label_smoothing: float = 0.0  # assumed share of flipped labels; acts in cdpo, robust, exo_pair and aot only
    ld_alpha: float | None = None  # LD-DPO: weight of the tokens by which one answer is longer; None = 1
    f_divergence_type: str = "reverse_kl"  # what pulls to the reference; others only where the losses allow it
    f_alpha_divergence_coef: float | None = None  # alpha of "alpha_divergence"; None elsewhere
    use_weighting: bool = False  # WPO: pairs weigh as much as the policy would say them now
    learning_rate: float = 1e-5  # LoRA DPO: 5e-6 to 5e-5 (TRL docs, Zephyr)
    epochs: float = 1.0  # passes over the rows; preference data over-fits early, 1 to 2
    batch_size: int = 4  # rows per device and forward pass
    gradient_accumulation: int = 4  # forward passes per optimizer step
    max_length: int = 1024  # tokens of prompt + answer; longer answers are cut
    adaptation: str = "lora"  # which weights are trained: one of ADAPTATIONS; the lora_ knobs mean nothing in "full"
    lora_r: int = 16  # rank of the adapter
    lora_alpha: int = 32  # scale of the adapter; 2 x rank is the usual choice
    lora_dropout: float = 0.0  # dropout inside the adapter only
    target_modules: str = "all-linear"  # "all-linear", or module names separated by commas; never lm_head
    warmup_ratio: float = 0.1  # share of the steps in which the learning rate rises
    lr_scheduler: str = "cosine"  # how it falls afterwards
    weight_decay: float = 0.0  # AdamW's
    max_grad_norm: float = 1.0  # gradient clipping
    desirable_weight: float | None = None  # KTO; None = computed so that both classes weigh alike
    undesirable_weight: float | None = None  # KTO; None = 1
    reward_model: ModelRef | None = None  # RLOO, GRPO, fDPO: what gives answers a number
    num_generations: int = 4  # RLOO, GRPO: answers a prompt; the more, the better the baseline
    max_new_tokens: int = 256  # RLOO, GRPO, fDPO: the longest own answer; longer ones are cut there
    scale_rewards: bool = True  # GRPO: divided by the group's spread
    margin: float = 1.0  # reward model: by how much a "much better" answer must lead; a third of it for "slightly"
    seed: int = 0  # of LoRA's initial weights and of the row order
    save_every: int = 25  # optimizer steps between checkpoints
    save_total_limit: int = 2  # checkpoints kept
    min_rows: int = 8  # fewer usable rows than this: refuse
    gradient_checkpointing: bool = True  # less memory, a fifth slower; off for tiny models
    device: str = "auto"  # "auto", "cpu" or "cuda"
    precision: str = "auto"  # one of PRECISIONS; "auto": bfloat16 on a GPU that computes it by itself, else float32
    resume_from: tuple[str, ...] = ()  # `checkpoints` folders of earlier attempts at the same job
    group_by_length: bool = True  # rows of like length together: less padding, the same number of steps
    look_every: int = 0  # optimizer steps between looks at held-out judgments and guards; 0 = none
    patience: int = 0  # looks without a better held-out accuracy before the run ends; 0 = it never ends early
    kl_guard: str = "off"  # "off", "warn", or "stop" (end early, publish): KL to the base on fresh answers
    kl_budget: float = 20.0  # nats an answer; good rounds of the starter stay below 10, ruin is beyond 100
    chosen_guard: str = "off"  # likewise: preferred answers grow less likely (likelihood displacement)
    chosen_drop: float = 20.0  # nats an answer that their mean log-probability may fall below where it began
    length_guard: str = "off"  # likewise: fresh answers grow longer, or shorter
    length_ratio: float = 2.0  # how many times as long (or one part in that) as before the first step they may be
    fresh_answers: int = 16  # answers sampled at a look, where the KL or the length is guarded
    fresh_tokens: int = 64  # the longest of them; the KL is of answers cut there
    trackers: tuple[str, ...] = ()  # besides TensorBoard's files: "wandb", "mlflow", "trackio"
    tracker_project: str = "pairloop"  # what they file the run under
    tracker_run: str = ""  # what they call it; "" = a name of their own
    reference_cache: str = ""  # folder where the reference's log-probabilities are kept for later runs; "" = nowhere
    reference_cache_mb: int = 1024  # what that folder may hold, in MiB; what was used longest ago goes first

    def __post_init__(self) -> None:
        own = METHODS.get(self.method) if isinstance(self.method, str) else None
        if self.loss_type == () and own is not None:
            object.__setattr__(self, "loss_type", tuple(own.losses)[:1])
        if self.source == "" and own is not None and own.sources:
            object.__setattr__(self, "source", next(iter(own.sources)))
        checks = Checks(self)
        checks.choice("method", tuple(METHODS))
        checks.text("model", required=True)
        for name in ("revision", "start_adapter", "reference_model", "reference_revision"):
            checks.text(name)
        among = {"reference": REFERENCES, "adaptation": ADAPTATIONS, "lr_scheduler": SCHEDULERS, "device": DEVICES}
        for name, allowed in (among | {"precision": PRECISIONS}).items():
            checks.choice(name, tuple(allowed))
        checks.number("beta", 0, 10, above=True)
        checks.number("learning_rate", 0, 0.1, above=True)
        checks.number("epochs", 0, 100, above=True)
        checks.number("batch_size", 1, 1024, whole=True)
        checks.number("gradient_accumulation", 1, 1024, whole=True)
        checks.number("max_length", 8, 131072, whole=True)
        checks.number("lora_r", 1, 512, whole=True)
        checks.number("lora_alpha", 1, 4096, whole=True)
        checks.number("lora_dropout", 0, 0.9)
        checks.text("target_modules", required=True)
        checks.number("warmup_ratio", 0, 0.5)
        checks.number("weight_decay", 0, 1)
        checks.number("max_grad_norm", 0, 1000, above=True)
        checks.number("seed", 0, 2**32 - 1, whole=True)
        checks.number("save_every", 1, 1_000_000, whole=True)
        checks.number("save_total_limit", 1, 100, whole=True)
        checks.number("min_rows", 1, 1_000_000, whole=True)
        checks.flag("gradient_checkpointing")
        checks.texts("resume_from")
        checks.flag("group_by_length")
        self._check_looks(checks)
        checks.texts("trackers")
        checks.text("tracker_project", required=True)
        checks.text("tracker_run")
        if "trackers" not in checks.problems and not set(self.trackers) <= set(TRACKERS):
            unknown = Said("must be among %(allowed)s, not %(value)s", allowed=TRACKERS, value=list(self.trackers))
            checks.add("trackers", unknown)
        checks.text("reference_cache")
        checks.number("reference_cache_mb", 1, 1_000_000, whole=True)
        if own is not None:
            self._check_own(checks, own)
        if isinstance(self.target_modules, str) and "lm_head" in self.target_modules:
            checks.add("target_modules", Said("must not contain lm_head: TRL computes log-probabilities past it"))
        checks.finish()

    def _check_looks(self, checks: Checks) -> None:
        checks.number("look_every", 0, 1_000_000, whole=True)
        checks.number("patience", 0, 1000, whole=True)
        checks.number("kl_budget", 0, 10_000, above=True)
        checks.number("chosen_drop", 0, 100_000, above=True)
        checks.number("length_ratio", 1, 1000, above=True)
        checks.number("fresh_answers", 2, 1000, whole=True)
        checks.number("fresh_tokens", 1, 32768, whole=True)
        guards = ("kl_guard", "chosen_guard", "length_guard")
        for name in guards:
            checks.choice(name, GUARD_ACTIONS)
        if not checks.problems and self.look_every == 0:
            for name in ("patience", *guards):
                if getattr(self, name) not in (0, "off"):
                    checks.add(name, Said("needs looks: set how many steps lie between two of them"))

    def _check_own(self, checks: Checks, own: Method) -> None:
        own.check(self, checks)
        if self.adaptation in own.not_adapted_by:
            checks.add("adaptation", own.not_adapted_by[self.adaptation])
        if own.sources:
            checks.choice("source", tuple(own.sources))
        self._check_foreign(checks, own)
        if own.makes_reward_model and self.start_adapter:
            checks.add("start_adapter", Said("must be empty: a reward model begins from a model, not a policy"))

    def _check_foreign(self, checks: Checks, own: Method) -> None:
        """A knob of another method would do nothing here, without a word."""
        foreign = foreign_knobs(own.name)
        for item in fields(self):
            if item.name in foreign and getattr(self, item.name) != item.default:
                checks.add(item.name, Said("has no effect on %(method)s; leave it out", method=own.title))

    @property
    def makes_whole_models(self) -> bool:
        """Is what comes of it a whole model, and not an adapter?"""
        return self.own.merges or self.adaptation == "full"

    @property
    def own(self) -> Method:
        """The method, with all that is its own."""
        return METHODS[self.method]


@dataclass(frozen=True)
class SampleSpec(Spec):
    """Answers to prompts. Rows: `{"id", "messages": [{"role", "content"}, ...]}`; output: `responses.jsonl`."""

    kind: ClassVar[str] = "sample"

    model: ModelRef  # the policy that answers
    n: int = 4  # answers per prompt
    temperature: float = 1.0  # 0 = greedy
    top_p: float = 1.0  # nucleus; 1 = the whole distribution
    max_new_tokens: int = 256  # an answer that reaches it has finish_reason "length"
    seed: int = 0  # each (prompt, index) draws from its own stream of it
    batch_size: int = 32  # sequences generated together
    max_prompt_tokens: int = 1024  # longer prompts are skipped with a reason, never cut
    device: str = "auto"  # "auto", "cpu" or "cuda"

    def __post_init__(self) -> None:
        checks = Checks(self)
        if not isinstance(self.model, ModelRef):
            checks.add("model", Said("must be an object with model, revision and adapter"))
        checks.number("n", 1, 64, whole=True)
        _check_sampling(checks)
        if "temperature" not in checks.problems and self.temperature == 0 and self.n != 1:
            checks.add("n", Said("must be 1 at temperature 0: greedy answers to one prompt are all the same"))
        checks.finish()


@dataclass(frozen=True)
class ScoreSpec(Spec):
    """How good a trained policy is. Rows: held-out pairs and reserved prompts, see `training.engine.score`."""

    kind: ClassVar[str] = "score"

    policy: ModelRef  # the policy to score; its base (no adapter) is the reference of rewards and KL
    base: str = ""  # another base for that, where the policy's own is not meant: folder or hub id
    base_revision: str = ""  # of a hub id
    previous_model: str = ""  # model of the "before" answers; "" = the policy's
    previous_revision: str = ""  # of a hub id
    previous: str = ""  # adapter folder on it; "" = the model itself
    beta: float = 0.1  # of the training run: scales rewards, never changes who wins
    n_before_after: int = 10  # prompts shown with the answer before and after
    kl_samples: int = 64  # reserved prompts for the KL estimate, sampled at temperature 1 and top_p 1
    temperature: float = 1.0  # of the fresh answers whose length and repetition are measured
    top_p: float = 1.0  # likewise
    max_new_tokens: int = 256  # likewise
    seed: int = 0  # each prompt draws from its own stream of it
    batch_size: int = 32  # sequences generated or scored together
    max_prompt_tokens: int = 1024  # longer prompts are skipped with a reason
    max_length: int = 2048  # tokens of prompt + answer of a held-out pair; longer pairs are skipped
    reference_cache: str = ""  # folder where the base's log-probabilities are kept for later runs; "" = nowhere
    reference_cache_mb: int = 1024  # what that folder may hold, in MiB; what was used longest ago goes first
    device: str = "auto"  # "auto", "cpu" or "cuda"

    def __post_init__(self) -> None:
        checks = Checks(self)
        if not isinstance(self.policy, ModelRef):
            checks.add("policy", Said("must be an object with model, revision and adapter"))
        checks.text("previous")
        checks.text("base")
        checks.text("base_revision")
        checks.text("previous_model")
        checks.text("previous_revision")
        checks.number("beta", 0, 10, above=True)
        checks.number("n_before_after", 0, 1000, whole=True)
        checks.number("kl_samples", 0, 100_000, whole=True)
        checks.number("max_length", 8, 131072, whole=True)
        checks.text("reference_cache")
        checks.number("reference_cache_mb", 1, 1_000_000, whole=True)
        _check_sampling(checks)
        checks.finish()


@dataclass(frozen=True)
class TrialSpec(Spec):
    """Two policies answer the same prompts. Rows: `{"id", "messages"}`; output: `answers.jsonl`, see `trial`."""

    kind: ClassVar[str] = "trial"

    left: ModelRef
    right: ModelRef
    temperature: float = 1.0  # 0 = greedy
    top_p: float = 1.0  # nucleus; 1 = the whole distribution
    max_new_tokens: int = 256  # an answer that reaches it has finish_reason "length"
    seed: int = 0  # each prompt draws from its own stream of it, the same for both policies
    batch_size: int = 32  # sequences generated together
    max_prompt_tokens: int = 8192  # longer prompts are skipped with a reason, never cut
    device: str = "auto"  # "auto", "cpu" or "cuda"

    def __post_init__(self) -> None:
        checks = Checks(self)
        for side in ("left", "right"):
            if not isinstance(checks.value(side), ModelRef):
                checks.add(side, Said("must be an object with model, revision and adapter"))
        _check_sampling(checks)
        checks.finish()


@dataclass(frozen=True)
class MergeSpec(Spec):
    """One model out of base and adapter. No rows; output: the folder `model/`."""

    kind: ClassVar[str] = "merge"

    policy: ModelRef

    def __post_init__(self) -> None:
        checks = Checks(self)
        if not isinstance(self.policy, ModelRef) or not self.policy.adapter:
            checks.add("policy", Said("must be an object with model, revision and adapter"))
        checks.finish()


@dataclass(frozen=True)
class PushSpec(Spec):
    """A folder that goes to the Hub. No rows. The token comes from the environment (HF_TOKEN), never from here."""

    kind: ClassVar[str] = "push"

    folder: str  # what is pushed, as it is
    repo: str  # "owner/name"
    private: bool = True  # of a repository that is not there yet; one that is stays as it is
    message: str = "A policy of Pairloop"  # of the commit
    endpoint: str = ""  # of the Hub; empty: HF_ENDPOINT, or huggingface.co

    def __post_init__(self) -> None:
        checks = Checks(self)
        for name in ("folder", "repo", "message"):
            checks.text(name, required=True)
        checks.text("endpoint")
        checks.flag("private")
        checks.finish()


def _check_sampling(checks: Checks) -> None:
    """The knobs that sampling and scoring share."""
    checks.number("temperature", 0, 2)
    checks.number("top_p", 0, 1, above=True)
    checks.number("max_new_tokens", 1, 32768, whole=True)
    checks.number("seed", 0, 2**32 - 1, whole=True)
    checks.number("batch_size", 1, 4096, whole=True)
    checks.number("max_prompt_tokens", 1, 131072, whole=True)
    checks.choice("device", DEVICES)
