cimport cython

cdef Py_ssize_t MAX_LENGTH, MAX_OWED, HEADER_SEEN, STATUS_SEEN, ERROR_SEEN
cdef int EXTENDED, POINT, SYNC, COPIED, DONE, GOODBYE
cdef int ROW, ANSWER, READY, ERROR, COPY_IN
cdef int IDLE, IN_TRANSACTION, FAILED
cdef int SURE, DOUBTED, LOST
cdef int NOTHING, ANSWERED, FAILURE
cdef bytes FROM_CLIENT, FROM_SERVER


cdef class PostgresWalk:
    cdef Py_ssize_t _client_left, _server_left, _first, _last, _ignored
    cdef bytes _client_held, _server_held
    cdef bytearray _owed
    cdef bint _copying
    cdef int _doubt, _said
    cdef readonly int status_byte
    cdef readonly unsigned long long transactions, errors
    cdef readonly bint terminated

    cdef bint _is_aligned(self)
    cdef bint _is_idle(self)

    cpdef from_client(self, bytes chunk)
    @cython.locals(missing=Py_ssize_t, head=bytes)
    cdef _rejoin_client(self, bytes chunk)
    @cython.locals(size=Py_ssize_t, data="const unsigned char*", length=Py_ssize_t, tag=int, meaning=int)
    cdef _walk_client(self, bytes chunk, Py_ssize_t position)
    cdef _sent(self, int meaning)
    cdef _owe(self, int what)
    cdef _make_room(self)
    cdef _end_copy(self)

    cpdef from_server(self, bytes chunk)
    @cython.locals(used=Py_ssize_t, stop=Py_ssize_t, held=bytes)
    cdef _rejoin_server(self, bytes chunk)
    @cython.locals(size=Py_ssize_t, data="const unsigned char*", length=Py_ssize_t, tag=int, meaning=int, seen=Py_ssize_t)
    cdef _walk_server(self, bytes chunk, Py_ssize_t position)
    cdef _answered(self, int meaning, bytes chunk, Py_ssize_t start, Py_ssize_t stop)
    cdef _ready(self, Py_ssize_t length, int status)
    @cython.locals(at=Py_ssize_t, runs=int, point=bint)
    cdef _settle(self)
    cdef bint _is_ambiguous(self, int runs, bint point)
    @cython.locals(at=Py_ssize_t, stop=Py_ssize_t, kept=Py_ssize_t, extended=bint)
    cdef _begin_copy(self)
    cdef _failed(self, bytes beginning)


@cython.locals(most=Py_ssize_t)
cdef Py_ssize_t _seen(int meaning, Py_ssize_t length)
cdef Py_ssize_t _needed(bytes held)
