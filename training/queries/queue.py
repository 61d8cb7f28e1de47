"""What waits for the annotators."""

from annotate.models import Project
from annotate.queries.judging import open_slots


def open_items(project: Project, *, round_number: int) -> dict[str, int]:
    """Open slots of the round by kind ("pair", "thumb", "ranking"), for the kinds that the project asks for.

    Counted for the member who can be asked least: with more judgments wanted than there are people, the slots that
    nobody may take any more must not make the queue look full.
    """
    return {kind: open_slots(project, kind, round_number=round_number) for kind in project.kinds}
