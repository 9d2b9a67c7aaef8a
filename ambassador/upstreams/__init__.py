"""A named service behind us: its endpoints, their health, which one is next, and the connections to them.

Upstreams are told where endpoints are (discovery streams sets to them) and how to speak (a protocol hands in its
login as a callable). So this room knows neither a protocol nor where addresses come from, and tests hand it lists.
"""
