"""The conversation with a client and with a server; the only room that both knows a protocol and awaits.

A protocol does not choose an endpoint and opens no socket: it is handed streams. Protocols do not know one another.
What can be decided without waiting lies below, in `wire`.
"""
