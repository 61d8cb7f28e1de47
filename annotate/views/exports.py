import tempfile

from django.contrib.auth.decorators import login_required
from django.http import FileResponse, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from annotate.access import SignedInRequest, membership_for
from annotate.forms.exports import ExportForm
from annotate.models import Role
from annotate.services.exports import AGGREGATED
from annotate.services.exports import export as write_export

CONTENT_TYPES = {"jsonl": "application/jsonl", "parquet": "application/vnd.apache.parquet"}


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def export(request: SignedInRequest, project_id: int) -> HttpResponseBase:
    """Written to a temporary file first, so that what is downloaded is whole or an error, never cut off in between."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    form = ExportForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        what, kind = form.cleaned_data["what"], form.cleaned_data["format"]
        file = tempfile.TemporaryFile(prefix="pairloop-export-")  # noqa: SIM115  (the response closes it)
        done = write_export(
            project=membership.project,
            what=what,
            format=kind,
            file=file,
            selection=form.selection(),
            actor=request.user,
        )
        if done.rows:
            file.seek(0)
            rule = f"-{form.selection().aggregation}" if what in AGGREGATED else ""
            name = f"{what}{rule}-project{project_id}-{timezone.localtime():%Y%m%d-%H%M}.{kind}"
            return FileResponse(file, as_attachment=True, filename=name, content_type=CONTENT_TYPES[kind])
        file.close()
        form.add_error(None, _("Nothing fits this choice yet, so there is no file. Widen it, or judge some more."))
    context = {"membership": membership, "project": membership.project, "form": form}
    response: HttpResponse = render(request, "annotate/export.html", context, status=422 if form.errors else 200)
    return response
