"""The lead's view of quality: agreement, people, shortcuts; as a page and as a table to take away."""

from collections.abc import Iterator

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from annotate.access import SignedInRequest, membership_for
from annotate.models import Project, Role, User
from annotate.queries import quality as queries
from annotate.queries import ranked
from annotate.stats.agreement import Alpha
from annotate.stats.intervals import Share
from annotate.stats.shortcuts import PlaceWins, place_wins
from annotate.views.tables import csv_file

# Pairs of annotators whose alpha is worked out for the file; the rest have the share.
MOST_PAIRS_IN_TABLE = 1000


@require_safe
@login_required
def quality(request: SignedInRequest, project_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    project = membership.project
    entries = queries.rows(project)
    opinions = queries.shared(entries)
    names = {user.pk: user for user in User.objects.filter(memberships__project=project)}
    context = {
        "membership": membership,
        "project": project,
        "judgments": len(entries),
        "agreement": queries.agreement(opinions),
        "by_round": queries.agreement_by_round(opinions),
        "by_tag": queries.agreement_by_tag(project, opinions),
        "pairs": [(names.get(pair.left), names.get(pair.right), pair) for pair in queries.agreement_of_pairs(opinions)],
        "annotators": [(names.get(entry.annotator), entry) for entry in queries.annotators(project, entries)],
        "shortcuts": queries.shortcut_shares(project),
        "ranked": _ranked(project, names),
    }
    return render(request, "annotate/quality.html", context)


def _ranked(project: Project, names: dict[int, User]) -> dict[str, object]:
    """What the page says of rankings; empty when nobody ranked anything."""
    orders = ranked.orders(project)
    if not orders:
        return {}
    groups = ranked.shared(orders)
    pairs = ranked.agreement_of_pairs(groups)
    return {
        "places": _places(project),
        "agreement": ranked.agreement(groups),
        "by_round": ranked.agreement_by_round(groups),
        "pairs": [(names.get(pair.left), names.get(pair.right), pair.found) for pair in pairs],
        "annotators": [(names.get(entry.annotator), entry) for entry in ranked.annotators(project, orders, groups)],
    }


def _places(project: Project) -> list[PlaceWins]:
    return place_wins((ranks, count) for _round, ranks, count in ranked.orders_by_round(project))


@require_safe
@login_required
def table(request: SignedInRequest, project_id: int, name: str) -> HttpResponse:
    """Agreement, shortcuts, or the same of rankings as CSV, people by their pseudonyms."""
    project = membership_for(request.user, project_id, role=Role.LEAD).project
    tables = {
        "agreement": _agreement,
        "shortcuts": _shortcuts,
        "rankings": _rankings,
        "rankers": _rankers,
        "places": _place_rows,
    }
    rows = tables.get(name)
    if rows is None:
        raise Http404(f"There is no such table: choose one of {', '.join(tables)}.")
    return csv_file(f"{name}-{project.pk}", rows(project))


def _agreement(project: Project) -> Iterator[list[object]]:
    alphas = [f"{name}_{part}" for name in ("alpha_nominal", "alpha_ordinal") for part in ("value", "low", "high", "n")]
    yield ["of", "which", "same", "same_low", "same_high", "same_n", *alphas, "undefined"]
    opinions = queries.shared(queries.rows(project))
    yield ["all", "", *_figures(queries.agreement(opinions))]
    for number, by_round in queries.agreement_by_round(opinions):
        yield ["round", number, *_figures(by_round)]
    for by_tag in queries.agreement_by_tag(project, opinions):
        yield ["tag", by_tag.tag, *_figures(by_tag.choice)]
    people = dict(User.objects.filter(judgments__project=project).values_list("pk", "pseudonym"))
    for pair in queries.agreement_of_pairs(opinions, most_alphas=MOST_PAIRS_IN_TABLE):
        undefined = pair.nominal.undefined if pair.nominal else ""
        cells = [*_share(pair.raw), *_alpha(pair.nominal), *_alpha(None), undefined or ""]
        yield ["pair", f"{people.get(pair.left, '')} {people.get(pair.right, '')}", *cells]


def _figures(found: queries.Agreement) -> list[object]:
    undefined = found.nominal.undefined or found.ordinal.undefined or ""
    return [*_share(found.raw), *_alpha(found.nominal), *_alpha(found.ordinal), undefined]


def _share(share: Share) -> list[object]:
    return [share.value, share.low, share.high, share.n]


def _alpha(found: Alpha | None) -> list[object]:
    return [None] * 4 if found is None else [found.value, found.low, found.high, found.units]


def _shortcuts(project: Project) -> Iterator[list[object]]:
    yield ["wins", "share", "low", "high", "n"]
    found = queries.shortcut_shares(project)
    for name in ("left", "longer", "formatted"):
        yield [name, *_share(getattr(found, name))]


def _rankings(project: Project) -> Iterator[list[object]]:
    alphas = [f"alpha_ordinal_{part}" for part in ("value", "low", "high", "n")]
    yield ["of", "which", "lineups", "same", "same_low", "same_high", "same_n", *alphas, "undefined"]
    groups = ranked.shared(ranked.orders(project))
    yield ["all", "", *_ranking_figures(ranked.agreement(groups))]
    for number, by_round in ranked.agreement_by_round(groups):
        yield ["round", number, *_ranking_figures(by_round)]
    people = dict(User.objects.filter(rankings__project=project).values_list("pk", "pseudonym"))
    for pair in ranked.agreement_of_pairs(groups):
        who = f"{people.get(pair.left, '')} {people.get(pair.right, '')}"
        yield ["pair", who, *_ranking_figures(pair.found)]


def _ranking_figures(found: ranked.RankingAgreement) -> list[object]:
    return [found.lineups, *_share(found.same), *_alpha(found.ordinal), found.ordinal.undefined or ""]


def _place_rows(project: Project) -> Iterator[list[object]]:
    yield ["answers", "place", "share", "low", "high", "n", "by_chance"]
    for found in _places(project):
        for place, share in enumerate(found.wins, start=1):
            yield [found.size, place, *_share(share), found.chance]


def _rankers(project: Project) -> Iterator[list[object]]:
    shares = ("same", "gold", "self_consistency", "first_shown", "fast", "skips")
    columns = [f"{name}_{part}" for name in shares for part in ("share", "low", "high", "n")]
    yield ["annotator", "rankings", "median_seconds", *columns]
    people = dict(User.objects.filter(rankings__project=project).values_list("pk", "pseudonym"))
    orders = ranked.orders(project)
    for entry in ranked.annotators(project, orders, ranked.shared(orders)):
        cells = [cell for name in shares for cell in _share(getattr(entry, name))]
        yield [people.get(entry.annotator, ""), entry.rankings, entry.median_seconds, *cells]


@require_safe
@login_required
def annotators_csv(request: SignedInRequest, project_id: int) -> HttpResponse:
    """The table of annotators, pseudonymous, as CSV."""
    project = membership_for(request.user, project_id, role=Role.LEAD).project
    return csv_file(f"annotators-{project.pk}", _annotators(project))


def _annotators(project: Project) -> Iterator[list[object]]:
    people = dict(User.objects.filter(judgments__project=project).values_list("pk", "pseudonym"))
    shares = ("left", "gold", "self_consistency", "fast", "ties", "skips")
    columns = [f"{name}_{part}" for name in shares for part in ("share", "low", "high", "n")]
    yield ["annotator", "judgments", "median_seconds", *columns, "longest_run", "longest_run_choice", "straight_lined"]
    for entry in queries.annotators(project, queries.rows(project)):
        cells: list[object] = []
        for name in shares:
            share = getattr(entry, name)
            cells += [share.value, share.low, share.high, share.n]
        choice, length = entry.longest_run
        who = people.get(entry.annotator, "")
        yield [who, entry.judgments, entry.median_seconds, *cells, length, choice, int(entry.straight_lined)]


@require_safe
@login_required
def annotator(request: SignedInRequest, project_id: int, user_id: int) -> HttpResponse:
    """One annotator's measures: a lead sees anyone's, and everybody sees their own."""
    return render(request, "annotate/annotator.html", _annotator_context(request, project_id, user_id))


def _annotator_context(request: HttpRequest, project_id: int, user_id: int) -> dict[str, object]:
    role = Role.ANNOTATOR if request.user.pk == user_id else Role.LEAD
    membership = membership_for(request.user, project_id, role=role)
    person = get_object_or_404(User, pk=user_id, memberships__project=project_id)
    entries = queries.rows(membership.project, annotator=person)
    measured = queries.annotators(membership.project, entries)
    orders = ranked.orders(membership.project)
    own = [entry for entry in orders if entry.annotator == person.pk]
    rankers = ranked.annotators(membership.project, own, ranked.shared(orders)) if own else []
    return {
        "membership": membership,
        "project": membership.project,
        "person": person,
        "quality": measured[0] if measured else None,
        "ranker": rankers[0] if rankers else None,
        "shortcuts": queries.shortcut_shares(membership.project, annotator=person),
    }
