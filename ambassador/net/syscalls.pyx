# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=False
"""The compiled twin of `syscalls.py`, where everything is said.

The interpreter's lock is held throughout. That is what makes one static buffer enough for all threads, and a call that
cannot wait is over sooner than the lock is let go and taken again.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_SetFromErrno
from libc.errno cimport EAGAIN, EINTR, errno


cdef extern from "sys/socket.h":
    ssize_t c_recv "recv"(int, void *, size_t, int)
    ssize_t c_send "send"(int, const void *, size_t, int)
    int MSG_NOSIGNAL, MSG_DONTWAIT


cdef extern from "sys/epoll.h":
    int epoll_create1(int)
    int epoll_ctl(int, int, int, epoll_event *)
    int epoll_wait(int, epoll_event *, int, int)
    int EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL


cdef extern from "unistd.h":
    int c_close "close"(int)


BATCH = MANY

cdef enum:
    ROOM = 65536

cdef char buffer[ROOM]


cdef class Descriptor(Taker):
    def __init__(self, int fd):
        self.fd = fd

    cpdef bytes receive(self, Py_ssize_t most):
        cdef ssize_t count = c_recv(self.fd, buffer, min(most, <Py_ssize_t> ROOM), MSG_DONTWAIT)
        if count >= 0:
            return PyBytes_FromStringAndSize(buffer, count)
        if errno == EAGAIN or errno == EINTR:
            return None
        PyErr_SetFromErrno(OSError)

    cpdef Py_ssize_t send(self, bytes data) except -1:
        cdef ssize_t count = c_send(
            self.fd, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), MSG_NOSIGNAL | MSG_DONTWAIT
        )
        if count >= 0:
            return count
        if errno == EAGAIN or errno == EINTR:
            return 0
        PyErr_SetFromErrno(OSError)

    cpdef ready(self, unsigned int events):
        pass

    cpdef failed(self, error):
        pass


cdef class Epoll:
    def __cinit__(self):
        self.fd = -1

    def __init__(self):
        self.close()
        self.fd = epoll_create1(EPOLL_CLOEXEC)
        if self.fd < 0:
            PyErr_SetFromErrno(OSError)

    def __dealloc__(self):
        self.close()

    cpdef int wait(self) except -1:
        cdef int count = epoll_wait(self.fd, self._happened, MANY, 0)
        if count >= 0:
            return count
        if errno == EINTR:
            return 0
        PyErr_SetFromErrno(OSError)

    cpdef int which(self, int index):
        return self._happened[index].data.fd

    cpdef unsigned int what(self, int index):
        return self._happened[index].events

    cpdef watch(self, int fd, unsigned int before, unsigned int now):
        cdef epoll_event event
        event.events = now
        event.data.fd = fd
        if epoll_ctl(self.fd, EPOLL_CTL_ADD if not before else EPOLL_CTL_MOD if now else EPOLL_CTL_DEL, fd, &event) < 0:
            PyErr_SetFromErrno(OSError)

    cpdef close(self):
        if self.fd >= 0:
            c_close(self.fd)
            self.fd = -1
