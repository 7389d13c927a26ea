"""Composition root: settings, the Celery app and the address table."""

from nija.celery import app as celery_app

__all__ = ["celery_app"]
