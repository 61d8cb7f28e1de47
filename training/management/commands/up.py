"""``manage.py up``: everything a fresh machine needs to run the site, then the site itself, under one supervisor."""

import fcntl
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from argparse import ArgumentParser
from pathlib import Path
from types import FrameType

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from annotate.models import Project, User
from training.services.demo import DemoFailedError, create_demo_project, sample_first_answers
from training.supervisor import GivenUpError, Program, Supervisor

OWNER_NAME = "owner"


def port_number(raw: str) -> int:
    """A TCP port from the command line; raises CommandError on anything else."""
    if not raw.isdecimal() or not 1 <= int(raw) <= 65535:
        raise CommandError(f"PORT={raw!r}: give a port from 1 to 65535, say: make up PORT=8080")
    return int(raw)


class Command(BaseCommand):
    help = "Prepare the embedded site (database, starter model, demo project) and run web, workers and beat."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", default="8000")
        parser.add_argument("--host", default="127.0.0.1", help="Address to listen on; loopback unless told otherwise.")
        parser.add_argument("--no-demo", action="store_true", help="Start without the demo project.")

    def handle(self, *, port: str, host: str, no_demo: bool, **options: object) -> None:
        number = port_number(port)
        self._refuse_taken_port(host, number)
        with (settings.HOME / "up.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise CommandError(
                    f"Pairloop already runs on {settings.HOME}. Stop it there, or choose another PAIRLOOP_HOME."
                ) from error
            password = self._prepare(demo=not no_demo)
            self._run(host, number, password)

    def _refuse_taken_port(self, host: str, port: int) -> None:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise CommandError(
                    f"Cannot listen on {host}:{port} ({error.strerror}). Choose another port: make up PORT={port + 1}"
                ) from error

    # --- Before the site runs ---

    def _prepare(self, *, demo: bool) -> str:
        """Bring database, static files, starter, owner and demo into being. Returns where the password is kept."""
        self._say("Preparing the database")
        call_command("migrate", verbosity=0, interactive=False)
        call_command("collectstatic", verbosity=0, interactive=False)
        self._build_starter()
        owner = self._owner()
        if demo and not Project.objects.exists():
            self._say("Creating the demo project and sampling its first answers")
            loop = create_demo_project(owner=owner)
            try:
                sample_first_answers(loop)
            except DemoFailedError as error:
                self.stderr.write(f"{error} The worker will try again.")
        return str(self._password_path())

    def _build_starter(self) -> None:
        starter = Path(settings.STARTER_DIR)
        if (starter / "config.json").exists():
            return
        self._say("Building the starter model (about a minute on two cores, once)")
        done = subprocess.run([sys.executable, "-m", "training.engine", "starter", str(starter.parent)], check=False)
        if done.returncode != 0:
            raise CommandError("The starter model could not be built; the reason stands above. Then run make up again.")

    def _password_path(self) -> Path:
        return Path(settings.HOME) / "owner-password"

    def _owner(self) -> User:
        owner = User.objects.filter(is_superuser=True).order_by("pk").first()
        if owner is not None:
            return owner
        password = secrets.token_urlsafe(12)
        path = self._password_path()
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(password + "\n")
        return User.objects.create_superuser(username=OWNER_NAME, password=password)

    # --- The site ---

    def _run(self, host: str, port: int, password_path: str) -> None:
        supervisor = Supervisor(
            self._programs(host, port),
            log_dir=Path(settings.HOME) / "log",
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"},
        )

        def ask_to_stop(signum: int, frame: FrameType | None) -> None:
            supervisor.stopping = True

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, ask_to_stop)
        failure = ""
        try:
            supervisor.start()
            self._wait_until_up(supervisor, host, port)
            if not supervisor.stopping:
                self._greet(host, port, password_path)
            supervisor.watch()
        except GivenUpError as error:
            failure = str(error)
        finally:
            self._say("Stopping")
            killed = supervisor.stop()
        if killed:
            self._say(f"Had to kill: {', '.join(killed)}. Nothing is lost; unfinished jobs resume at the next start.")
        if failure:
            raise CommandError(failure)
        self._say("Stopped. `make up` continues where you left off.")

    def _programs(self, host: str, port: int) -> list[Program]:
        python = sys.executable
        celery = [python, "-m", "celery", "-A", "config"]
        quiet = ["--loglevel", "INFO", "--without-gossip", "--without-mingle"]
        bind = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return [
            Program(
                "web",
                [python, "-m", "gunicorn", "config.wsgi:application", "--bind", bind, "--workers", "2",
                 "--threads", "4", "--no-control-socket", "--access-logfile", "-", "--graceful-timeout", "10"],
                stop_seconds=15,
            ),
            Program(
                "worker",
                [*celery, "worker", "-Q", "default", "-P", "solo", "-n", f"default@{port}", *quiet],
                stop_seconds=20,
            ),
            # One slot: one engine at a time. It saves a checkpoint and gives its lease back when asked to stop.
            Program(
                "trainer", [*celery, "worker", "-Q", "gpu", "-P", "solo", "-n", f"gpu@{port}", *quiet], stop_seconds=60
            ),
            Program(
                "beat",
                [*celery, "beat", "--loglevel", "WARNING", "--schedule", str(Path(settings.HOME) / "beat-schedule"),
                 "--pidfile", ""],
            ),
        ]  # fmt: skip

    def _wait_until_up(self, supervisor: Supervisor, host: str, port: int) -> None:
        address = f"http://{_browsable(host)}:{port}/accounts/login/"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not supervisor.stopping:
            try:
                with urllib.request.urlopen(address, timeout=5):
                    return
            except urllib.error.HTTPError as error:
                raise GivenUpError(
                    f"The site answers with {error.code}; see {supervisor.log_dir / 'web.log'}."
                ) from error
            except OSError:
                time.sleep(0.2)
        if not supervisor.stopping:
            raise GivenUpError(f"The site did not answer within a minute; see {supervisor.log_dir / 'web.log'}.")

    def _greet(self, host: str, port: int, password_path: str) -> None:
        self.stdout.write("")
        self.stdout.write(self.style.SUCCESS(f"  Pairloop runs at http://{_browsable(host)}:{port}/"))
        path = Path(password_path)
        if path.exists():
            self.stdout.write(f"  Sign in as {OWNER_NAME} with the password {path.read_text().strip()}")
            self.stdout.write(f"  (kept in {path}; change it, then delete that file)")
        self.stdout.write("  Ctrl-C stops everything.\n")
        self.stdout.flush()

    def _say(self, message: str) -> None:
        self.stdout.write(f"- {message}")
        self.stdout.flush()


def _browsable(host: str) -> str:
    return "localhost" if host in ("127.0.0.1", "0.0.0.0", "::") else host  # noqa: S104  (compared, not bound)
