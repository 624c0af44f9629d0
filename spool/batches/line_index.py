"""The stored lines of a batch by their indexes. Their blocks may be in another order."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from typing import Any

from spool.batches.blocks import INDEX, firsts_of, lines_of
from spool.batches.line import decode_fields
from spool.errors import UndecodableRecord
from spool.jobs.owner_list import read
from spool.jobs.shards import Shard

_HEAD = b'{"index":'
_BLOCKS_HELD = 4
_NONE = 0xFFFFFFFF


class LineIndex:
    """The lines of one batch. It reads all blocks once, then those of the lines that are asked for; it holds few."""

    def __init__(self, shard: Shard, batch_id: str) -> None:
        self._shard = shard
        self._key = shard.key(f"batch:{batch_id}:lines")
        self._blocks: list[str] | None = None
        self._places = array("I")
        """For each line its block."""
        self._held: OrderedDict[str, list[bytes]] = OrderedDict()

    def line(self, index: int) -> dict[str, Any] | None:
        """The decoded line; None if it is missing or damaged. Raises ``StoreUnavailable``."""
        if self._blocks is None:
            self._blocks = self._find_all()
        place = self._places[index] if 0 <= index < len(self._places) else _NONE
        if place == _NONE:
            return None
        for raw in self._lines_of(self._blocks[place]):
            if _index_of(raw) == index:
                try:
                    return decode_fields(raw)
                except UndecodableRecord:
                    return None
        return None

    def _find_all(self) -> list[str]:
        (raw,) = read(self._shard, [("HGET", self._key, INDEX)])
        try:
            lanes = firsts_of(raw) if raw is not None else []
        except UndecodableRecord:
            lanes = []
        names = [f"{lane}:{first}" for lane, firsts in enumerate(lanes) for first in firsts]
        for place, name in enumerate(names):
            for line in self._lines_of(name):
                if (index := _index_of(line)) >= 0:
                    self._note(index, place)
        return names

    def _note(self, index: int, place: int) -> None:
        missing = index + 1 - len(self._places)
        if missing > 0:
            self._places.extend([_NONE] * missing)
        self._places[index] = place

    def _lines_of(self, name: str) -> list[bytes]:
        held = self._held.get(name)
        if held is None:
            (raw,) = read(self._shard, [("HGET", self._key, name)])
            try:
                held = lines_of(raw) if raw is not None else []
            except UndecodableRecord:
                held = []
            self._held[name] = held
            if len(self._held) > _BLOCKS_HELD:
                self._held.popitem(last=False)
        self._held.move_to_end(name)
        return held


def _index_of(raw: bytes) -> int:
    """The index of a stored line, which stands first; -1 for a damaged one."""
    digits = raw[len(_HEAD) : raw.find(b",")]
    return int(digits) if raw.startswith(_HEAD) and digits.isdigit() and len(digits) <= 7 else -1
