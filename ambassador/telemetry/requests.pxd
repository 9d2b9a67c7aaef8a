from ambassador.telemetry.histogram cimport Histogram


cdef class RequestMetrics:
    cdef public unsigned long long ok, error, refused
    cdef public Histogram seconds, error_seconds
