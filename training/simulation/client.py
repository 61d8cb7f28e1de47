"""A person at the site, over HTTP only: signs in, opens pages, submits the forms found on them as a browser would."""

from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urljoin

import httpx

from training.simulation.page import Form, Page, read_page


class SiteError(Exception):
    """The site did not do what a visitor needs; the message says what to do."""


@dataclass(frozen=True)
class Seen:
    """A page that came, the address it has, and the status it came with: 200, or 409 or 422 for a refusal."""

    page: Page
    address: str
    status: int


class Visitor:
    """One browser without JavaScript. Not safe to share between threads: give each person their own."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/") + "/"
        self._http = httpx.Client(timeout=30, follow_redirects=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._http.close()

    def sign_in(self, username: str, password: str) -> None:
        """Raises SiteError when the site is not there or refuses."""
        seen = self.open("accounts/login/")
        form = form_with(seen.page, "password")
        if form is None:
            raise SiteError(f"{seen.address} shows no sign-in form. Is {self.url} a Pairloop site?")
        seen = self.submit(form, at=seen.address, login=username, password=password)
        if form_with(seen.page, "password") is not None:
            raise SiteError(
                f"The site refused to sign in {username}, whom this command has just given a new password. "
                "Is the site running on the same database (PAIRLOOP_HOME, PAIRLOOP_DATABASE_URL)?"
            )

    def open(self, path: str) -> Seen:
        """GET a path of the site."""
        return self._read("GET", urljoin(self.url, path), None, "")

    def submit(self, form: Form, *, at: str, **changed: str) -> Seen:
        """Sends the form that stood on the page `at`, with the `changed` controls; what answers, redirects followed."""
        target = urljoin(at, form.action)
        return self._read(form.method.upper(), target, form.submission(**changed), at)

    def _read(self, method: str, address: str, data: dict[str, list[str]] | None, referer: str) -> Seen:
        try:
            if method == "POST":
                answer = self._http.post(address, data=data, headers={"Referer": referer})
            else:
                answer = self._http.get(address, params=data)
        except httpx.TransportError as error:
            raise SiteError(
                f"The site at {self.url} cannot be reached ({error}). Start it with `make up`, or name it with --url."
            ) from error
        page = read_page(answer.text)
        # 409 and 422 are answers for people (already judged; a form with mistakes): the caller reads them.
        if answer.status_code >= 400 and answer.status_code not in (409, 422):
            said = " ".join(page.text.split())[:200]
            raise SiteError(f"{method} {address} answered {answer.status_code}: {said}")
        return Seen(page, str(answer.url), answer.status_code)


def form_with(page: Page, *names: str) -> Form | None:
    """The first form of the page that has all the named controls, or None."""
    return next((form for form in page.forms if form.names() >= set(names)), None)
