cimport cython

from ambassador.net.engine cimport Engine
from ambassador.net.taker cimport Taker
from ambassador.net.transport cimport Transport


cdef class Flow(Taker):
    cdef public bytes _buffer
    cdef public Taker _deliver, outlet
    cdef public Engine _engine
    cdef public Transport _transport
    cdef public bint _answering, _choked, _closed, _closing, _eof, _eof_sent, _eof_told, _fin, _full, _held, truncated
    cdef public Py_ssize_t _limit
    cdef public object _drained, _error, _farewell, _gone, _handshake, _readable, _sink, _socket

    cpdef take(self, bytes chunk)
    cpdef _received(self, bytes chunk)
    @cython.locals(data=bytes, taker=Taker)
    cpdef _decrypt(self, Engine engine, Py_ssize_t size)
    cpdef _route(self)
    @cython.locals(taker=Taker)
    cpdef _more(self)
    cpdef _steer(self)
    cpdef _end_reading(self)
    cpdef _tell_eof(self)
    cpdef _shake(self)
    cpdef _break(self, error)
