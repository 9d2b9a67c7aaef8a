cimport cython

from ambassador.net.taker cimport Taker
from ambassador.protocols.redis.owing cimport Creditor, Line
from ambassador.wire.redis.requests cimport BOUNDARY, INSIDE, PLAIN, SPECIAL, Requests

cdef Py_ssize_t MOST_HELD, MOST_OWED


cdef class Asking(Creditor):
    cdef public Line line
    cdef public Requests walk
    cdef public unsigned long long count
    cdef public bint streaming, halted
    cdef public bytes kept
    cdef bytearray _held

    cpdef take(self, bytes chunk)
    @cython.locals(walk=Requests, line=Line, size=Py_ssize_t, start=Py_ssize_t, end=Py_ssize_t, upto=Py_ssize_t, stop=int)
    cpdef _walk_on(self, bytes chunk)
    cdef Py_ssize_t _advance(self, Line line, bytes chunk, Py_ssize_t start) except -1
    @cython.locals(walk=Requests, upto=Py_ssize_t)
    cdef Py_ssize_t _pass(self, Line line, bytes chunk, Py_ssize_t start, Py_ssize_t end) except -1
    cdef _ask(self, Line line, bytes chunk, Py_ssize_t start, Py_ssize_t upto)
    cdef _hold(self, bytes chunk, Py_ssize_t start, Py_ssize_t stop)
    cdef bytes _request(self, bytes chunk, Py_ssize_t start, Py_ssize_t stop)
