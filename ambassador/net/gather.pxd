from ambassador.net.poller cimport Poller
from ambassador.net.taker cimport Taker


cdef class Gathering(Taker):
    cdef public Taker to
    cdef list _pieces
    cdef Poller _poller
    cpdef take(self, bytes chunk)
    cpdef flush(self)
