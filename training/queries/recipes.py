"""What the pages about recipes show, and where a recipe under way stands."""

from django.db.models import QuerySet

from annotate.models import Project
from training.models import Policy, Recipe, RecipeRun, RewardModel, Run


def run_at(recipe_run: RecipeRun, place: int) -> Run | None:
    """The newest run of a stage; None where it has not begun."""
    return recipe_run.runs.filter(stage=place).order_by("-number").first()


def policy_after(run: Run) -> Policy | None:
    """What the run made; after a reward model the policy that it began from, because a reward model continues none."""
    if RewardModel.objects.filter(run=run).exists():
        return run.parent
    return Policy.objects.filter(run=run).first()


def recipes_of(project: Project) -> QuerySet[Recipe]:
    """The project's recipes by name, archived ones last."""
    return project.recipes.order_by("archived_at", "name")


def recipe_runs_of(project: Project) -> QuerySet[RecipeRun]:
    """Newest first, with all that a list shows."""
    return project.recipe_runs.select_related("recipe", "start", "created_by").order_by("-number")
