cdef class Taker:
    cpdef take(self, bytes chunk)


cdef class Giving(Taker):
    cdef object _give
    cpdef take(self, bytes chunk)
