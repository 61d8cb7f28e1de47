"""The cast: alice owns, lea leads, bob annotates, charlie is a stranger; and `project`, which they work in."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils import translation
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from annotate.models import Comparison, Project, Role, User
from annotate.services.projects import create_project
from tests.cast import join, make_comparison, make_prompt, make_user
from tests.live_site import ROOT
from tests.migrated import manage
from training.engine.rundir import write_run_dir
from training.engine.spec import StarterSpec


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a site whose SQLite database is migrated and empty. Read only: see tests.migrated."""
    home = tmp_path_factory.mktemp("migrated")
    manage("migrate", "-v0", home=home)
    return home


# It learned for a moment only: it babbles, and loads, trains and samples like any other model.
TINY = StarterSpec(examples=200, steps=4, lesson_steps=1, batch_size=4, hidden_size=32, layers=2, heads=2)


@pytest.fixture(scope="session")
def tiny_starter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a starter that has learned next to nothing. Read only; the model is in ``model``."""
    folder = tmp_path_factory.mktemp("starter")
    write_run_dir(folder, TINY, [])
    built = subprocess.run(
        [sys.executable, "-m", "training.engine", "starter", str(folder)], cwd=ROOT, capture_output=True, check=False
    )
    assert built.returncode == 0, built.stderr.decode()[-2000:]
    return folder


# A slow machine fails no test, and every run tries the same examples: what one finds by chance, the next cannot repeat.
hypothesis_settings.register_profile(
    "patient", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("patient")


@pytest.fixture(autouse=True)
def no_language_left() -> Iterator[None]:
    """A page in German leaves German on in this thread, for whatever test comes next."""
    yield
    translation.deactivate()


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
