# The Celery app must be the current one in every process, or a web process would ring a broker that is not ours.
from config.celery import app as celery_app

__all__ = ["celery_app"]
