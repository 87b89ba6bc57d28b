"""Identity of the caller of a request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

# Once for each call: `json.dumps` with separators makes an encoder each time.
_encode = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Identity:
    """The caller of a request, as an authentication layer has established.

    An ingress sets the identity, never a client. The identity follows the request to the replica
    and into every nested call (`Call.identity`, `serve.get_request_context().identity`).

    Attributes:
        subject: Unique name of the caller: a user, a service, the name of an API key.
        claims: Further claims about the caller, such as tenant or roles.
    """

    subject: str
    claims: Mapping[str, str] = field(default_factory=dict, hash=False)

    def encode(self) -> str:
        """Return the identity as ASCII text without control characters."""
        return _encode([self.subject, dict(self.claims)])

    @classmethod
    def decode(cls, text: str) -> Identity:
        """Return the identity that `encode` has encoded.

        Raises:
            ValueError: The text is not an encoded identity.
        """
        try:
            subject, claims = json.loads(text)
            return cls(str(subject), {str(name): str(value) for name, value in claims.items()})
        except (TypeError, AttributeError) as error:
            raise ValueError(f"{text[:100]!r} is not an identity") from error
