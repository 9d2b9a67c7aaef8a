"""Sockets and TLS: the only room that binds, dials, upgrades or copies.

It may not know a protocol, a credential, or a setting's name: it is given addresses, contexts and numbers, and
gives back streams of bytes. It stands apart so that everything above it can be tested on a pair of sockets, and
so that what is hot (one chunk in, one write out) and what is treacherous (half-close, TLS's own end, a peer that
does not read) is dealt with once.
"""
