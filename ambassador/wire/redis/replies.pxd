cimport cython

cdef int WANTED, SPENT, ERROR, CONFIRMED, PUSHED
cdef Py_ssize_t MAX_DEPTH, MAX_NUMBER, MAX_LINE, MAX_WORD, FEW, SHORT
cdef int TYPE, NUMBER, DATA, LINE
cdef Py_ssize_t NOTHING, MINUS, MINUS_ONE, ENDED
cdef int REPLY, FAILURE, PUSH, CONFIRMATION
cdef int UNHEARD, EXPECTED, HEARD
cdef int CR, LF, ZERO, NINE, SIGN
cdef int NO_TYPE, SIMPLE, BULK, NULLABLE_BULK, VALUES, NULLABLE_VALUES, PAIRS
cdef int SIMPLE_STRING, BULK_STRING, SIMPLE_ERROR, BULK_ERROR
cdef int ARRAY, PUSH_TYPE, ATTRIBUTES
cdef frozenset CONFIRMING, UNASKED
cdef bytes SHAPES


@cython.final
cdef class Replies:
    cdef public bint subscribed, each_push
    cdef readonly Py_ssize_t done, whole, begun
    cdef readonly int stop
    cdef readonly bint inside
    cdef int _phase, _shape, _item, _naming
    cdef Py_ssize_t _number, _left, _missing, _depth
    cdef list _around
    cdef bytes _word

    @cython.locals(data="const unsigned char*", size=Py_ssize_t, position=Py_ssize_t, phase=int)
    cpdef Py_ssize_t advance(self, bytes chunk, Py_ssize_t start, Py_ssize_t want) except -1
    @cython.locals(byte=int, done=Py_ssize_t, missing=Py_ssize_t, end=Py_ssize_t)
    cdef Py_ssize_t _pass_whole(
        self, const unsigned char* data, Py_ssize_t position, Py_ssize_t size, Py_ssize_t want
    ) noexcept
    @cython.locals(at=Py_ssize_t, number=Py_ssize_t, end=Py_ssize_t)
    cdef Py_ssize_t _pass_bulk(self, const unsigned char* data, Py_ssize_t start, Py_ssize_t size) noexcept
    @cython.locals(at=Py_ssize_t, most=Py_ssize_t)
    cdef Py_ssize_t _pass_short(self, const unsigned char* data, Py_ssize_t start, Py_ssize_t size) noexcept
    @cython.locals(shape=int)
    cdef _begin(self, int byte, Py_ssize_t position)
    @cython.locals(number=Py_ssize_t, byte=int)
    cdef Py_ssize_t _read_number(self, const unsigned char* data, Py_ssize_t position, Py_ssize_t size) except -1
    @cython.locals(number=Py_ssize_t)
    cdef _measured(self)
    @cython.locals(left=Py_ssize_t, end=Py_ssize_t)
    cdef Py_ssize_t _pass_data(self, const unsigned char* data, Py_ssize_t position, Py_ssize_t size) except -1
    @cython.locals(end=Py_ssize_t)
    cdef Py_ssize_t _pass_line(self, const unsigned char* data, Py_ssize_t position, Py_ssize_t size) except -1
    cdef _hear(self, const unsigned char* data, Py_ssize_t start, Py_ssize_t end, bint whole)
    @cython.locals(item=int)
    cdef _close(self, Py_ssize_t position, Py_ssize_t want)
