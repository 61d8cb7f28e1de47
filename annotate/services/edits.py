"""An annotator writes a better version of the answer that they prefer: kept as a response of theirs.

What a judgment says of it (``Judgment.edited``) is what makes it count. The response itself is content as any other:
undo, a change and a retraction are the judgment's, and take the derived pair with them.
"""

from annotate import assign
from annotate.models import Choice, Comparison, Project, Response, User
from annotate.services.content import clean_text, person_author, text_sha256

# Of one written answer, in characters.
LONGEST_EDIT = 100_000


def tidy(text: str) -> str:
    """The text as it is kept and compared: line ends as one character, nothing blank around it."""
    return clean_text(text.replace("\r\n", "\n").replace("\r", "\n")).strip()


def keep_edit(
    *, project: Project, comparison: Comparison, swapped: bool, choice: str, text: str, annotator: User
) -> Response:
    """The annotator's response that says ``text``, made of the answer that ``choice`` stands for.

    To be called inside the transaction that saves the judgment. The same text again, for instance after an undo, is the
    same response. Raises ``ValueError`` for what is no better version: nothing, one of the two answers as it is, or
    beside anything but A or B.
    """
    if choice not in (Choice.A, Choice.B):
        raise ValueError("an edit is a better version of the preferred answer, and belongs to A or B")
    written = tidy(text)
    if not written or len(written) > LONGEST_EDIT:
        raise ValueError(f"an edited answer has 1 to {LONGEST_EDIT} characters, not {len(written)}")
    if written in (tidy(comparison.first.text), tidy(comparison.second.text)):
        raise ValueError("the edited answer is one of the two answers as it was")
    left, right = assign.sides(comparison.first_id, comparison.second_id, swapped=swapped)
    response, _ = Response.objects.get_or_create(
        prompt_id=comparison.prompt_id,
        author=person_author(project=project, user=annotator),
        sha256=text_sha256(written),
        defaults={"text": written, "edited_from_id": left if choice == Choice.A else right},
    )
    return response
