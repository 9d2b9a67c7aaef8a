"""PostgreSQL, session mode: one client, one server connection.

    protocol   the six verbs, told in order
    accept     the client's side up to the proof of who it is
    login      the server's side up to ReadyForQuery
    link       the relay, and how it ends politely
    cancel     our cancel keys, and carrying a cancel to the right server
    answers    errors in PostgreSQL's words
    options    the settings

A trap that all of this minds: after SSLRequest the receive buffer must be empty before the handshake. Bytes sent in
the clear ahead of TLS are refused, never read (CVE-2021-23214 and CVE-2021-23222 were both this).
"""
