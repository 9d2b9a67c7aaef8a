cimport cython

cdef int BOUNDARY, INSIDE, SPECIAL, LARGE
cdef int PLAIN, EMPTY, INLINE, UNKNOWN, UNNAMED
cdef Py_ssize_t MAX_LINE, MAX_BULK, MAX_WORDS, MAX_NAME, SHORTEST, FEW, KNOWN, NEVER
cdef int FIRST, COUNT, DOLLAR, LENGTH, NAME, DATA, LINE
cdef Py_ssize_t NOTHING, MINUS, MINUS_ONE, ENDED
cdef int CR, LF, ZERO, NINE, STAR, SIGN, DOLLAR_SIGN


@cython.final
cdef class Requests:
    cdef public dict classes
    cdef public Py_ssize_t large
    cdef readonly Py_ssize_t count, begun
    cdef readonly bytearray kinds
    cdef readonly bint mixed, inline
    cdef readonly int kind, stop, code
    cdef int _phase, _code
    cdef Py_ssize_t _number, _value, _words, _left, _limit, _before, _origin
    cdef bytes _name
    cdef list _known
    cdef bytearray _codes
    cdef dict _known_in

    @cython.locals(data="const unsigned char*", size=Py_ssize_t, position=Py_ssize_t)
    cpdef Py_ssize_t advance(self, bytes chunk, Py_ssize_t start) except -1
    cdef Py_ssize_t _begin(self, const unsigned char* data, Py_ssize_t position, Py_ssize_t size) except -1
    @cython.locals(head=Py_ssize_t, length=Py_ssize_t, code=int, words=Py_ssize_t, at=Py_ssize_t, left=Py_ssize_t)
    cdef Py_ssize_t _pass_whole(self, const unsigned char* data, Py_ssize_t position, Py_ssize_t size) except -1
    @cython.locals(at=Py_ssize_t, words=Py_ssize_t, end=Py_ssize_t)
    cdef Py_ssize_t _read_head(self, const unsigned char* data, Py_ssize_t begin, Py_ssize_t size) except -1
    @cython.locals(at=Py_ssize_t, end=Py_ssize_t)
    cdef Py_ssize_t _pass_argument(self, const unsigned char* data, Py_ssize_t start, Py_ssize_t size) noexcept
    @cython.locals(number=Py_ssize_t, at=Py_ssize_t)
    cdef Py_ssize_t _read_short(self, const unsigned char* data, Py_ssize_t start, Py_ssize_t size) noexcept
    @cython.locals(phase=int)
    cdef Py_ssize_t _step(self, const unsigned char* data, Py_ssize_t position, Py_ssize_t size) except -1
    @cython.locals(number=Py_ssize_t, byte=int)
    cdef Py_ssize_t _read_number(self, const unsigned char* data, Py_ssize_t position, Py_ssize_t size) except -1
    cdef _counted(self)
    cdef _measured(self, Py_ssize_t position)
    cdef void _judge_size(self, Py_ssize_t position) noexcept
    @cython.locals(end=Py_ssize_t, name=bytes)
    cdef Py_ssize_t _read_name(self, const unsigned char* data, Py_ssize_t position, Py_ssize_t size) except -1
    @cython.locals(slot=Py_ssize_t, known=bytes, at=Py_ssize_t, name=bytes)
    cdef int _look_up(self, const unsigned char* data, Py_ssize_t start, Py_ssize_t end) except -1
    @cython.locals(left=Py_ssize_t, end=Py_ssize_t)
    cdef Py_ssize_t _pass_data(self, const unsigned char* data, Py_ssize_t position, Py_ssize_t size) except -1
    @cython.locals(byte=int)
    cdef Py_ssize_t _pass_line(self, const unsigned char* data, Py_ssize_t position, Py_ssize_t size) except -1
    cdef _complete(self)
    cdef int _count(self, int code) except -1
