from ambassador.net.taker cimport Taker


cdef class Engine(Taker):
    cdef Taker _to
    cdef object _fail, _encrypt
    cdef bint _closed
    cdef readonly bint ready
    cdef readonly object incoming, object, outgoing, decrypt
    cpdef take(self, bytes chunk)
