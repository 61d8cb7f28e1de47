"""A cap on uploaded files that holds before anything is written to disk, for whoever sends them."""

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, SkipFile
from django.http import HttpRequest

_MARK = "pairloop.upload_too_large"


def was_too_large(request: HttpRequest) -> bool:
    """Did the request come with a file that ``SizeCap`` dropped?"""
    # In this order: looking at FILES parses the body, if nobody has yet.
    return not request.FILES and _MARK in request.META


class SizeCap(FileUploadHandler):
    """Drops a file that grows beyond ``PROMPT_FILE_MAX_BYTES`` and marks the request, so that its form can say why.

    Django's own ``DATA_UPLOAD_MAX_MEMORY_SIZE`` leaves files out, and the CSRF check reads the body before any view
    could ask who sent it: without this, a stranger could fill the disk.
    """

    _received = 0

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes | None:
        # All files of a request together: many small ones fill a disk as well.
        self._received += len(raw_data)
        if self._received > settings.PROMPT_FILE_MAX_BYTES:
            if self.request is not None:
                self.request.META[_MARK] = True
            raise SkipFile
        return raw_data

    def file_complete(self, file_size: int) -> "UploadedFile[bytes] | None":
        return None
