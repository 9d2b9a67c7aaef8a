cimport cython

from ambassador.net.syscalls cimport Descriptor, Epoll


cdef class Poller:
    cdef Epoll _epoll
    cdef list _members
    cdef int _count
    cdef readonly object loop
    cpdef enter(self, Descriptor member)
    cpdef watch(self, int fd, unsigned int before, unsigned int now)
    cpdef leave(self, Descriptor member)
    @cython.locals(count=int, index=int, member=Descriptor)
    cpdef _tell(self)
    cdef _tell_failure(self, Descriptor member, error)
