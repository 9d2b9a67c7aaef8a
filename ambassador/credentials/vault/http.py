"""The HTTP session that hvac speaks through: verified TLS, an end to every answer, and nothing from the environment.

Traps of what lies beneath, each answered here:

* requests adds the public authorities to any context of ours unless it is kept from choosing one;
* its timeout is for each read, so that a server which drips would hold us for ever; an answer is read here, against
  one deadline and up to a length;
* it takes proxies, CA bundles and passwords (.netrc) from the environment;
* it follows redirects, from https to http and to any host, with the token in the header and the secret id in the body;
  none is followed here.
"""

from __future__ import annotations

from http.cookiejar import DefaultCookiePolicy
from io import BytesIO
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from hvac.adapters import JSONAdapter
from requests.adapters import HTTPAdapter

from ambassador.config.vault import VaultSettings
from ambassador.credentials.vault.failure import TooLong
from ambassador.kit.clock import ticks
from ambassador.net.tls import ClientContexts

LONGEST: Final = 4 << 20
"""Bytes of an answer: a secret of a KV store has at most 1 MiB, a certificate with its chain some KiB."""

_CHUNK: Final = 64 << 10


class Http:
    """The connections to one Vault; may be used by several threads at once.

    Args:
        contexts: how it is verified; None for a cleartext address.
        connections: most that are kept open.
    """

    def __init__(self, settings: VaultSettings, contexts: ClientContexts | None, connections: int = 1) -> None:
        self._settings = settings
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.max_redirects = 0
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Transport(contexts, connections))

    def adapter(self, token: bytes | None) -> JSONAdapter:
        """What hvac's API classes speak through, showing `token`."""
        return JSONAdapter(
            base_uri=self._settings.address,
            token=None if token is None else token.decode(),
            namespace=self._settings.namespace,
            timeout=self._settings.timeout,  # type: ignore[arg-type]  # requests takes fractions of a second
            session=self._session,
        )

    def close(self) -> None:
        """Close the connections that nobody uses just now, and those that are used when they come free."""
        self._session.close()


class _Transport(HTTPAdapter):
    def __init__(self, contexts: ClientContexts | None, connections: int) -> None:
        self._contexts = contexts
        super().__init__(pool_maxsize=connections)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave the context as it is."""

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, *_: Any, **__: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The place, and our own context for it; connections made with an older one are not used again."""
        parts = urlsplit(request.url or "")
        place = {"scheme": parts.scheme, "host": parts.hostname, "port": parts.port}
        if parts.scheme != "https":
            return place, {}
        if self._contexts is None:
            raise AssertionError("an address with https has TLS settings")
        return place, {"ssl_context": self._contexts.current, "server_hostname": self._contexts.server_name}

    def send(self, request: requests.PreparedRequest, *_: Any, timeout: Any = None, **__: Any) -> requests.Response:
        """As it says; the whole answer is read, up to `LONGEST` bytes and within `timeout` seconds.

        Raises:
            TooLong: it was longer, in bytes or in time.
        """
        until = ticks() + timeout
        response: requests.Response = super().send(request, stream=True, timeout=timeout)
        try:
            body = _whole(response.raw, until)
        except BaseException:
            response.raw.close()
            raise
        response.raw.release_conn()
        response.raw = BytesIO(body)
        return response


def _whole(answer: Any, until: float) -> bytes:
    body = bytearray()
    while chunk := answer.read1(_CHUNK, decode_content=True):
        body += chunk
        if len(body) > LONGEST:
            raise TooLong(f"sent an answer of more than {LONGEST >> 20} MiB")
        if ticks() > until:
            raise TooLong("did not end its answer in time")
    return bytes(body)
