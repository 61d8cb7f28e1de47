"""What a process imports, asked in a fresh interpreter, where no other test has imported anything before."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "safetensors", "matplotlib")

WEB = f"""
import sys
import config.wsgi
from django.urls import get_resolver
from django.test import Client

def walk(patterns):
    for pattern in patterns:
        if hasattr(pattern, "url_patterns"):
            yield from walk(pattern.url_patterns)
        else:
            yield pattern.callback

views = list(walk(get_resolver().url_patterns))
assert any(view.__module__ == "training.views.runs" for view in views), views
print([name for name in {HEAVY!r} if name in sys.modules])
"""

JUDGING_ONLY = """
import importlib, pkgutil, sys
from django.conf import settings
import config.settings as ours

# The annotation app by itself: the site's settings without the other app.
values = {name: getattr(ours, name) for name in dir(ours) if name.isupper()}
values["INSTALLED_APPS"] = [app for app in ours.INSTALLED_APPS if app != "training"]
values["ROOT_URLCONF"] = "annotate.urls"
values["PROJECT_PANELS"], values["PROJECT_TABS"] = [], ["annotate.tabs.TABS"]
values["JUDGED_PANELS"], values["AUDIT_DEEDS"] = [], ["annotate.deeds.DEEDS"]
settings.configure(**values)
import django
django.setup()
import annotate
for module in pkgutil.walk_packages(annotate.__path__, "annotate."):
    importlib.import_module(module.name)
print(sorted(name for name in sys.modules if name == "training" or name.startswith("training.")))
"""

TASKS = f"""
import sys, django
django.setup()
import training.tasks
print([name for name in {HEAVY!r} if name in sys.modules])
"""


def said_by(code: str, home: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PAIRLOOP_HOME": str(home), "DJANGO_SETTINGS_MODULE": "config.settings"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_web_process_with_all_its_pages_imports_no_torch(tmp_path: Path) -> None:
    assert said_by(WEB, tmp_path) == "[]"


def test_the_worker_process_imports_no_torch_either(tmp_path: Path) -> None:
    assert said_by(TASKS, tmp_path) == "[]"


def test_the_annotation_app_imports_nothing_of_the_trainer(tmp_path: Path) -> None:
    assert said_by(JUDGING_ONLY, tmp_path) == "[]"
