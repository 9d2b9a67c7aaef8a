from ambassador.net.taker cimport Taker


cdef extern from "sys/epoll.h":
    ctypedef union epoll_data_t:
        int fd
    struct epoll_event:
        unsigned int events
        epoll_data_t data


cdef enum:
    MANY = 256


cdef class Descriptor(Taker):
    cdef readonly int fd
    cpdef bytes receive(self, Py_ssize_t most)
    cpdef Py_ssize_t send(self, bytes data) except -1
    cpdef ready(self, unsigned int events)
    cpdef failed(self, error)


cdef class Epoll:
    cdef readonly int fd
    cdef epoll_event _happened[MANY]
    cpdef int wait(self) except -1
    cpdef int which(self, int index)
    cpdef unsigned int what(self, int index)
    cpdef watch(self, int fd, unsigned int before, unsigned int now)
    cpdef close(self)
