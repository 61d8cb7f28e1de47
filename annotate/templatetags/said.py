"""``{{ sentence|told }}`` for sentences that were kept with their values (``annotate.said``), and ``{{ verb|deed }}``
for the audit log's verbs."""

from django import template

from annotate import deeds, telling

register = template.Library()
register.filter("told", telling.told)
register.filter("deed", deeds.meaning)
