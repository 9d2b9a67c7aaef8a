cimport cython

from ambassador.net.poller cimport Poller
from ambassador.net.syscalls cimport Descriptor
from ambassador.net.taker cimport Taker


cdef Py_ssize_t READS
cdef unsigned int READ, WRITE, ERROR, BROKEN, READABLE, WRITABLE, DOUBTFUL, EDGES


cdef class Transport(Descriptor):
    cdef bint _choked, _closing, _direct, _eof, _fin, _over, _reading
    cdef unsigned int _mode, _watched
    cdef Py_ssize_t _queued
    cdef object _events, _queue, _socket
    cdef Poller _poller
    cdef public Taker taker
    cdef public Py_ssize_t most

    cpdef ready(self, unsigned int events)
    @cython.locals(data=bytes, doubtful=bint, full=bint, left=Py_ssize_t, most=Py_ssize_t, taker=Taker)
    cdef _read(self, unsigned int events)
    cpdef failed(self, error)
    @cython.locals(count=Py_ssize_t)
    cpdef take(self, bytes chunk)
    cdef _consider(self)
    cdef _ended(self)
    cdef _keep(self, rest)
    @cython.locals(count=Py_ssize_t)
    cdef _flush(self)
    cdef _emptied(self)
    cdef _shut(self)
    cdef _break(self, error)
    cdef _lose(self, error)
    @cython.locals(before="unsigned int", watched="unsigned int")
    cdef _steer(self)
    cdef _rearm(self)
