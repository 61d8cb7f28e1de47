from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from annotate.access import SignedInRequest, membership_for
from annotate.forms.prompts import FilterForm, ImportForm
from annotate.models import Role
from annotate.prompt_files import PromptFileError
from annotate.queries.prompts import later_turns_in, prompt_counts, prompts_of, recent_imports, skipped_in_words
from annotate.services.prompts import import_prompts
from annotate.telling import told_error
from annotate.uploads import was_too_large

PAGE_SIZE = 25


@require_safe
@login_required
def prompts(request: SignedInRequest, project_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    project = membership.project
    filters = FilterForm(request.GET)
    page = Paginator(prompts_of(project, **filters.chosen()), PAGE_SIZE).get_page(request.GET.get("page"))
    context = {
        "membership": membership,
        "project": project,
        "filters": filters,
        "page": page,
        "counts": prompt_counts(project),
        "imports": recent_imports(project),
    }
    return render(request, "annotate/prompts.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def new_import(request: SignedInRequest, project_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    if request.method == "POST":
        form = ImportForm(request.POST, request.FILES, too_large=was_too_large(request))
    else:
        form = ImportForm()
    if form.is_bound and form.is_valid():
        file = form.cleaned_data["file"]
        try:
            done = import_prompts(
                project=membership.project,
                file=file.file,
                name=file.name,
                format=form.chosen_format(),
                created_by=request.user,
            )
            return redirect("annotate:prompt_import", project_id, done.pk)
        except PromptFileError as error:
            form.add_error("file", told_error(error))
    context = {"membership": membership, "project": membership.project, "form": form}
    return render(request, "annotate/import.html", context, status=422 if form.errors else 200)


@require_safe
@login_required
def prompt_import(request: SignedInRequest, project_id: int, import_id: int) -> HttpResponse:
    """What became of an import's rows."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    done = get_object_or_404(membership.project.prompt_imports.select_related("created_by"), pk=import_id)
    context = {
        "membership": membership,
        "project": membership.project,
        "import": done,
        "skipped": skipped_in_words(done),
        "unlisted": done.rows - done.imported - len(done.problems),
        "later_turns": later_turns_in(done),
    }
    return render(request, "annotate/prompt_import.html", context)
