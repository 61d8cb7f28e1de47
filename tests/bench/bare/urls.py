"""One view: insert the vote that came, select the next item, answer with it."""

from django.http import HttpRequest, JsonResponse
from django.urls import path

from tests.bench.bare.models import Item, Vote


def judge(request: HttpRequest) -> JsonResponse:
    item_id = int(request.POST["item"])
    Vote.objects.create(item_id=item_id, choice=request.POST["choice"], person=int(request.POST["person"]))
    item = Item.objects.get(pk=int(request.POST["next"]))
    return JsonResponse({"id": item.pk, "prompt": item.prompt, "left": item.left, "right": item.right})


urlpatterns = [path("judge/", judge)]
