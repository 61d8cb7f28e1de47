"""A broker that is down is never an error for anyone in the browser, and nothing is lost when it comes back."""

import json

from annotate.models import Judgment
from tests.jobs.conftest import RedisServer
from tests.jobs.harness import SHORT, Site, judge_everything, newest_run, open_project
from tests.jobs.prepared import answers_for
from training.models import Job

# A browser's requests, in a process of its own that reads the site's settings: a judgment, then the press on Start.
IN_THE_BROWSER = """
import json, sys, time
from django.test import Client
from django.urls import reverse
from annotate.models import Judgment, Membership, Project, Role, User
from training.simulation.page import read_page

project = Project.objects.get()
alice = User.objects.get(username="alice")
Membership.objects.create(project=project, user=alice, role=Role.OWNER)
client = Client(headers={"host": "localhost"})
client.force_login(alice)
said = {"seconds": 0.0}

def post(address, data):
    began = time.monotonic()
    answer = client.post(address, data)
    said["seconds"] = max(said["seconds"], time.monotonic() - began)
    return answer.status_code

def form_of(address, control):
    forms = read_page(client.get(address).content.decode()).forms
    return next(form for form in forms if control in form.names())

judging = form_of(reverse("annotate:judge", args=[project.pk]), "choice")
said["judge"] = post(judging.action or reverse("annotate:judge", args=[project.pk]), judging.submission(choice="A"))
said["judgments"] = Judgment.objects.filter(annotator=alice).count()
starting = form_of(reverse("training:runs", args=[project.pk]), "beta")
said["start"] = post(starting.action, starting.submission(**json.loads(sys.argv[1])))
print(json.dumps(said))
"""


def test_judging_and_starting_work_without_a_broker_and_the_job_runs_when_it_is_back(
    served_site: Site, redis_server: RedisServer
) -> None:
    site = served_site
    loop = open_project(site, paused_at="2026-11-21T00:00Z")
    answers_for(loop)
    assert judge_everything(loop.project, most=20) == 20
    redis_server.stop()
    chosen = {name: str(value) for name, value in SHORT.items() if name != "gradient_checkpointing"}
    arguments = f"import sys; sys.argv = ['', {json.dumps(json.dumps(chosen))}]\n"
    done = site.run_python(arguments + IN_THE_BROWSER, PAIRLOOP_DEBUG="1")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["judge"] in (200, 302, 303)
    assert said["judgments"] == 1
    assert said["start"] == 302
    assert said["seconds"] < 10
    assert Judgment.objects.count() == 21
    assert Job.objects.get().state == "queued"

    redis_server.start()
    site.start_worker("gpu")
    site.wait_for(lambda: newest_run().state == "scoring")
    assert Job.objects.get(kind="train").state == "done"
