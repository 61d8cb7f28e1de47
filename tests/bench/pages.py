"""How long the lead's pages take over fifty thousand judgments, in seconds of the server's CPU.

``python -m tests.bench.pages [--judgments N] [--rankings]``: fills a throw-away SQLite database and opens each page a
few times.
"""

import argparse
import os
import time


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.pages", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--judgments", type=int, default=50_000)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--rankings", action="store_true", help="of four answers each, in place of judgments of pairs")
    options = parser.parse_args()
    what = "rankings" if options.rankings else "judgments"
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django  # noqa: PLC0415  (after the settings are named)

    django.setup()
    from django.db import connection  # noqa: PLC0415
    from django.test import Client, override_settings  # noqa: PLC0415
    from django.utils import timezone  # noqa: PLC0415

    from annotate.services.projects import create_project  # noqa: PLC0415
    from tests.cast import make_user  # noqa: PLC0415
    from tests.crowd import fill, fill_rankings  # noqa: PLC0415

    connection.creation.create_test_db(verbosity=0)
    owner = make_user("alice", is_staff=True)
    project = create_project(
        name="Measured",
        created_by=owner,
        guideline_text="Prefer the kind answer.",
        judging="ranking" if options.rankings else "both",
    )
    (fill_rankings if options.rankings else fill)(project, **{what: options.judgments}, now=timezone.now())
    client = Client()
    client.force_login(owner)
    with override_settings(ALLOWED_HOSTS=["testserver"]):
        # The first page of a process also loads all others.
        client.get("/")
        for name in ("quality", "dashboard"):
            taken = []
            for _ in range(options.times):
                begin = time.process_time()
                answer = client.get(f"/projects/{project.pk}/{name}/")
                taken.append(time.process_time() - begin)
                assert answer.status_code == 200, answer.status_code
            shown = " ".join(f"{seconds:.2f}" for seconds in taken)
            print(f"{name}, {options.judgments} {what}: {shown} s of CPU, best {min(taken):.2f}")


if __name__ == "__main__":
    main()
