"""Which policies a lead may have the next answers sampled from."""

from annotate.said import Said, unpacked
from training.models import Loop, Policy, RecipeRun, Run
from training.recipes import makes_more_policies, stages_from
from training.states import RUN_ACTIVE


def why_not_sampled_from(policy: Policy, loop: Loop) -> Said | None:  # noqa: PLR0911  (a ladder of cases)
    """Why the next answers cannot come from this policy, in a sentence, or None where they can."""
    if policy.pk == loop.sampler_id:
        return Said("The next answers come from it already.")
    if policy.guard_failures:
        return Said("The guards hold it back: %(why)s.", why=[unpacked(failure) for failure in policy.guard_failures])
    run = policy.run
    if run is not None and policy.scored_at is None:
        return Said("It is not scored yet, so that the guards have not seen it.")
    if run is not None and run.recipe_run is not None:
        stages = stages_from(run.recipe_run.stages)
        if makes_more_policies(stages, run.stage or 0):
            return Said(
                "It was made between two stages of the recipe %(name)s. Choose what its last stage made.",
                name=run.recipe_run.name,
            )
    if (active := Run.objects.filter(project_id=policy.project_id, state__in=RUN_ACTIVE).first()) is not None:
        return Said("Run %(run)s is under way. Wait until it has ended, or cancel it.", run=active.number)
    recipe_run = RecipeRun.objects.filter(project_id=policy.project_id, state="running").first()
    if recipe_run is not None:
        return Said(
            "The recipe %(name)s is under way. Wait until its last stage has ended, or cancel it.",
            name=recipe_run.name,
        )
    return None
