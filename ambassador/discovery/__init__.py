"""Where endpoints come from: each discovery is an async stream of endpoint sets.

Apart from upstreams so that an upstream need not know who tells it; a keeper in the runtime carries each set over.
"""
