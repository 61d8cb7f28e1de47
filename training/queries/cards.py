"""The facts that a policy's model card is written from."""

from pathlib import Path

from django.db.models.functions import Coalesce

from annotate.models import Aggregation
from annotate.said import unpacked
from training.card import CardFacts, Lesson
from training.engine.methods import METHODS
from training.models import Loop, Outcome, Policy, Run, SnapshotItem
from training.paths import is_starter
from training.queries import registry
from training.queries.retracted import retracted_since
from training.queries.runs import settings_shown

# In English, as the rest of the card.
_RULES = {
    Aggregation.SINGLE: "each judgment counts",
    Aggregation.MAJORITY: "majority",
    Aggregation.ADJUDICATED: "majority, reviewers decide draws",
    Aggregation.DAWID_SKENE: "Dawid-Skene",
}


def public_base(policy: Policy) -> tuple[str, bool]:
    """A name for what the policy's weights stand on that says nothing of this machine, and whether it is a hub id.

    A folder goes by its own name alone; a model that SFT made in the project by its policy's number.
    """
    if policy.model_path and not policy.whole:
        made = policy.project.policies.filter(adapter_path=policy.model_path).first()
        return (f"policy-{made.number}" if made is not None else "sft"), False
    if policy.model_path and not policy.whole:
        return f"policy-{Path(policy.model_path).name}", False  # as a download of it is named
    if is_starter(policy.base_model):
        return "pairloop-starter", False
    path = Path(policy.base_model)
    on_hub = not path.is_absolute() and not policy.base_model.startswith((".", "~")) and len(path.parts) <= 2
    return (policy.base_model, True) if on_hub else (path.name or "base", False)


def card_facts(policy: Policy, *, form: str) -> CardFacts:
    """``form``: "adapter" or "model", what the card lies beside."""
    lineage = [row for row in registry.ancestors(policy) if row.run is not None]
    learned, retracted = registry.learned_by(lineage), retracted_since(lineage)
    base, on_hub = public_base(policy)
    run = policy.run
    used = SnapshotItem.objects.filter(
        snapshot__in=[row.run.snapshot_id for row in lineage if row.run is not None], outcome=Outcome.USED
    )
    people = Coalesce("judgment__annotator", "rating__annotator", "ranking__annotator")
    prompts = Coalesce("judgment__comparison__prompt", "rating__response__prompt", "ranking__lineup__prompt")
    loop = Loop.objects.filter(project=policy.project_id).first()
    return CardFacts(
        number=policy.number,
        base=base,
        base_on_hub=on_hub,
        base_revision=policy.base_revision if on_hub else "",
        form=form,
        method=run.method if run else "none",
        method_label=_label(run) if run else "nothing",
        parent="nothing" if policy.parent is None else _named(policy.parent),
        reference=_reference(run),
        reward_model=_reward_model(run),
        dropped=_dropped(run),
        lessons=[
            Lesson(
                policy=row.number,
                method=row.run.method,
                judgments=learned[row.pk].judgments,
                ratings=learned[row.pk].ratings,
                rankings=learned[row.pk].rankings,
                frozen=learned[row.pk].frozen,
                rule=_RULES.get(Aggregation(row.run.snapshot.aggregation), row.run.snapshot.aggregation),
                snapshot_sha256=row.run.snapshot.sha256,
                retracted=retracted[row.pk].own if row.pk in retracted else 0,
            )
            for row in lineage
            if row.run is not None
        ],
        annotators=used.order_by().values_list(people).distinct().count(),
        prompts=used.order_by().values_list(prompts).distinct().count(),
        settings={
            name: value
            for name, value in (settings_shown(run) if run else [])
            # Nothing that names a folder of this machine.
            if not (isinstance(value, str) and (value == "" or Path(value).is_absolute()))
        },
        versions=run.result.get("versions", {}) if run else {},
        metrics=policy.metrics,
        guard_failures=[str(unpacked(failure)) for failure in policy.guard_failures],
        scored=policy.scored_at is not None,
        champion=loop is not None and loop.champion_id == policy.pk,
        manifest_sha256=policy.manifest_sha256,
        made=f"{policy.created_at:%Y-%m-%d}",
    )


def _reward_model(run: Run | None) -> str:
    made = None if run is None else run.reward_model
    if made is None:
        return ""
    told = made.metrics
    if told.get("heldout_accuracy") is None:
        return f"reward model {made.number}, which was not measured"
    return (
        f"reward model {made.number}, trained on the decisions above; on {told['heldout_n']} held-out judgments "
        f"it agrees in {told['heldout_accuracy']:.0%} (95% interval {told['heldout_low']:.0%} to "
        f"{told['heldout_high']:.0%})"
    )


def _dropped(run: Run | None) -> tuple[int, int] | None:
    metrics = {} if run is None else run.result.get("metrics", {})
    return (metrics["dropped"], metrics["compared"]) if metrics.get("compared") else None


def _label(run: Run) -> str:
    method = METHODS.get(run.method)
    return str(method.title) if method is not None else run.method.upper()


def _named(policy: Policy) -> str:
    return "the base" if policy.number == 0 else f"policy {policy.number}"


def _reference(run: Run | None) -> str:
    if run is None or not run.held_close_to:
        return ""
    return "the base" if run.reference == "base" else "the policy that it continues"
