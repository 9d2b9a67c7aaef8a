"""Redis and Valkey.

accept    who the client is: AUTH and HELLO, checked against the listener's access
client    one client's conversation, from its first command to its end
specials  the commands that are not simply passed on, one function each
lanes     the hot path: requests out, replies back
line      one server connection, shared by many clients or lent to one
hub       all connections to one upstream: who shares which, reconnecting, rotation
login     the server's side of a login
protocol  the verbs that tie these together
"""
