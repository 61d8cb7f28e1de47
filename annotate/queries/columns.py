"""Rows of plain SQL as instances of models, for the few statements that every judgment makes (``make bench``)."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Field, Model
from django.db.models.base import ModelState

_M = TypeVar("_M", bound=Model)
_Converters = list[tuple[int, list[Callable[..., Any]], Any]]


def this_connection() -> BaseDatabaseWrapper:
    """This thread's connection itself: ``django.db.connection`` looks it up again for each attribute."""
    return connections[DEFAULT_DB_ALIAS]


def loaded(model: type[_M], **values: Any) -> _M:
    """An instance as a query with ``only`` makes it: what is not named here is read when somebody asks for it.

    It is made as unpickling makes one, from its state: ``from_db`` goes through all fields, signals and defaults.
    """
    instance = model.__new__(model)
    instance._state = ModelState()
    instance._state.adding, instance._state.db = False, DEFAULT_DB_ALIAS
    instance.__dict__.update(values)
    return instance


class Columns(Generic[_M]):
    """All columns of a model under an alias, in the model's order: ``sql`` asks for them, ``read`` takes them."""

    def __init__(self, model: type[_M], alias: str) -> None:
        self.model, self.alias = model, alias
        self._fields: list[Field[Any, Any]] = list(model._meta.concrete_fields)
        self._names = [field.attname for field in self._fields]
        self.sql = ", ".join(f"{alias}.{field.column}" for field in self._fields)
        # Made when the first connection is there, and alike for all of a vendor.
        self._converters = cache(self._all_converters)
        self._insert = cache(self._insert_statement)

    def read(self, values: Iterator[Any]) -> _M:
        """The instance, from the next values of a row: as many as there are columns."""
        connection = this_connection()
        row = [next(values) for _ in self._fields]
        for at, converters, expression in self._converters(connection.vendor):
            for convert in converters:
                row[at] = convert(row[at], expression, connection)
        return loaded(self.model, **dict(zip(self._names, row, strict=True)))

    def insert(self, instance: _M, *, source: str = "") -> tuple[str, dict[str, Any]]:
        """The statement that saves the instance and returns its id, and its parameters, which begin with the alias.

        With a ``source`` such as ``FROM won`` it saves only when that has a row.
        """
        connection = this_connection()
        values = {
            f"{self.alias}_{field.column}": field.get_db_prep_save(field.pre_save(instance, add=True), connection)
            for field in self._fields[1:]
        }
        return self._insert(connection.vendor, source), values

    # What a database has no type for comes back as something else: a moment in SQLite, JSON in both.
    def _all_converters(self, _vendor: str) -> _Converters:
        connection = this_connection()
        expressions = [field.get_col(self.alias) for field in self._fields]
        needed = [
            connection.ops.get_db_converters(expression) + expression.get_db_converters(connection)
            for expression in expressions
        ]
        return [(at, needed[at], expressions[at]) for at in range(len(needed)) if needed[at]]

    # In a SELECT no database guesses the type of a parameter from the column that it is for.
    def _insert_statement(self, _vendor: str, source: str) -> str:
        connection, fields = this_connection(), self._fields[1:]
        columns = ", ".join(str(field.column) for field in fields)
        given = [f"%({self.alias}_{field.column})s" for field in fields]
        if source:
            given = [
                f"CAST({each} AS {field.cast_db_type(connection)})" for each, field in zip(given, fields, strict=True)
            ]
        values = ", ".join(given)
        chosen = f"SELECT {values} {source}" if source else f"VALUES ({values})"
        return f"INSERT INTO {self.model._meta.db_table} ({columns}) {chosen} RETURNING id"
