"""Makes the bare app's tables and items."""

from django.db import connection

from tests.bench.bare.models import Item, Vote


def fill(*, items: int) -> None:
    with connection.schema_editor() as editor:
        editor.create_model(Item)
        editor.create_model(Vote)
    made = (
        Item(prompt=f"Question {n}: my parcel is late.", left="It is on its way. " * 5, right="Please wait. " * 8)
        for n in range(items)
    )
    Item.objects.bulk_create(made, batch_size=1000)
