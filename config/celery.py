"""The Celery app: the same on the filesystem transport and on Redis."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("pairloop")
app.config_from_object("django.conf:settings", namespace="CELERY")
# A task only supervises an engine process of its own, so a pool of forked children would add nothing. And only without
# one does the code that supervises hear that the worker was asked to stop (training.launcher).
app.conf.worker_pool = "solo"
app.autodiscover_tasks()
