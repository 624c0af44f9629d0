"""What a process has read of batches' logs. After a restart, it shows whether Redis has lost some of that."""

from __future__ import annotations

from collections import OrderedDict

_BATCHES_AT_MOST = 10_000
"""A web that reads more batches forgets those that it has not read for the longest time. A restart loses seconds."""


class SeenBatches:
    """The newest entry that this process has read of each batch's log."""

    def __init__(self, most: int = _BATCHES_AT_MOST) -> None:
        self._most = most
        self._newest: OrderedDict[str, int] = OrderedDict()

    def note(self, log_id: str, entry_id: int) -> None:
        """The process has read the log up to this entry. Other logs than those of batches do not count."""
        if log_id[0] != "b" or entry_id <= 0:
            return
        newest = self._newest
        newest[log_id] = max(entry_id, newest.get(log_id, 0))
        newest.move_to_end(log_id)
        if len(newest) > self._most:
            newest.popitem(last=False)

    def all(self) -> dict[str, int]:
        """The id of the newest entry of each batch."""
        return dict(self._newest)
