"""Places for answers that take several MB to make, such as long lists: few are made at a time in a process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask import request

from web import auth
from web.folds import check_wanted
from web.server.peer import presence
from web.services import state


@contextmanager
def building() -> Iterator[None]:
    """Hold a place while this request's answer is made. Raises the ``Problem`` that ends a request if its client left
    before a place was free."""
    with state().folds.whole(auth.owner(), presence(request.environ)) as is_wanted:
        check_wanted(lambda: is_wanted)
        yield
