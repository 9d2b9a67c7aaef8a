"""The data path: listeners, sessions, routes. In one order for every protocol, and blind to which it is.

May not branch on a protocol's name: what differs between protocols is a verb of `protocols.base.Protocol`.
"""
