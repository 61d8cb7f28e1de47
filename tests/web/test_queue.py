"""The queue is as full as it is for the person who can be asked least."""

from annotate.models import Project, User
from tests.cast import make_comparison, make_judgment, make_prompt
from training.queries.queue import open_items


def test_slots_that_nobody_may_take_any_more_do_not_make_the_queue_look_full(
    project: Project, bob: User, lea: User
) -> None:
    project.judging = Project.Judging.PAIRS
    before = open_items(project, round_number=1)["pair"]
    for _ in range(5):
        comparison = make_comparison(make_prompt(project), slots=3, round=1)
        for annotator in (bob, lea):
            make_judgment(comparison, annotator)
    assert open_items(project, round_number=1) == {"pair": before}
    make_comparison(make_prompt(project), slots=1, round=1)
    make_comparison(make_prompt(project), slots=1, round=2)
    assert open_items(project, round_number=1) == {"pair": before + 1}


def test_a_project_that_asks_for_thumbs_counts_thumbs(project: Project) -> None:
    project.judging = Project.Judging.THUMBS
    assert open_items(project, round_number=1) == {"thumb": 0}
