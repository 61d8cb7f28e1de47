"""People who judge without a pause: threads on raw HTTP connections, so that the load itself costs little."""

import http.client
import re
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlencode


class Person(Protocol):
    """Someone who can make one judgment after another."""

    def arrive(self) -> None:
        """Takes a new connection: gunicorn's threads close one that was idle while others had their turn."""

    def judge(self) -> None:
        """One judgment: sends it and has the next pair when it returns. Raises on anything but success."""


@dataclass
class Tally:
    """What one round of judging took. Times in seconds."""

    seconds: float
    latencies: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, percent: int) -> float:
        return statistics.quantiles(self.latencies, n=100, method="inclusive")[percent - 1]


def judge_without_pause(people: Sequence[Person], seconds: float) -> Tally:
    """Everyone judges until the time is over. Raises the first error that anyone met."""
    latencies: list[list[float]] = [[] for _ in people]
    errors: list[Exception] = []
    start = threading.Barrier(len(people) + 1)
    over = threading.Event()

    def work(person: Person, mine: list[float]) -> None:
        person.arrive()
        start.wait()
        while not over.is_set():
            began = time.perf_counter()
            try:
                person.judge()
            except Exception as error:  # noqa: BLE001  (any failure voids the measurement)
                errors.append(error)
                over.set()
                return
            mine.append(time.perf_counter() - began)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(people, latencies, strict=True)]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    over.wait(seconds)
    over.set()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return Tally(time.perf_counter() - began, [one for mine in latencies for one in mine])


class Connection:
    """A connection that opens itself again when the server closed it, as sync workers do after each answer."""

    def __init__(self, port: int) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def reopen(self) -> None:
        """Closes the connection; the next request opens another."""
        self._http.close()

    def send(
        self, method: str, path: str, headers: dict[str, str], fields: dict[str, str] | None = None
    ) -> tuple[int, str, http.client.HTTPMessage]:
        """One request, its fields as a form's: (status, body, headers)."""
        body = urlencode(fields) if fields is not None else None
        kind = {"Content-Type": "application/x-www-form-urlencoded"} if fields is not None else {}
        self._http.request(method, path, body, kind | headers)
        answer = self._http.getresponse()
        return answer.status, answer.read().decode(), answer.headers


# Any 32 letters: what Django compares is the cookie with the field.
_CSRF = "c" * 32


class BarePerson:
    """Judges at the bare app: the items in turn."""

    def __init__(self, port: int, number: int, items: int) -> None:
        self._connection = Connection(port)
        self._number, self._items, self._at = number, items, number

    def arrive(self) -> None:
        self._connection.reopen()

    def judge(self) -> None:
        following = (self._at + 16) % self._items
        vote = {"item": str(self._at + 1), "choice": "A", "person": str(self._number), "next": str(following + 1)}
        vote["csrfmiddlewaretoken"] = _CSRF
        status, body, _ = self._connection.send("POST", "/judge/", {"Cookie": f"csrftoken={_CSRF}"}, vote)
        if status != 200:
            raise RuntimeError(f"the bare app answered {status}: {body[:300]}")
        self._at = following


# Enough of HTML for our own form, and cheaper than a parser: the load must not eat the cores that serve it.
_TAG = re.compile(r"<input\b[^>]*>")
_ATTRIBUTE = re.compile(r'\b(name|value|type)="([^"]*)"')


def hidden_fields(html: str) -> dict[str, str]:
    """name -> value of the hidden inputs in a piece of HTML."""
    found = {}
    for tag in _TAG.findall(html):
        attributes = dict(_ATTRIBUTE.findall(tag))
        if attributes.get("type") == "hidden" and "name" in attributes:
            found[attributes["name"]] = attributes.get("value", "")
    return found


_ALONE = re.compile(r'data-slot="(\d+)" data-id="([0-9a-f-]+)"')


def item_fields(html: str) -> dict[str, str]:
    """What judge.js sets in its form for a pair that was sent alone."""
    found = _ALONE.search(html)
    if found is None:
        raise RuntimeError(f"this is no pair: {html[:300]}")
    return {"slot": found.group(1), "client_id": found.group(2)}


class SitePerson:
    """Judges at the site as its page with JavaScript does: one request sends the choice and brings the next pair."""

    def __init__(self, port: int, project: int, session: str) -> None:
        self._connection = Connection(port)
        self._path = f"/projects/{project}/judge/"
        self._cookie = f"sessionid={session}"
        status, body, headers = self._connection.send("GET", self._path, {"Cookie": self._cookie})
        if status != 200:
            raise RuntimeError(f"the judging page answered {status}: {body[:300]}")
        found = re.search(r"csrftoken=([^;]+)", headers.get("Set-Cookie", ""))
        self._cookie += f"; csrftoken={found.group(1) if found else ''}"
        self._fields = self._decision(body)
        shell = re.search(r'data-shell="(\w+)"', body)
        self._headers = {
            "Cookie": self._cookie,
            "HX-Request": "true",
            "Pairloop-Shell": shell.group(1) if shell else "",
        }

    def arrive(self) -> None:
        self._connection.reopen()

    def judge(self) -> None:
        status, body, headers = self._connection.send("POST", self._path, self._headers, self._fields | {"choice": "A"})
        if status != 200:
            raise RuntimeError(f"the judging page answered {status}: {body[:300]}")
        if headers.get("Pairloop-Item"):
            self._fields |= item_fields(body)
        else:
            self._fields = self._decision(body)

    def _decision(self, body: str) -> dict[str, str]:
        """The hidden fields of the decision's form, and of no other on the page."""
        begin = body.find('<form id="decision"')
        if begin < 0:
            raise RuntimeError("The queue ran dry: give --comparisons more.")
        return hidden_fields(body[begin : body.index("</form>", begin)])
