"""A guided tour over real embedded servers: what `ambassador demo` shows.

It may use any room below it and is needed by none: a daemon that never runs the tour never imports it. It stands apart
because it alone starts other programs' servers, which come as Python packages of the `demo` extra. The tests stand on
the same servers, so that the tour cannot rot.
"""
