"""What HTTP clients of servers on loopback have in common."""

from __future__ import annotations

import ssl

NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""``verify`` of every HTTP client. Without it each new client loads all certificates that the machine trusts, which
takes many times as long as a request to a server that speaks no TLS."""
