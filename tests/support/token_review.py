"""What OpenBao asks of a Kubernetes API server: whose service account a token is (authentication.k8s.io/v1)."""

from __future__ import annotations

import json
import socket
import uuid
from email.parser import BytesHeaderParser

from tests.support.jwts import Signer
from tests.support.threaded import ThreadedServer, take

AUDIENCE = "https://kubernetes.default.svc.cluster.local"
LONGEST_HEAD = 64 * 1024


class TokenReviewer(ThreadedServer):
    """Knows the tokens that it minted itself; a context manager. It speaks cleartext.

    Attributes:
        refused: tokens it no longer vouches for, as when their pod is gone.
        reviews: tokens it was asked about.
    """

    def __init__(self) -> None:
        super().__init__(self._review)
        self._signer = Signer()
        self._accounts: dict[str, tuple[str, str]] = {}
        self.refused: set[str] = set()
        self.reviews: list[str] = []

    @property
    def url(self) -> str:
        """For `kubernetes_host`."""
        return f"http://{self.address}"

    def service_account(self, namespace: str, name: str, *, ttl: float = 600.0) -> str:
        """A projected token as the kubelet writes it into a pod; a new one each time.

        Args:
            ttl: seconds it is valid; a negative one has ended.
        """
        uid = str(uuid.uuid4())
        bound = {"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}}
        subject = f"system:serviceaccount:{namespace}:{name}"
        claims = {"iss": AUDIENCE, "aud": [AUDIENCE], "sub": subject, "kubernetes.io": bound, "jti": str(uuid.uuid4())}
        token = self._signer.mint(claims, ttl=ttl)
        self._accounts[token] = (subject, uid)
        return token

    def _review(self, sock: socket.socket) -> None:
        # OpenBao keeps its connection for the next time; leaving wakes whoever waits.
        sock.settimeout(None)
        while True:
            asked = json.loads(_body(sock))
            token = asked["spec"]["token"]
            self.reviews.append(token)
            status = self._status(token, asked["spec"].get("audiences", [AUDIENCE]))
            answer = json.dumps(asked | {"status": status}).encode()
            head = f"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
            sock.sendall(head.encode() + answer)

    def _status(self, token: str, audiences: list[str]) -> dict[str, object]:
        if token not in self._accounts or token in self.refused or AUDIENCE not in audiences:
            return {"authenticated": False, "error": "invalid bearer token"}
        username, uid = self._accounts[token]
        groups = ["system:serviceaccounts", "system:authenticated"]
        user = {"username": username, "uid": uid, "groups": groups}
        return {"authenticated": True, "user": user, "audiences": [AUDIENCE]}


def _body(sock: socket.socket) -> bytes:
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        head += take(sock, 1)
        assert len(head) < LONGEST_HEAD
    fields = BytesHeaderParser().parsebytes(bytes(head).partition(b"\r\n")[2])
    return take(sock, int(fields.get("Content-Length", "0")))
