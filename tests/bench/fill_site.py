"""Fills the site's database: a project with a long queue, and people who are signed in to it."""

import json

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY

from annotate.models import Comparison, Project, Prompt, Response, Role, Slot, User
from annotate.prompt_files import messages_sha256
from annotate.services.projects import create_project
from annotate.sessions import SessionStore
from tests.cast import join, make_user, policy_author

# Two answers of the length that the starter writes.
LEFT = "I am so sorry about that. I have sent you a new one today. Please keep the old parcel for the driver."
RIGHT = "We will look into it. These things take time. Our winter catalogue is out now. Many people like the color."


def fill(*, people: int, comparisons: int) -> None:
    """Makes so many open comparisons, and prints the project with the session keys of so many annotators as JSON."""
    project = create_project(name="Bench", created_by=make_user("owner"), guideline_text="Prefer the better answer.")
    author = policy_author(project)
    prompts = []
    for number in range(comparisons):
        messages = [{"role": "user", "content": f"Hello. My parcel number {number} is late. What can I do?"}]
        prompts.append(Prompt(project=project, messages=messages, sha256=messages_sha256(messages), split="train"))
    Prompt.objects.bulk_create(prompts, batch_size=1000)
    responses = [
        Response(prompt=prompt, author=author, text=f"{text} ({prompt.pk})", sha256=f"{side}{prompt.pk}")
        for prompt in prompts
        for side, text in (("l", LEFT), ("r", RIGHT))
    ]
    Response.objects.bulk_create(responses, batch_size=1000)
    pairs = [
        Comparison(project=project, prompt=prompt, first=first, second=second, split="train", round=1)
        for prompt, first, second in zip(prompts, responses[::2], responses[1::2], strict=True)
    ]
    Comparison.objects.bulk_create(pairs, batch_size=1000)
    slots = [Slot(project=project, kind=Slot.Kind.PAIR, comparison=pair) for pair in pairs]
    Slot.objects.bulk_create(slots, batch_size=1000)
    sessions = [_session(project, f"person{number}") for number in range(people)]
    print(json.dumps({"project": project.pk, "sessions": sessions}))


def _session(project: Project, username: str) -> str:
    """A signed-in session, made as signing in makes it: the measurement is about judging, not about passwords."""
    user: User = make_user(username)
    join(project, user, Role.ANNOTATOR)
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    return str(session.session_key)
