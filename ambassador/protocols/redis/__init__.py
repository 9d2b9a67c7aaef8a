"""Redis and Valkey.

accept    who the client is: AUTH and HELLO, checked against the listener's access
client    one client's conversation, from its first command to its end
seat      what a client is, and on which connection its requests go
state     what a server keeps for a client, followed from outside
specials  the commands that are not simply passed on, one function each; clients, subscriptions: those of a family
rules     what clients of a listener may do
lanes     the hot path: requests out; owing: replies back, and to whom; note: who is told how that ends
line      one server connection, lent to one client; shared: asked on by many, and how none holds up the others
hub       all connections to one upstream; slot: the place for a shared one, and how the next one comes into it
moving    who leaves which connection when servers change their roles, come and go
cluster   the same for a Redis Cluster, which clients see as one server
login     the server's side of a login
protocol  the verbs that tie these together
"""
