# cython: language_level=3, boundscheck=False, wraparound=False, annotation_typing=False, embedsignature=False
"""Where the replies of a Redis server end, in RESP2 and RESP3, and which of them nobody asked for: without a copy.

The same source is compiled with Cython, which finds the types in `replies.pxd`; the rules are those of `wire.scan`.
What a reply costs, it costs per value, never per byte of a long one.

A reply is cut out of the bytes by this and given to whoever is owed it, so that a value of doubtful length would give
one client what belongs to another. A server that is in order leaves no doubt; what does is refused, and its
connection cannot be used any more.

How values nest. `_missing` is how many values the innermost collection still lacks; those of the collections around
it wait in `_around`. A value is no longer missing from its first byte on, only attributes are nobody's value. At the
bottom lies the item itself, as a collection of one.
"""

from __future__ import annotations

from ambassador.errors import Reason, UpstreamError

# Why a walk stopped.
WANTED, SPENT, ERROR, CONFIRMED, PUSHED = 0, 1, 2, 3, 4

# Bounds: collections in collections; bytes of a value (proto-max-bulk-len is 512 MiB by default, and may be raised) and
# values of a collection; bytes of a value that is a line.
MAX_DEPTH = 128
MAX_NUMBER = 1 << 32
MAX_LINE = 1 << 20
# Digits of a short number; bytes of a short line.
FEW = 6
SHORT = 64

# What the next byte belongs to.
TYPE, NUMBER, DATA, LINE = 0, 1, 2, 3
# A number that is still being read is at least 0, or nothing yet, a minus, -1, or already followed by its CR.
NOTHING, MINUS, MINUS_ONE, ENDED = -1, -2, -3, -4

# What an item is, as far as it has been seen.
REPLY, FAILURE, PUSH, CONFIRMATION = 0, 1, 2, 3
# The first word of a collection: of no interest; the next value; the value under way.
UNHEARD, EXPECTED, HEARD = 0, 1, 2

CR, LF, ZERO, NINE, SIGN = 0x0D, 0x0A, 0x30, 0x39, 0x2D

# What begins with the byte: nothing; a line; a value of so many bytes; a collection of so many values, of so many
# pairs. Those that can be -1 in RESP2 are apart.
NO_TYPE, SIMPLE, BULK, NULLABLE_BULK, VALUES, NULLABLE_VALUES, PAIRS = 0, 1, 2, 3, 4, 5, 6
SIMPLE_STRING, BULK_STRING, SIMPLE_ERROR, BULK_ERROR = 0x2B, 0x24, 0x2D, 0x21
ARRAY, PUSH_TYPE, ATTRIBUTES = 0x2A, 0x3E, 0x7C

CONFIRMING = frozenset(kind + word for kind in (b"", b"p", b"s") for word in (b"subscribe", b"unsubscribe"))
UNASKED = frozenset({b"message", b"pmessage", b"smessage"})
MAX_WORD = max(map(len, CONFIRMING))


def _table(shapes: dict[bytes, int]) -> bytes:
    """Type byte to shape."""
    table = bytearray(256)
    for types, shape in shapes.items():
        for byte in types:
            table[byte] = shape
    return bytes(table)


SHAPES = _table(
    {b"+-:_,#(": SIMPLE, b"!=": BULK, b"$": NULLABLE_BULK, b"~>": VALUES, b"*": NULLABLE_VALUES, b"%|": PAIRS}
)


class Replies:
    """Walks what a server sends; the bytes may be cut anywhere, and none is looked at twice.

    An item is a reply, or what comes unasked: a RESP3 push, or, while subscribed in RESP2, an array that begins with
    `message`, `pmessage` or `smessage`. An attribute belongs to the item behind it. A confirmation is a push whose
    first word ends with `subscribe`, or such an array while subscribed; it counts as a reply.

    After `advance`, also when it raised, `done`, `whole` and `begun` tell what is in front.

    Attributes:
        subscribed: the connection is a RESP2 subscriber, whose arrays must be looked into.
        each_push: stop behind each item that came unasked, too.
        done: replies completed by the last `advance`.
        whole: offset behind the last item completed, and so where the one under way begins; the start of the walk
            if there was none.
        begun: unless `WANTED` or `SPENT`, offset at which the item in question began; 0 if in an earlier chunk.
        stop: `WANTED`: as many replies as wanted are done. `SPENT`: the chunk has ended. `ERROR`: behind an error.
            `CONFIRMED`: behind a confirmation. `PUSHED`: behind what came unasked. The last three are told even
            where the reply is the last one wanted.
        inside: an item is under way.
    """

    __slots__ = (
        "_around", "_depth", "_item", "_left", "_missing", "_naming", "_number", "_phase", "_shape", "_word", "begun",
        "done", "each_push", "inside", "stop", "subscribed", "whole",
    )  # fmt: skip

    def __init__(self) -> None:
        self.subscribed = False
        self.each_push = False
        self.done = 0
        self.whole = 0
        self.begun = 0
        self.stop = SPENT
        self.inside = False
        self._phase = TYPE
        self._shape = NO_TYPE
        self._number = NOTHING
        self._left = 0
        self._missing = 1
        self._around = [0] * MAX_DEPTH
        self._depth = 0
        self._item = REPLY
        self._naming = UNHEARD
        self._word = b""

    def advance(self, chunk: bytes, start: int, want: int) -> int:
        """Walk on in `chunk` from `start`, until something is to be told.

        Args:
            chunk: what came next.
            start: 0, or where the last walk stopped in the same chunk.
            want: stop behind so many replies. With none wanted it does not walk at all.

        Returns:
            The offset at which it stopped: the chunk's length for `SPENT`.

        Raises:
            UpstreamError: what leaves a doubt about the length of a value, or is beyond all bounds. The walk is over
                then.
        """
        data = chunk  # a pointer, when compiled
        size = len(chunk)
        position = start
        self.done = 0
        self.whole = start
        self.begun = 0
        self.stop = SPENT if want > 0 else WANTED
        while position < size and self.stop == SPENT:
            phase = self._phase
            if phase == DATA:
                position = self._pass_data(data, position, size)
            elif phase == NUMBER:
                position = self._read_number(data, position, size)
            elif phase == LINE:
                position = self._pass_line(data, position, size)
            else:
                if not (self.inside or self.subscribed):
                    position = self._pass_whole(data, position, size, want)
                    if position == size or self.stop != SPENT:
                        break
                self._begin(data[position], position)
                position += 1
            if self._missing == 0 and self._phase == TYPE:
                self._close(position, want)
        return position

    def _pass_whole(self, data: bytes, position: int, size: int, want: int) -> int:
        """Pass the replies that begin here while they are whole, and such that there is nothing to tell of: so are
        nearly all. Returns where the first of the others begins: it is to be walked step by step, which would have
        taken these for the same."""
        done = 0
        missing = want - self.done
        while position < size and done < missing:
            byte = data[position]
            if byte == BULK_STRING:
                end = self._pass_bulk(data, position, size)
            elif SHAPES[byte] == SIMPLE and byte != SIMPLE_ERROR:
                end = self._pass_short(data, position, size)
            else:
                break
            if end == 0:
                break
            position = end
            done += 1
        if done:
            self.done += done
            self.whole = position
            if done == missing:
                self.stop = WANTED
        return position

    def _pass_bulk(self, data: bytes, start: int, size: int) -> int:
        """The end of the string that begins here; 0 where it is not whole, or rare."""
        at = start + 2
        if at + 2 > size or data[at - 1] < ZERO or data[at - 1] > NINE:
            return 0
        number = data[at - 1] - ZERO
        while number > 0 and at < size and ZERO <= data[at] <= NINE and at - start <= FEW:
            number = number * 10 + data[at] - ZERO
            at += 1
        end = at + 2 + number
        if end + 2 > size or data[at] != CR or data[at + 1] != LF or data[end] != CR or data[end + 1] != LF:
            return 0
        return end + 2

    def _pass_short(self, data: bytes, start: int, size: int) -> int:
        """The end of the line that begins here; 0 where it is not whole, or long."""
        at = start + 1
        most = min(size - 1, start + SHORT)
        while at < most and data[at] != CR:
            at += 1
        return at + 2 if at < most and data[at + 1] == LF else 0

    def _begin(self, byte: int, position: int) -> None:
        """The first byte of a value."""
        shape = SHAPES[byte]
        if shape == NO_TYPE:
            raise _bad(f"a value of an unknown type, {chr(byte)!a}")
        if not self.inside:
            self.inside = True
            self.begun = position
            self._item = REPLY
            self._naming = UNHEARD
        self._shape = shape
        self._left = 0
        self._phase = LINE if shape == SIMPLE else NUMBER
        if byte == ATTRIBUTES:
            return
        self._missing -= 1
        if self._depth == 0:
            if byte == PUSH_TYPE or (byte == ARRAY and self.subscribed):
                self._item = PUSH if byte == PUSH_TYPE else REPLY
                self._naming = EXPECTED
            elif byte in (SIMPLE_ERROR, BULK_ERROR):
                self._item = FAILURE
        elif byte == PUSH_TYPE:
            raise _bad("a push within another value")
        elif self._naming == HEARD:
            self._naming = UNHEARD
        elif self._naming == EXPECTED and self._depth == 1:
            self._naming = HEARD if byte in (BULK_STRING, SIMPLE_STRING) else UNHEARD
            self._word = b""

    def _read_number(self, data: bytes, position: int, size: int) -> int:
        """A length or a count with its CRLF, as far as it is there."""
        number = self._number
        while position < size:
            byte = data[position]
            position += 1
            if ZERO <= byte <= NINE and (number > 0 or number == NOTHING):
                number = byte - ZERO if number == NOTHING else number * 10 + byte - ZERO
                if number > MAX_NUMBER:
                    raise _bad(f"a length or count above {MAX_NUMBER}")
            elif byte == CR and (number >= 0 or number == MINUS_ONE):
                self._left = number
                number = ENDED
            elif byte == LF and number == ENDED:
                self._number = NOTHING
                self._measured()
                return position
            elif byte == SIGN and number == NOTHING and self._shape in (NULLABLE_BULK, NULLABLE_VALUES):
                number = MINUS
            elif byte == ZERO + 1 and number == MINUS:
                number = MINUS_ONE
            else:
                raise _bad("a length or count that is not a number")
        self._number = number
        return position

    def _measured(self) -> None:
        """The length or count of a value is known, and waits in `_left`."""
        number = self._left
        self._phase = TYPE
        if number == MINUS_ONE:
            return
        if self._shape in (BULK, NULLABLE_BULK):
            self._left = number + 2
            self._phase = DATA
        elif number > 0:
            if self._depth == MAX_DEPTH:
                raise _bad(f"values nested deeper than {MAX_DEPTH}")
            self._around[self._depth] = self._missing
            self._depth += 1
            self._missing = 2 * number if self._shape == PAIRS else number

    def _pass_data(self, data: bytes, position: int, size: int) -> int:
        """A value's bytes and its CRLF, as far as they are there."""
        left = self._left
        end = position + left
        if self._naming == HEARD:
            self._hear(data, position, min(end - 2, size), end <= size)
        if end > size:
            if end == size + 1 and data[size - 1] != CR:
                raise _bad("a value without CRLF behind it")
            self._left = end - size
            return size
        if data[end - 1] != LF or (left > 1 and data[end - 2] != CR):
            raise _bad("a value without CRLF behind it")
        self._phase = TYPE
        return end

    def _pass_line(self, data: bytes, position: int, size: int) -> int:
        """A value that is a line, as far as it is there."""
        if self._number == ENDED:
            if data[position] != LF:
                raise _bad("a line with CR but no LF")
            self._number = NOTHING
            self._phase = TYPE
            return position + 1
        end = position
        while end < size and data[end] != CR:
            end += 1
        self._left += end - position
        if self._left > MAX_LINE:
            raise _bad(f"a line longer than {MAX_LINE}")
        if self._naming == HEARD:
            self._hear(data, position, end, end < size)
        if end < size:
            self._number = ENDED
            end += 1
        return end

    def _hear(self, data: bytes, start: int, end: int, whole: bool) -> None:
        """More of the first word of a push, or of a subscriber's array, and whether that is all of it."""
        if end - start + len(self._word) > MAX_WORD:
            self._naming = UNHEARD
            return
        if end > start:
            self._word += data[start:end]
        if not whole:
            return
        self._naming = UNHEARD
        if self._word in CONFIRMING:
            self._item = CONFIRMATION
        elif self._word in UNASKED:
            self._item = PUSH

    def _close(self, position: int, want: int) -> None:
        """A collection, or the item itself, lacks nothing more."""
        while self._missing == 0 and self._depth > 0:
            self._depth -= 1
            self._missing = self._around[self._depth]
        if self._missing:
            return
        self._missing = 1
        self.inside = False
        self.whole = position
        item = self._item
        if item == PUSH:
            if self.each_push:
                self.stop = PUSHED
            return
        self.done += 1
        if item == FAILURE:
            self.stop = ERROR
        elif item == CONFIRMATION:
            self.stop = CONFIRMED
        elif self.done == want:
            self.stop = WANTED


def _bad(what: str) -> UpstreamError:
    return UpstreamError(Reason.UPSTREAM_BAD_MESSAGE, f"the server sent {what}")


# Their types hide these from Python, when compiled.
globals().update(WANTED=WANTED, SPENT=SPENT, ERROR=ERROR, CONFIRMED=CONFIRMED, PUSHED=PUSHED)
