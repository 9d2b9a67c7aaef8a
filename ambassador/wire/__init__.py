"""Bytes and rules, with no I/O of any kind: login conversations as machines, message boundaries, SCRAM, PROXY headers.

Nothing here may import asyncio, sockets, ssl, clocks, logging or os, read a setting, or hold a secret longer than one
login; random bytes are handed in. It is apart from `protocols` because what is hard to get right must be testable
byte by byte, without a socket, and because several rooms need the same bytes understood.
"""
