"""The cast: alice owns, lea leads, bob annotates, charlie is a stranger; and `project`, which they work in."""

import pytest

from annotate.models import Comparison, Project, Role, User
from annotate.services.projects import create_project
from tests.cast import join, make_comparison, make_prompt, make_user


@pytest.fixture
def alice(db: None) -> User:
    """Owns `project`, and may open new ones."""
    return make_user("alice", is_staff=True)


@pytest.fixture
def lea(db: None) -> User:
    """Leads `project`."""
    return make_user("lea")


@pytest.fixture
def bob(db: None) -> User:
    """Annotates in `project`."""
    return make_user("bob")


@pytest.fixture
def charlie(db: None) -> User:
    """Has an account and no part in `project`."""
    return make_user("charlie")


@pytest.fixture
def project(alice: User, lea: User, bob: User) -> Project:
    """Pairs and thumbs, guideline 1, four prompts (one is reserved), three open comparisons, no judgment yet."""
    project = create_project(
        name="Parcel support",
        created_by=alice,
        guideline_text="Prefer the answer that is kind and helps.",
        judging=Project.Judging.BOTH,
    )
    join(project, lea, Role.LEAD)
    join(project, bob, Role.ANNOTATOR)
    for number in range(1, 4):
        make_comparison(make_prompt(project, f"My parcel {number} is late. What now?"), round=1)
    make_prompt(project, "Can I send a parcel to my neighbour?", split="reserved")
    return project


@pytest.fixture
def comparisons(project: Project) -> list[Comparison]:
    """The project's comparisons in order of id."""
    return list(project.comparisons.order_by("id"))
