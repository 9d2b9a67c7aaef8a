"""A Redis Cluster behind one plain address: clients see one server.

topology      who serves which slot: learned from any node, kept current
node          the connections to one node; nodes: all of them, as one hub
asked         one request on its way to a node, and again to another one when it has been sent there
client        a client's conversation: requests go to many nodes, replies come in the client's order
routes        which node a request is for, or which ones
serve         the requests that are not simply passed on; transactions, subscriptions, answers: those of a family
"""
