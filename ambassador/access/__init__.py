"""Deciding who a client is.

An authenticator takes a claimed name and what the connection proves by itself, and answers with a verdict: in,
out, or a check the protocol must conduct. This room may not speak on the wire, so one authenticator serves all
protocols; and passwords of clients come from the credential store, so they rotate like any other.
"""
