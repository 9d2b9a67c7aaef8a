cimport cython


cdef class Histogram:
    cdef tuple _bounds
    cdef list _counts
    cdef readonly double sum
    @cython.locals(at=Py_ssize_t, bound=double)
    cpdef observe(self, double seconds)
