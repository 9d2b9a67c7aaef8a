cdef class Histogram:
    cdef tuple _bounds
    cdef list _counts
    cdef readonly double sum
    cpdef observe(self, double seconds)
