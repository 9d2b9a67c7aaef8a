"""Secret: a value that does not print.

Everything that would show or copy it by accident raises instead: `str`, f-strings, pickling, copying, `vars`.
`reveal` is the one way out, a word one can grep. Python cannot promise to wipe memory, so this does not.
"""

from __future__ import annotations

import hmac
from typing import NoReturn, final

from ambassador.telemetry.redaction import conceal


@final
class Secret:
    """Bytes that only `reveal` shows.

    Args:
        value: the bytes; text is encoded as UTF-8.
        concealed: also mask the value in every log line from now on. Not for what is public (a certificate, a user
            name): masking it would black out innocent words.
    """

    __slots__ = ("__concealed", "__value")

    def __init__(self, value: bytes | str, *, concealed: bool = True) -> None:
        self.__value = value.encode() if isinstance(value, str) else value
        self.__concealed = concealed
        if concealed:
            conceal(self.__value)

    def reveal(self) -> bytes:
        """The bytes themselves. Use them at once and keep no reference."""
        if self.__concealed:
            conceal(self.__value)  # masked texts are bounded: those still in use must not be the ones forgotten
        return self.__value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.__value, other.__value)

    # A hash could be compared with the hashes of guesses.
    __hash__ = None  # type: ignore[assignment]  # the documented way to make a class unhashable

    def __repr__(self) -> str:
        return "***"

    def __str__(self) -> NoReturn:
        raise TypeError("a secret is not text: reveal() it where it is needed")

    def __format__(self, spec: str) -> NoReturn:
        raise TypeError("a secret is not formatted: reveal() it where it is needed")

    def __bytes__(self) -> NoReturn:
        raise TypeError("a secret is not bytes: reveal() it where it is needed")

    def __copy__(self) -> NoReturn:
        raise TypeError("a secret is not copied: share it")

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise TypeError("a secret is not copied: share it")

    # Since 3.11 every object has a __getstate__ that returns the slots' values.
    def __getstate__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret is not pickled")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")
