cimport cython

from ambassador.net.lane cimport Lane
from ambassador.telemetry.histogram cimport Histogram
from ambassador.telemetry.requests cimport RequestMetrics
from ambassador.wire.scan cimport PostgresWalk


cdef class Questions(Lane):
    cdef PostgresWalk _tracker
    cdef public double since
    cpdef take(self, bytes chunk)


cdef class Answers(Lane):
    cdef PostgresWalk _tracker
    cdef Questions _questions
    cdef RequestMetrics _requests
    cdef Histogram _good, _bad
    cdef unsigned long long _seen, _errors
    cdef public object leaving
    @cython.locals(tracker=PostgresWalk)
    cpdef take(self, bytes chunk)
    @cython.locals(
        tracker=PostgresWalk,
        questions=Questions,
        requests=RequestMetrics,
        count="unsigned long long",
        failed="unsigned long long",
        now=double,
        seconds=double,
    )
    cdef _over(self)
