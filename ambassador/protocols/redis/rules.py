"""What clients of one listener may do: its policy, against the table of the server behind it."""

from __future__ import annotations

from collections.abc import Mapping

from ambassador.protocols.redis.options import RedisListenerOptions
from ambassador.telemetry import logs
from ambassador.wire.redis.commands import BUILT_IN, Code, Command, classify
from ambassador.wire.redis.policy import Policy

_log = logs.logger(__name__)

_SEEN_THROUGH = frozenset({Code.MULTI, Code.EXEC, Code.DISCARD, Code.UNWATCH})
_WITH_KEYS = frozenset({Code.WATCH, Code.BLOCKING})


class Rules:
    """A listener's policy at work.

    Attributes:
        classes: the code of every command, for the scan; empty before `learn`.
    """

    def __init__(self, options: RedisListenerOptions) -> None:
        self._open = not (options.allow or options.deny or options.keys or options.read_only)
        self._any_key = not options.keys
        self.policy = Policy(
            options.allow, options.deny, read_only=options.read_only, keys=options.keys, scripts=options.scripts
        )
        self.classes: dict[bytes, int] = {}
        self._table: Mapping[bytes, Command] = {}
        self._plain: dict[bytes, int] = {}

    def learn(self, table: Mapping[bytes, Command]) -> None:
        """Take the table of the server's commands; worked out once for each."""
        if self._table is not table:
            self._table = table
            self._plain = classify(table)
            self.classes = self.policy.apply(self._plain, table)
            if table is not BUILT_IN and (faults := self.policy.unknown_commands(table)):
                # Denied in vain, perhaps: it would look as if the rule were in force.
                _log.warning("policy names what the server does not have", error="; ".join(faults))

    def code_of(self, name: bytes) -> int:
        """The class of a command (upper case), whatever the policy says of it."""
        return self._plain.get(name, Code.UNKNOWN)

    def judge(self, words: list[bytes]) -> str | None:
        """Why a request is refused, in the server's words; None: it is not."""
        return self.policy.judge(words, self._table)

    def names(self, words: list[bytes]) -> bool:
        """Whether the operator has allowed a request's command by its name."""
        return self.policy.names(words, self._table)

    def trusts(self, code: int) -> bool:
        """Whether a special command that the policy's codes let through may be passed on without a look at its words.

        Of the classes that clients use all the time.
        """
        if code in _WITH_KEYS:
            return self._any_key
        return code in _SEEN_THROUGH or (code == Code.SCRIPT and self._open)
