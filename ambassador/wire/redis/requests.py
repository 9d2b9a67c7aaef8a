# cython: language_level=3, boundscheck=False, wraparound=False, annotation_typing=False, embedsignature=False
"""Where the requests of a Redis client end, and which of them may share a connection: found without copying a byte.

The same source is compiled with Cython, which finds the types in `requests.pxd`; the rules are those of `wire.scan`.
What a request costs, it costs per argument, never per byte of one.

Where one request ends and the next begins must be what the server behind us will take it for: whoever could make the
two differ would have his bytes run as another client's request on a connection that they share. So what a server
would overlook (a sign, a leading zero, anything in the place of a CRLF) is refused here.
"""

from __future__ import annotations

from ambassador.errors import ClientError, Reason

# Why a walk stopped.
BOUNDARY, INSIDE, SPECIAL, LARGE = 0, 1, 2, 3

# A request whose code is below shares a connection, and its code is its kind.
PLAIN = 16
# What is special because of how it was written; other codes come from the classes.
EMPTY, INLINE, UNKNOWN = 253, 254, 255
UNNAMED = -1

# Bounds of Redis: PROTO_INLINE_MAX_SIZE, proto-max-bulk-len by default, and the most arguments until Redis 7.
MAX_LINE = 1 << 16
MAX_BULK = 1 << 29
MAX_WORDS = 1 << 20
# No command's name is longer; nor is one empty.
MAX_NAME = 64
# The shortest argument: `$0`, CRLF, CRLF.
SHORTEST = 6
# Digits of a short number; names remembered, a power of two.
FEW = 6
KNOWN = 32
# Tables of classes that are remembered for: one for each listener.
MEMORIES = 64
NEVER = 1 << 62

# What the next byte belongs to.
FIRST, COUNT, DOLLAR, LENGTH, NAME, DATA, LINE = 0, 1, 2, 3, 4, 5, 6
# A number that is still being read is at least 0, or nothing yet, a minus, -1, or already followed by its CR.
NOTHING, MINUS, MINUS_ONE, ENDED = -1, -2, -3, -4

CR, LF, ZERO, NINE, STAR, SIGN = 0x0D, 0x0A, 0x30, 0x39, 0x2A, 0x2D
DOLLAR_SIGN = 0x24


_memories: dict[int, tuple[dict[bytes, int], list[bytes], bytearray]] = {}


def _memory_of(classes: dict[bytes, int]) -> tuple[dict[bytes, int], list[bytes], bytearray]:
    """Names looked up of late, and their codes: one memory for all walks with these classes, so that it stays warm."""
    found = _memories.get(id(classes))
    if found is None:
        if len(_memories) >= MEMORIES:
            _memories.clear()  # who has one keeps it; with its classes, so that no other gets their identity meanwhile
        found = _memories[id(classes)] = (classes, [b""] * KNOWN, bytearray(KNOWN))
    return found


class Requests:
    """Walks what one client sends; the bytes may be cut anywhere, and none is looked at twice.

    After `advance`, also when it raised, `count`, `kinds`, `mixed`, `kind` and `begun` tell what is in front.

    Attributes:
        classes: upper-case name of a command → code, 0 to 255. Replace it as a whole; it is read anew for the next
            name.
        large: a request known to be longer is told of, in bytes; it counts from the next request on.
        count: plain requests, that is with a code below `PLAIN`, completed by the last `advance`.
        mixed: they were not all of one kind.
        kinds: where they are `mixed`, their kinds (codes) in order. Whoever takes it may keep it.
        kind: of the last plain request completed, whenever that was.
        stop: `BOUNDARY`: the chunk ended with a request. `INSIDE`: it ended within one. `SPECIAL`: behind a request
            that is not plain. `LARGE`: within a request that is longer than `large`; told once, at the earliest when
            its name is known. It is then walked and counted like any other.
        begun: unless `BOUNDARY`, the offset at which the request in question began; 0 if in an earlier chunk.
        code: unless `BOUNDARY`, the code of that request: from `classes`, or `UNKNOWN`, `INLINE` (a line; it may be
            empty), `EMPTY` (no arguments, which a server passes over); -1 while its name is not there.
        inline: that request is a line.
    """

    __slots__ = (
        "_before", "_code", "_codes", "_known", "_known_in", "_left", "_limit", "_name", "_number", "_origin", "_phase",
        "_value", "_words", "begun", "classes", "code", "count", "inline", "kind", "kinds", "large", "mixed", "stop",
    )  # fmt: skip

    def __init__(self, classes: dict[bytes, int], large: int = NEVER) -> None:
        self.classes = classes
        self.large = large
        self.count = 0
        self.kinds = bytearray()
        self.mixed = False
        self.kind = 0
        self.stop = BOUNDARY
        self.begun = 0
        self.code = UNNAMED
        self.inline = False
        self._phase = FIRST
        self._number = NOTHING
        self._value = 0
        self._words = 0
        self._code = UNNAMED
        self._left = 0
        self._limit = NEVER
        self._before = 0
        self._origin = 0
        self._name = b""
        self._known_in, self._known, self._codes = _memory_of(classes)

    def advance(self, chunk: bytes, start: int) -> int:
        """Walk on in `chunk` from `start`, until something is to be told.

        Args:
            chunk: what came next.
            start: 0, or where the last walk stopped in the same chunk.

        Returns:
            The offset at which it stopped: the chunk's length for `BOUNDARY` and `INSIDE`.

        Raises:
            ClientError: what servers refuse or may read otherwise, in their words without `ERR`. The walk is over then.
        """
        data = chunk  # a pointer, when compiled
        size = len(chunk)
        position = start
        self.count = 0
        self.mixed = False
        self.stop = INSIDE
        self._origin = start
        if start == 0:
            self.begun = 0
        while position < size and self.stop == INSIDE:
            position = self._step(data, position, size)
        if self._phase != FIRST:
            self._before += position - self._origin
        elif self.stop == INSIDE:
            self.stop = BOUNDARY
        return position

    def _step(self, data: bytes, position: int, size: int) -> int:
        """What comes next, as far as it is there."""
        phase = self._phase
        if phase == FIRST:
            return self._begin(data, position, size)
        if phase == DATA:
            return self._pass_data(data, position, size)
        if phase in (LENGTH, COUNT):
            return self._read_number(data, position, size)
        if phase == NAME:
            return self._read_name(data, position, size)
        if phase == LINE:
            return self._pass_line(data, position, size)
        if data[position] != DOLLAR_SIGN:
            raise _bad(f"expected '$', got {chr(data[position])!a}")
        self._phase = LENGTH
        return position + 1

    def _begin(self, data: bytes, position: int, size: int) -> int:
        """Requests, or the beginning of one."""
        position = self._pass_whole(data, position, size)
        if position == size or self.stop != INSIDE:
            return position
        self.begun = self._origin = position
        self._before = 0
        self._limit = self.large
        self.inline = data[position] != STAR
        if self.inline:
            self.code = INLINE
            self._phase = LINE
            return position
        self.code = UNNAMED
        self._phase = COUNT
        return position + 1

    def _pass_whole(self, data: bytes, position: int, size: int) -> int:
        """Pass the requests that begin here, to behind the first that is not plain, while they are whole and nothing
        about them is rare: so are nearly all. Returns where the first of the others begins: it is to be walked step by
        step, which would have taken these for the same.

        The hot loop. What follows another in a pipeline is mostly the same command, which is seen at its head.
        """
        head = size  # of the request whose head, `length` bytes long, was read last
        length = 0
        code = UNNAMED
        words = 0
        while position < size and data[position] == STAR:
            at = position
            if position + length <= size:
                while at - position < length and data[at] == data[head + at - position]:
                    at += 1
            if length == 0 or at - position < length:
                at = self._read_head(data, position, size)
                if at == 0:
                    break
                head = position
                length = at - position
                code = self._code
                words = self._words
            left = words
            while left and at:
                at = self._pass_argument(data, at, size)
                left -= 1
            if at == 0 or at - position > self.large:
                break
            if code >= PLAIN:
                self.begun = position
                self.code = code
                self.inline = False
                self.stop = SPECIAL
                return at
            self._count(code)
            position = at
        return position

    def _read_head(self, data: bytes, begin: int, size: int) -> int:
        """The end of a request's name; 0 where there is something rare about it.

        Its code is in `_code` then, and in `_words` how many arguments follow.
        """
        at = self._read_short(data, begin + 1, size)
        words = self._value - 1
        end = self._pass_argument(data, at, size) if at else 0
        if end:
            self._code = self._look_up(data, end - 2 - self._value, end - 2) if self._value <= MAX_NAME else UNKNOWN
            self._words = words
        return end

    def _pass_argument(self, data: bytes, start: int, size: int) -> int:
        """The end of the argument that begins here, with its length in `_value`; 0 where something about it is rare."""
        at = self._read_short(data, start + 1, size) if start < size and data[start] == DOLLAR_SIGN else 0
        end = at + self._value
        if at == 0 or end + 2 > size or data[end] != CR or data[end + 1] != LF:
            return 0
        return end + 2

    def _read_short(self, data: bytes, start: int, size: int) -> int:
        """The end of a number of few digits and its CRLF, with the number in `_value`; 0 if it is anything else."""
        number = 0
        at = start
        while at < size and ZERO <= data[at] <= NINE and at - start < FEW:
            number = number * 10 + data[at] - ZERO
            at += 1
        if at + 1 >= size or data[at] != CR or data[at + 1] != LF or data[start] <= ZERO:
            return 0
        self._value = number
        return at + 2

    def _read_number(self, data: bytes, position: int, size: int) -> int:
        """A count or a length with its CRLF, as far as it is there."""
        number = self._number
        while position < size:
            byte = data[position]
            position += 1
            if ZERO <= byte <= NINE and (number > 0 or number == NOTHING):
                number = byte - ZERO if number == NOTHING else number * 10 + byte - ZERO
                if number > MAX_BULK:
                    raise _bad_number(self._phase)
            elif byte == CR and (number >= 0 or number == MINUS_ONE):
                self._value = number
                number = ENDED
            elif byte == LF and number == ENDED:
                self._number = NOTHING
                if self._phase == COUNT:
                    self._counted()
                else:
                    self._measured(position)
                return position
            elif byte == SIGN and number == NOTHING:
                number = MINUS
            elif byte == ZERO + 1 and number == MINUS:
                number = MINUS_ONE
            else:
                raise _bad_number(self._phase)
        self._number = number
        return position

    def _counted(self) -> None:
        """The number of arguments is known."""
        if self._value > MAX_WORDS:
            raise _bad_number(COUNT)
        self._words = self._value
        self._phase = DOLLAR
        if self._value <= 0:
            self.code = EMPTY
            self._complete()

    def _measured(self, position: int) -> None:
        """The length of an argument is known; its first byte would be at `position`."""
        if self._value < 0:
            raise _bad_number(LENGTH)
        self._left = self._value + 2
        self._phase = DATA
        if self.code == UNNAMED:
            if 0 < self._value <= MAX_NAME:
                self._phase = NAME
                return
            self.code = UNKNOWN
        self._judge_size(position)

    def _judge_size(self, position: int) -> None:
        if self._before + position - self._origin + self._left + SHORTEST * (self._words - 1) > self._limit:
            self._limit = NEVER
            self.stop = LARGE

    def _read_name(self, data: bytes, position: int, size: int) -> int:
        end = position + self._left - 2
        if end > size:
            self._name += data[position:size]
            self._left -= size - position
            return size
        if self._name:
            name = self._name + data[position:end]
            self._name = b""
            self.code = self._look_up(name, 0, len(name))
        else:
            self.code = self._look_up(data, position, end)
        self._left = 2
        self._phase = DATA
        self._judge_size(end)
        return end

    def _look_up(self, data: bytes, start: int, end: int) -> int:
        """The code of a name, as the client wrote it; of those it writes often, it is remembered."""
        if self._known_in is not self.classes:
            self._known_in, self._known, self._codes = _memory_of(self.classes)
        slot = (data[start] + data[end - 1] + end - start) & (KNOWN - 1)
        known = self._known[slot]
        if end - start == len(known):
            at = 0
            while start + at < end and data[start + at] == known[at]:
                at += 1
            if start + at == end:
                return self._codes[slot]
        name = data[start:end]
        self._known[slot] = name
        self._codes[slot] = self.classes.get(name.upper(), UNKNOWN)
        return self._codes[slot]

    def _pass_data(self, data: bytes, position: int, size: int) -> int:
        """An argument's bytes and its CRLF, as far as they are there."""
        left = self._left
        end = position + left
        if end > size:
            if end == size + 1 and data[size - 1] != CR:
                raise _bad("expected CRLF behind an argument")
            self._left = end - size
            return size
        if data[end - 1] != LF or (left > 1 and data[end - 2] != CR):
            raise _bad("expected CRLF behind an argument")
        self._words -= 1
        self._phase = DOLLAR
        if self._words == 0:
            self._complete()
        return end

    def _pass_line(self, data: bytes, position: int, size: int) -> int:
        """An inline command, to its LF."""
        while position < size:
            byte = data[position]
            position += 1
            if self._before + position - self._origin > MAX_LINE:
                raise _bad("too big inline request")
            if byte == LF:
                self._complete()
                break
        return position

    def _complete(self) -> None:
        """A request has ended."""
        self._phase = FIRST
        if self.code < PLAIN:
            self._count(self.code)
        else:
            self.stop = SPECIAL

    def _count(self, code: int) -> None:
        """One more plain request."""
        if self.count and code != self.kind and not self.mixed:
            self.mixed = True
            self.kinds = bytearray([self.kind]) * self.count
        if self.mixed:
            self.kinds.append(code)
        self.kind = code
        self.count += 1


def _bad_number(phase: int) -> ClientError:
    return _bad("invalid multibulk length" if phase == COUNT else "invalid bulk length")


def _bad(what: str) -> ClientError:
    return ClientError(Reason.BAD_MESSAGE, f"Protocol error: {what}")


# Their types hide these from Python, when compiled.
globals().update(BOUNDARY=BOUNDARY, INSIDE=INSIDE, SPECIAL=SPECIAL, LARGE=LARGE, PLAIN=PLAIN, NEVER=NEVER)
globals().update(EMPTY=EMPTY, INLINE=INLINE, UNKNOWN=UNKNOWN)
