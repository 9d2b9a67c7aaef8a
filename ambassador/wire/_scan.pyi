# The compiled twin of `scan`, for the type checker: the same class.
from ambassador.wire.scan import PostgresWalk as PostgresWalk
