"""How long the lead's pages take over fifty thousand judgments, in seconds of the server's CPU and on the clock.

``python -m tests.bench.pages [--judgments N] [--comparisons N] [--rankings]``: fills a throw-away database, SQLite's in
memory or one in the PostgreSQL that PAIRLOOP_DATABASE_URL names, and opens each page a few times. With
``--comparisons`` so many exist, of which all but the judged ones wait. What PostgreSQL does is on the clock only.
"""

import argparse
import os
import time

# Pages of a lead that ask about the project's work.
PAGES = ("annotate:home", "annotate:project", "annotate:dashboard", "annotate:prompts", "annotate:people",
         "annotate:queue", "annotate:quality", "annotate:review", "annotate:history", "annotate:audit",
         "annotate:export", "training:runs", "training:policies", "training:loop")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.pages", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--judgments", type=int, default=50_000)
    parser.add_argument("--comparisons", type=int, default=0, help="in all; none but the judged ones where fewer")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--rankings", action="store_true", help="of four answers each, in place of judgments of pairs")
    options = parser.parse_args()
    what = "rankings" if options.rankings else "judgments"
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django  # noqa: PLC0415  (after the settings are named)

    django.setup()
    from django.db import connection, transaction  # noqa: PLC0415
    from django.test import Client, override_settings  # noqa: PLC0415
    from django.urls import reverse  # noqa: PLC0415
    from django.utils import timezone  # noqa: PLC0415

    from annotate.models import Role  # noqa: PLC0415
    from annotate.services.projects import create_project  # noqa: PLC0415
    from tests.cast import make_user  # noqa: PLC0415
    from tests.crowd import fill, fill_rankings, fill_waiting  # noqa: PLC0415
    from training.services.loops import ensure_loop  # noqa: PLC0415

    usual = str(connection.settings_dict["NAME"])
    connection.creation.create_test_db(verbosity=0)
    with transaction.atomic():
        owner = make_user("alice", is_staff=True)
        project = create_project(
            name="Measured",
            created_by=owner,
            guideline_text="Prefer the kind answer.",
            judging="ranking" if options.rankings else "both",
        )
        ensure_loop(project=project, base_model="/nowhere")
        (fill_rankings if options.rankings else fill)(project, **{what: options.judgments}, now=timezone.now())
        waiting = options.comparisons - project.comparisons.count()
        if waiting > 0:
            fill_waiting(project, comparisons=waiting, now=timezone.now())
    client = Client()
    client.force_login(owner)
    person = project.memberships.filter(role=Role.ANNOTATOR).values_list("user", flat=True)[0]
    urls = {name.split(":")[1]: reverse(name, args=[] if name == "annotate:home" else [project.pk]) for name in PAGES}
    urls["annotator"] = reverse("annotate:annotator", args=[project.pk, person])
    print(f"{options.judgments} {what}, {project.comparisons.count()} comparisons, {connection.vendor}")
    try:
        with override_settings(ALLOWED_HOSTS=["testserver"]):
            # The first page of a process also loads all others.
            client.get("/")
            for name, url in urls.items():
                cpu, clock = [], []
                for _ in range(options.times):
                    begin = time.process_time(), time.perf_counter()
                    answer = client.get(url)
                    cpu.append(time.process_time() - begin[0])
                    clock.append(time.perf_counter() - begin[1])
                    assert answer.status_code == 200, answer.status_code
                print(f"{name:10} {min(cpu):.2f} s of CPU, {min(clock):.2f} s on the clock (best of {options.times})")
    finally:
        connection.creation.destroy_test_db(usual, verbosity=0)


if __name__ == "__main__":
    main()
