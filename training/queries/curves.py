"""What a run's curves show: its points, which lines stand on one axis, and several runs side by side."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from django.db.models import Max
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from training.engine.methods import METHODS
from training.engine.spec import TrainSpec
from training.models import Run

# The engine's name of what a point holds, by the point's own name: numbers of each step, then those of a look.
SERIES = {
    "loss": "loss",
    "accuracy": "rewards/accuracies",
    "margin": "rewards/margins",
    "chosen": "rewards/chosen",
    "rejected": "rewards/rejected",
    "logp_chosen": "logps/chosen",
    "logp_rejected": "logps/rejected",
    "kl": "kl",
    "reward": "reward",
    "answer_tokens": "completions/mean_length",
    "cut": "completions/clipped_ratio",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "tokens_per_second": "tokens_per_second",
    "memory": "memory_mib",
    "heldout": "heldout_accuracy",
    "heldout_margin": "heldout_margin",
    "chosen_change": "chosen_change",
    "fresh_kl": "kl_per_response",
    "fresh_tokens": "mean_tokens",
}
EVENTS = ("metric", "look")
# A browser draws this many points without effort; longer runs are thinned out evenly.
MOST_POINTS = 2000
# More lines than this cannot be told apart.
MOST_OVERLAID = 5
MOST_OFFERED = 20

Point = dict[str, Any]


# --- Points -----------------------------------------------------------------------------------------------------------


def curve(run: Run, *, after: int = 0) -> list[Point]:
    """One point a step, ``{"step", "loss", "accuracy", ...}``, of the events after id ``after``.

    A point has the names that were measured at its step. An attempt that resumed repeats a few steps; what it measured
    last is what counts.
    """
    points: dict[int, Point] = {}
    events = run.events.filter(kind__in=EVENTS, step__isnull=False, pk__gt=after).order_by("pk")
    for step, data in events.values_list("step", "data"):
        values = data.get("values", {})
        found = {name: values[key] for name, key in SERIES.items() if key in values}
        points[step or 0] = points.get(step or 0, {"step": step}) | found
    ordered = [points[step] for step in sorted(points)]
    stride = -(-len(ordered) // MOST_POINTS) or 1
    # Looks are few: none is thinned out.
    return [point for place, point in enumerate(ordered) if place % stride == 0 or "heldout" in point]


def newest_event(run: Run) -> int:
    """The id to ask for more after."""
    return run.events.filter(kind__in=EVENTS).aggregate(Max("pk"))["pk__max"] or 0


def thinned(points: list[Point], *, rows: int = 25) -> list[Point]:
    """A few of the points, the last always among them, for the table beside the curve."""
    if len(points) <= rows:
        return points
    stride = -(-len(points) // rows)
    return points[::stride] + ([] if (len(points) - 1) % stride == 0 else points[-1:])


# --- Which lines stand on one axis ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a figure: a run's number, the name in its points, what the legend says, and which colour (1 to 6)."""

    run: int
    name: str
    label: str
    colour: int


@dataclass(frozen=True, slots=True)
class Figure:
    """Lines on one axis; ``share``: from 0 to 1; ``main``: in sight, not behind a summary."""

    title: str
    lines: list[Line]
    share: bool = False
    main: bool = False


@dataclass(frozen=True, slots=True)
class Measure:
    """What may be drawn: names of points that share an axis in one run, each with its label in the legend."""

    title: str
    names: dict[str, str]
    share: bool = False
    main: tuple[str, ...] = ()


def measures() -> list[Measure]:
    """In the order of the page, but for the loss, which comes first and has rules of its own."""
    return [
        Measure(
            _("Accuracy"),
            {"accuracy": _("on the rows of each step"), "heldout": _("on held-out judgments")},
            share=True,
            main=("accuracy", "heldout"),
        ),
        Measure(_("What the reward model says of fresh answers"), {"reward": _("reward")}, main=("reward",)),
        Measure(
            _("Rewards of the rows"),
            {"chosen": _("preferred"), "rejected": _("other"), "margin": _("margin")},
            main=("margin",),
        ),
        Measure(_("Log-probabilities"), {"logp_chosen": _("preferred"), "logp_rejected": _("other")}),
        Measure(_("KL to the base, on fresh answers (nats)"), {"fresh_kl": _("KL")}),
        Measure(_("Log-probability of preferred answers against the start (nats)"), {"chosen_change": _("change")}),
        Measure(_("Length of fresh answers (tokens)"), {"fresh_tokens": _("tokens")}),
        Measure(_("KL as the method counts it"), {"kl": _("KL")}),
        Measure(_("Length of the answers of each step (tokens)"), {"answer_tokens": _("tokens")}),
        Measure(_("Answers of each step that were cut"), {"cut": _("share")}, share=True),
        Measure(_("Learning rate"), {"learning_rate": pgettext("of training", "rate")}),
        Measure(_("Gradient norm"), {"grad_norm": _("norm")}),
        Measure(_("Throughput (tokens per second)"), {"tokens_per_second": _("tokens per second")}),
        Measure(_("Memory, highest so far (MiB)"), {"memory": _("MiB")}),
    ]


# What makes one loss another: numbers of different ones have different scales (IPO begins near 25, DPO at 0.69).
_SHAPES_THE_LOSS = ("label_smoothing", "use_weighting", "ld_alpha", "f_divergence_type", "f_alpha_divergence_coef")
_USUAL = {item.name: item.default for item in fields(TrainSpec)}


def loss_of(spec: Mapping[str, Any]) -> str:
    """The loss that a frozen spec names, in words: runs of one name may share an axis."""
    method, types, weights = str(spec.get("method", "")), spec.get("loss_type") or [], spec.get("loss_weights") or []
    parts = [
        f"{weight:g} × {name}" if weight != 1 else name
        for name, weight in zip(types, weights or [1] * len(types), strict=False)
    ]
    whose = (METHODS[method].loss_name if method in METHODS else "") or method
    named = " ".join(part for part in (whose.upper(), " + ".join(parts)) if part)
    more = [
        f"{key.replace('_', ' ')} {spec[key]}"
        for key in _SHAPES_THE_LOSS
        if key in spec and spec[key] != _USUAL.get(key)
    ]
    return ", ".join([named, *more])


def figures(run: Run, overlaid: Sequence[Run] = ()) -> list[Figure]:
    """The figures of the run's page, and of other runs drawn into them.

    One run has its related numbers in one figure. Several have a figure for each number, with a line for each run;
    losses only share one where they are the same loss.
    """
    runs = [run, *overlaid]
    colours = {shown.pk: place for place, shown in enumerate(runs, start=1)}

    def line(shown: Run, name: str, label: str, colour: int) -> Line:
        return Line(run=shown.number, name=name, label=label, colour=colour)

    def said(shown: Run) -> str:
        return _("run %(number)s") % {"number": shown.number}

    losses: dict[str, list[Run]] = {}
    for shown in runs:
        losses.setdefault(loss_of(shown.spec), []).append(shown)
    drawn = [
        Figure(
            _("Loss: %(loss)s") % {"loss": loss},
            [line(shown, "loss", said(shown) if overlaid else _("loss"), colours[shown.pk]) for shown in group],
            # Where answers are compared with each other, advantages add up to nothing, and so does the loss.
            main=any(METHODS[shown.method].data != "prompts" for shown in group if shown.method in METHODS),
        )
        for loss, group in losses.items()
    ]
    for measure in measures():
        if not overlaid:
            lines = [line(run, name, label, place) for place, (name, label) in enumerate(measure.names.items(), 1)]
            drawn.append(Figure(measure.title, lines, measure.share, main=bool(measure.main)))
            continue
        for name, label in measure.names.items():
            title = f"{measure.title}: {label}" if len(measure.names) > 1 else measure.title
            lines = [line(shown, name, said(shown), colours[shown.pk]) for shown in runs]
            drawn.append(Figure(title, lines, measure.share, main=name in measure.main))
    return drawn


# --- Several runs -----------------------------------------------------------------------------------------------------


def comparable(run: Run) -> list[Run]:
    """Other runs of the project that took a step, newest first: what may be drawn beside it."""
    others = run.project.runs.exclude(pk=run.pk).filter(step__gt=0)
    return list(others.select_related("parent").order_by("-number")[:MOST_OFFERED])


def chosen_of(offered: Iterable[Run], wanted: Sequence[str]) -> list[Run]:
    """Those of ``offered`` that an address names by their numbers, at most ``MOST_OVERLAID``; others are left out."""
    return [run for run in offered if str(run.number) in wanted][:MOST_OVERLAID]


@dataclass(frozen=True, slots=True)
class LastValues:
    """A measure, and the last value that each run had of it (None: it has none)."""

    title: str
    share: bool
    values: list[float | None]


def last_values(runs: Sequence[Run]) -> list[LastValues]:
    """What each run ended with, for a table: measures that no run has are left out. Losses of different kinds too."""
    ends: list[Point] = []
    for run in runs:
        end: Point = {}
        for point in curve(run):
            end |= {name: value for name, value in point.items() if value is not None}
        ends.append(end)
    one_loss = len({loss_of(run.spec) for run in runs}) == 1
    rows = [LastValues(_("Loss"), share=False, values=[end.get("loss") for end in ends])] if one_loss else []
    for measure in measures():
        for name, label in measure.names.items():
            values = [end.get(name) for end in ends]
            title = f"{measure.title}: {label}" if len(measure.names) > 1 else measure.title
            if any(value is not None for value in values):
                rows.append(LastValues(title, measure.share, values))
    return rows
