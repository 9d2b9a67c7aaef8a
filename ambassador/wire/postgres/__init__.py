"""PostgreSQL's wire protocol, versions 3.0 to 3.2: `messages` encodes and decodes, `login` conducts both sides of a
login as machines, `tracker` follows a session and knows when the server owes nothing.
"""
