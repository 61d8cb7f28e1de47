from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from annotate.access import SignedInRequest, membership_for
from annotate.models import Role
from training.models import Loop, Policy
from training.queries.retracted import retracted_since


@require_safe
@login_required
def policies(request: SignedInRequest, project_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    rows = membership.project.policies.select_related("parent", "run").order_by("-number")
    page = Paginator(rows, 25).get_page(request.GET.get("page"))
    retracted = retracted_since(page.object_list)
    context = {
        "membership": membership,
        "project": membership.project,
        "loop": Loop.objects.filter(project=membership.project).first(),
        "page": page,
        "policies": [(policy, retracted.get(policy.pk)) for policy in page],
    }
    return render(request, "training/policies.html", context)


@require_safe
@login_required
def policy(request: SignedInRequest, project_id: int, number: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    rows = Policy.objects.select_related("parent", "run__snapshot", "author")
    found = get_object_or_404(rows, project=membership.project, number=number)
    context = {
        "membership": membership,
        "project": membership.project,
        "policy": found,
        "loop": Loop.objects.filter(project=membership.project).first(),
        "children": found.children.order_by("number"),
        "responses": found.author.responses.count(),
        "retracted": retracted_since([found]).get(found.pk),
    }
    return render(request, "training/policy.html", context)
