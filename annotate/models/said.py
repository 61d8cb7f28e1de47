"""A column of text that keeps a ``Said`` with its values, so that every reader has it in their own language."""

from typing import Any

from django.db import models

from annotate.said import from_column, to_column


class SaidField(models.TextField):  # type: ignore[type-arg]  # Generic in the stubs only.
    """Text that a person wrote, as it is; a ``Said`` as JSON. Both come back as what they were."""

    def from_db_value(self, value: str | None, *args: object) -> str | None:
        return None if value is None else from_column(value)

    def get_prep_value(self, value: Any) -> Any:
        return to_column(super().get_prep_value(value))
