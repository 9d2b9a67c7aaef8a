cdef class Taker:
    cpdef take(self, bytes chunk)
    cpdef flush(self)


cdef class Giving(Taker):
    cdef object _give
    cpdef take(self, bytes chunk)


cdef Taker NOWHERE
