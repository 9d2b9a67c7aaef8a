cimport cython

from ambassador.net.syscalls cimport Descriptor, Epoll
from ambassador.net.taker cimport Taker


cdef class Poller:
    cdef Epoll _epoll
    cdef list _members
    cdef list _waiting
    cdef bint _telling
    cdef int _count
    cdef readonly object loop
    cpdef enter(self, Descriptor member)
    cpdef watch(self, int fd, unsigned int before, unsigned int now)
    cpdef leave(self, Descriptor member)
    cpdef flush_later(self, Taker taker)
    @cython.locals(count=int, index=int, member=Descriptor)
    cpdef _tell(self)
    @cython.locals(taker=Taker)
    cpdef _flush(self)
    cdef _tell_failure(self, Descriptor member, error)
