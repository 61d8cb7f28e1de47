"""Makes projects in the database of a running site, and prints what a browser test needs of each as JSON.

``python -m tests.browser.seed`` with the site's environment, beside the site, as any other command. Each line that it
reads, say ``{"pairs": 3}``, is a project that is wanted, and is answered by one line.
"""

import functools
import json
import os
import sys
import traceback
import uuid

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, models  # noqa: E402

from annotate.models import Project, Role, Slot, User  # noqa: E402
from annotate.prompt_files import messages_sha256  # noqa: E402
from annotate.services.checks import make_gold, make_gold_lineup  # noqa: E402
from annotate.services.projects import create_project  # noqa: E402
from annotate.sessions import SessionStore  # noqa: E402
from tests.cast import join, make_comparison, make_lineup, make_prompt, make_response, make_user  # noqa: E402
from tests.history import make_history  # noqa: E402

GUIDELINE = """\
Choose the reply that you would rather get as the customer.

- **Good** replies do something about *this* problem, are kind, and are short.
- **Bad** replies are rude, refuse without a reason, or talk about something else.
"""


# To hash a password takes half a second by design, and all of them are the same one.
models.make_password = functools.cache(models.make_password)


def main(wanted: dict[str, object]) -> dict[str, object]:
    """How many ``pairs``, ``thumbs``, ``rankings``, ``gold``; ``items`` {messages, a, b}; ``history``; ``settings``."""
    mark = uuid.uuid4().hex[:8]
    project = create_project(
        name=str(wanted.get("name", f"Parcel support {mark}")),
        created_by=make_user(f"alice-{mark}"),
        guideline_text=GUIDELINE,
        judging=Project.Judging.BOTH,
    )
    for name, value in wanted.get("settings", {}).items():  # type: ignore[attr-defined]
        setattr(project, name, value)
    project.save()
    bob = make_user(f"bob-{mark}")
    join(project, bob, Role.LEAD if wanted.get("lead") else Role.ANNOTATOR)
    if wanted.get("site_owner"):
        User.objects.filter(pk=bob.pk).update(is_superuser=True)
    for number in range(int(str(wanted.get("pairs", 0)))):
        prompt = make_prompt(project, f"Message {number}: my parcel is late. What now?")
        make_comparison(
            prompt,
            make_response(prompt, f"First answer {number}: I am sorry. I have sent you a new one."),
            make_response(prompt, f"Second answer {number}: we will look into it."),
        )
    for number in range(int(str(wanted.get("rankings", 0)))):
        prompt = make_prompt(project, f"Request {number}: which of these would you send?")
        make_lineup(prompt, *(f"Answer {letter} to {number}: it comes on day {letter}." for letter in "pqrs"))
    for number in range(int(str(wanted.get("thumbs", 0)))):
        response = make_response(make_prompt(project, f"Question {number}: can I send it back?"))
        Slot.objects.create(project=project, kind=Slot.Kind.THUMB, response=response)
    for item in wanted.get("items", []):  # type: ignore[attr-defined]
        prompt = make_prompt(project)
        prompt.messages = item["messages"]
        prompt.sha256 = messages_sha256(prompt.messages)
        prompt.save()
        if "b" in item:
            make_comparison(prompt, make_response(prompt, item["a"]), make_response(prompt, item["b"]))
        else:
            Slot.objects.create(project=project, kind=Slot.Kind.THUMB, response=make_response(prompt, item["a"]))
    if wanted.get("history"):
        make_history(project, bob)
    for comparison in list(project.comparisons.all()[: int(str(wanted.get("gold", 0)))]):
        make_gold(comparison=comparison, expected="first", actor=project.created_by, explanation="It is *kind*.")
    for lineup in list(project.lineups.all()[: int(str(wanted.get("gold", 0)))]):
        make_gold_lineup(
            lineup=lineup, ranks=[1, 2, None, 3], actor=project.created_by, explanation="The sooner the *better*."
        )
    return {"project": project.pk, "session": session_of(bob), "username": bob.username}


def session_of(user: User) -> str:
    """A signed-in session, made as signing in makes it."""
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    return str(session.session_key)


if __name__ == "__main__":
    for line in sys.stdin:
        try:
            answer = main(json.loads(line))
        except Exception:  # noqa: BLE001  (whatever it is, it is the asking test's)
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), flush=True)
