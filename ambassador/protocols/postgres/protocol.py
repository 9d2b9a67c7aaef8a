"""The verbs of the protocol, told in order."""

from __future__ import annotations

from dataclasses import replace

from ambassador.access.base import Principal
from ambassador.errors import AmbassadorError, Reason, UpstreamError
from ambassador.net.relay import End
from ambassador.protocols.base import Attach, Downstream, Hello, Protocol
from ambassador.protocols.postgres.accept import Startup, authenticate, hear_out
from ambassador.protocols.postgres.answers import refusal
from ambassador.protocols.postgres.cancel import LONG_KEY, SHORT_KEY, CancelKeys
from ambassador.protocols.postgres.link import PostgresLink
from ambassador.protocols.postgres.login import ALPN, ServerFacts, login, options_of, wish_of
from ambassador.protocols.postgres.options import PostgresListenerOptions, PostgresUpstreamOptions
from ambassador.upstreams.target import Target
from ambassador.upstreams.upstream import Attempt, Lease, Login

UNKNOWN_DATABASE = "3D000"
NO_RIGHT = "42501"


class Postgres(Protocol):
    """PostgreSQL in session mode."""

    ListenerOptions = PostgresListenerOptions
    UpstreamOptions = PostgresUpstreamOptions
    negotiates_tls = True
    asks_for_passwords = True
    names_users = True
    logs_in = True
    alpn = ALPN
    request_kinds = ("transaction",)

    options: PostgresListenerOptions
    shared: CancelKeys

    @classmethod
    def make_shared(cls) -> CancelKeys:
        return CancelKeys()

    async def accept(self, downstream: Downstream) -> tuple[Hello, Principal]:
        heard, machine = await hear_out(downstream, self.shared)
        hello = Hello(heard.user, heard.database, Startup(machine, heard.parameters, heard.version))
        downstream.introduce(hello)
        downstream.admit()
        return hello, await authenticate(downstream, heard, machine)

    async def relay(self, downstream: Downstream, hello: Hello, target: Target, attach: Attach) -> End:
        lease = await _lease(hello, target)
        facts: ServerFacts = lease.connection.facts
        startup: Startup = hello.details
        size = LONG_KEY if startup.long_key else SHORT_KEY
        key = self.shared.issue(size, target, lease.connection.endpoint, facts.pid, facts.secret)
        try:
            link = PostgresLink(downstream.stream, lease.stream, downstream.requests[0])
            startup.login.welcome(facts.parameters_raw, key.pid, key.secret, facts.status)
            downstream.stream.write(startup.login.to_send())
            attach(link, lease.connection)
            # What came along with the last words of either login is part of the session, and counted as such.
            downstream.stream.unread(startup.login.rest())
            lease.stream.unread(facts.rest)
            return await link.run()
        finally:
            self.shared.retire(key)
            lease.release()

    @classmethod
    async def try_login(cls, attempt: Attempt) -> None:
        options = options_of(attempt)
        user = "" if attempt.credential is None else attempt.credential.username or ""
        wish = wish_of(attempt.credential, user, options.database or user, {}, options)
        try:
            await login(attempt, replace(wish, attributes="any"))
        except UpstreamError as error:
            # Where no database is configured its name is a guess. The server looks for it, and at the right to
            # connect to it, only after the password was found good.
            if options.database is not None or error.code not in {UNKNOWN_DATABASE, NO_RIGHT}:
                raise

    def refuse(self, error: AmbassadorError, *, reveal: bool) -> bytes:
        return refusal(error, reveal=reveal)


async def _lease(hello: Hello, target: Target) -> Lease:
    options = target.upstream.settings.options
    if not isinstance(options, PostgresUpstreamOptions):
        raise TypeError("a postgres listener leads to a postgres upstream; the configuration is checked for it")
    if options.target_session_attrs != "prefer-standby":
        return await target.lease(_login_of(hello, options, options.target_session_attrs))
    try:
        return await target.lease(_login_of(hello, options, "standby"))
    except UpstreamError as error:
        if error.reason is Reason.UPSTREAM_LOGIN_REFUSED:
            raise
        return await target.lease(_login_of(hello, options, "any"))


def _login_of(hello: Hello, options: PostgresUpstreamOptions, attributes: str) -> Login:
    """The login for one client, to be tried at whichever endpoint is next."""

    async def run(attempt: Attempt) -> ServerFacts:
        parameters = hello.details.parameters
        wish = wish_of(attempt.credential, hello.user or "", hello.database or "", parameters, options)
        return await login(attempt, replace(wish, attributes=attributes))

    return run
