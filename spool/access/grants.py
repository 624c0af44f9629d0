"""What a signed link, browser token or session stands for: a part of what the credential behind it may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from spool.access.caller import Kind, is_owner


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The contents of a link, a token or a session. All of it is readable to its holder, and signed."""

    kind: Kind
    owner: str
    expires_at: int
    """Whole seconds since the epoch."""
    parent: Kind
    """The kind of the credential behind it."""
    credential: str = ""
    """The id of that credential."""
    binding: str = ""
    """Of a static key: changes with its secret (``Signer.binding``)."""
    allows: tuple[str, ...] = ()
    """The calls that it allows (``web.auth.scope``); a session allows what its credential does."""
    job: str = ""
    batch: str = ""
    conversation: str = ""
    signed_by: str = ""
    """The id of the key that has signed it (``Signer``). Not part of its text."""

    def encode(self) -> list[Any]:
        """Its fields as JSON values."""
        head = [self.kind.value, self.owner, self.expires_at, self.parent.value, self.credential, self.binding]
        return [*head, list(self.allows), self.job, self.batch, self.conversation]

    @classmethod
    def decode(cls, values: Any) -> Self:
        """The grant of these fields. Raises ``ValueError``."""
        try:
            kind, owner, expires_at, parent, credential, binding, allows, job, batch, conversation = values
            if not is_owner(owner) or type(expires_at) is not int:
                raise ValueError("not a grant")
            return cls(
                kind=Kind(kind),
                owner=owner,
                expires_at=expires_at,
                parent=Kind(parent),
                credential=credential,
                binding=binding,
                allows=tuple(allows),
                job=job,
                batch=batch,
                conversation=conversation,
            )
        except (TypeError, AttributeError) as exc:
            raise ValueError("not a grant") from exc
