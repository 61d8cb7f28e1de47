"""What a simulation found: intervals, the table, the verdict, the plot. Pure but for `draw`, which writes a PNG."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from annotate.stats import intervals


@dataclass(frozen=True)
class Interval:
    """A mean with its 95% interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Measured:
    """One policy, after so many judgments: how it answers prompts that nobody has judged."""

    round: int
    policy: int
    judgments: int  # so far, over all rounds
    prompts: int
    reward: Interval  # mean true reward, 0 to 1, clustered by prompt
    gain: Interval  # over the base, paired by prompt
    kl: float | None  # nats per response to the base, as the site's scoring found; None for the base
    tokens: float  # mean length of an answer
    seconds: float  # wall time of the round: judging, training, scoring and this measurement

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def interval(values: Sequence[float]) -> Interval:
    """Mean and 95% Student interval. Give one value per cluster (here: each prompt's mean), at least two."""
    found = intervals.mean(values)
    if found.value is None or found.low is None or found.high is None:
        raise ValueError("an interval needs at least two values")
    return Interval(found.value, found.low, found.high)


def paired_gain(after: Sequence[float], before: Sequence[float]) -> Interval:
    """Interval of the mean difference, prompt by prompt: the prompts' own difficulty cancels out."""
    return interval([new - old for new, old in zip(after, before, strict=True)])


HEADER = (
    f"{'round':>5}  {'policy':>6}  {'judgments':>9}  {'true reward [95%]':<22}  {'gain over base [95%]':<24}  "
    f"{'KL':>6}  {'tokens':>6}  {'wall':>6}"
)


def line(row: Measured) -> str:
    """One row of the table under `HEADER`."""
    gain = "" if row.round == 0 else f"{row.gain.mean:+.3f} [{row.gain.low:+.3f}, {row.gain.high:+.3f}]"
    kl = "" if row.kl is None else f"{row.kl:.2f}"
    return (
        f"{row.round:>5}  {row.policy:>6}  {row.judgments:>9}  {row.reward!s:<22}  {gain:<24}  "
        f"{kl:>6}  {row.tokens:>6.1f}  {row.seconds:>5.0f}s"
    )


def verdict(rows: Sequence[Measured]) -> tuple[bool, str]:
    """Did the reward rise clearly: the last policy's interval wholly above the base's, and its paired gain above 0?"""
    base, last = rows[0], rows[-1]
    rose = last.reward.low > base.reward.high and last.gain.low > 0
    numbers = (
        f"true reward {base.reward} -> {last.reward} on {last.prompts} prompts nobody judged, "
        f"gain {last.gain.mean:+.3f} [{last.gain.low:+.3f}, {last.gain.high:+.3f}]"
    )
    if last.kl is not None:
        numbers += f", KL {last.kl:.2f} per response"
    if rose:
        return True, f"RISEN beyond the 95% interval: {numbers}"
    return False, f"NOT clearly risen: {numbers}"


def draw(rows: Sequence[Measured], path: Path, title: str) -> None:
    """Three curves over the rounds, above one another: reward with its interval, KL, and length."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 7), layout="constrained")
    FigureCanvasAgg(figure)
    reward, kl, length = figure.subplots(3, 1, sharex=True, height_ratios=(3, 1.3, 1.3))
    rounds = [row.round for row in rows]
    means = [row.reward.mean for row in rows]
    below = [row.reward.mean - row.reward.low for row in rows]
    above = [row.reward.high - row.reward.mean for row in rows]
    reward.errorbar(rounds, means, yerr=[below, above], marker="o", capsize=4, color="#2f6fde")
    reward.axhspan(rows[0].reward.low, rows[0].reward.high, color="#888888", alpha=0.2, linewidth=0)
    reward.set_ylabel("mean true reward\n(95% interval; grey: base)")
    reward.set_title(title, fontsize=10)
    kl.plot(rounds, [row.kl or 0.0 for row in rows], marker="o", color="#b3542f")
    kl.set_ylabel("KL to the base\n(nats a response)")
    length.plot(rounds, [row.tokens for row in rows], marker="o", color="#3b7d4f")
    length.set_ylabel("mean length\n(tokens)")
    for axes in (kl, length):
        axes.set_ylim(bottom=0)
    for axes in (reward, kl, length):
        axes.grid(visible=True, alpha=0.25)
    length.set_xlabel("round (0 = base)")
    length.set_xticks(rounds)
    figure.savefig(path, dpi=110)
