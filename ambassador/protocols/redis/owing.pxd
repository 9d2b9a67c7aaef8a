cimport cython

from ambassador.net.taker cimport NOWHERE, Taker
from ambassador.telemetry.histogram cimport Histogram
from ambassador.telemetry.requests cimport RequestMetrics
from ambassador.wire.redis.replies cimport CONFIRMED, ERROR, PUSHED, SPENT, Replies
from ambassador.wire.redis.requests cimport Requests

cdef int FAILED, PUSH
cdef Py_ssize_t HELD, LARGE_REPLY


cdef class Creditor(Taker):
    cdef public Taker to
    cdef public Py_ssize_t owed
    cdef public unsigned long long sent
    cdef public bint watched, mute
    cdef public tuple metrics


@cython.final
@cython.freelist(256)
cdef class Run:
    cdef public Creditor client
    cdef public Taker to
    cdef public Run after
    cdef public Py_ssize_t count, total, errors
    cdef public int kind
    cdef public bytearray kinds
    cdef public bytes asked
    cdef public double since
    cdef public object note
    cdef public bint apart, confirms

    cdef begin(self, Creditor client, Taker to, Py_ssize_t count)


cdef class Line(Taker):
    cdef public Taker to, listener
    cdef public Run first, last
    cdef public Replies walk
    cdef public Py_ssize_t owed
    cdef public unsigned long long count
    cdef public bint gone, open, choked, raw, remembers
    cdef bytes _held
    cdef bint _flowing, _unasked
    cdef Py_ssize_t _flowed
    cdef double _since

    @cython.locals(run=Run)
    cpdef ask(self, Creditor client, bytes data, Requests walk)
    cpdef append(self, Run run)
    cpdef take(self, bytes chunk)
    @cython.locals(run=Run, size=Py_ssize_t, start=Py_ssize_t, end=Py_ssize_t, want=Py_ssize_t, done=Py_ssize_t, walk=Replies, now=double)
    cdef _walk_on(self, bytes chunk)
    @cython.locals(data="const char*")
    cdef _deliver(self, Run run, bytes chunk, Py_ssize_t start, Py_ssize_t stop)
    cdef _give(self, Run run, bytes data)
    cdef _told(self, Run run, bytes chunk, Py_ssize_t start, Py_ssize_t end)
    @cython.locals(client=Creditor, metrics=RequestMetrics, kind=int, at=Py_ssize_t)
    cdef _answered(self, Run run, Py_ssize_t done, double now)
    @cython.locals(client=Creditor, metrics=RequestMetrics, each=RequestMetrics, kind=int, histogram=Histogram)
    cdef _finish(self, Run run, double now)
    @cython.locals(before=Py_ssize_t)
    cdef _keep(self, Run run, bytes chunk, Py_ssize_t start)
