"""``{{ sentence|told }}`` for sentences that were kept with their values (``annotate.said``)."""

from django import template

from annotate import telling

register = template.Library()
register.filter("told", telling.told)
