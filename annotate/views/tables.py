"""Tables as CSV files to download."""

import csv
import io
from collections.abc import Iterable, Iterator
from typing import TypeVar

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from annotate.exports.csv_safety import formula_safe

Rows = Iterable[Iterable[object]]
Answer = TypeVar("Answer", bound=HttpResponseBase)
PIECE = 64 * 1024


def csv_file(name: str, rows: Rows) -> HttpResponse:
    """``rows`` as a file of that name, the header first; no cell is a formula to a spreadsheet."""
    return _named(HttpResponse(_pieces(rows), content_type="text/csv; charset=utf-8"), name)


def long_csv_file(name: str, rows: Rows) -> StreamingHttpResponse:
    """The same, sent while the rows are read."""
    return _named(StreamingHttpResponse(_pieces(rows), content_type="text/csv; charset=utf-8"), name)


def _named(answer: Answer, name: str) -> Answer:
    answer["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return answer


def _pieces(rows: Rows) -> Iterator[str]:
    written = io.StringIO()
    table = csv.writer(written)
    for row in rows:
        table.writerow([formula_safe(cell) for cell in row])
        if written.tell() > PIECE:
            yield written.getvalue()
            written.seek(0)
            written.truncate()
    yield written.getvalue()
