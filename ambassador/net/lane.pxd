from ambassador.net.taker cimport Taker


cdef class Lane(Taker):
    cdef public Taker to
    cdef public unsigned long long count
    cpdef take(self, bytes chunk)
