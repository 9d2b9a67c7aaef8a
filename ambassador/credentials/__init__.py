"""Obtaining, holding, renewing and retiring secrets: what is shown upstream, and what our own clients must show.

Sources fetch, keepers decide when and whether a new value becomes current, the store hands the current one out
without waiting. This room may not dial an upstream (whoever assembles the daemon lends it a trial login) and may not
print a value. It stands apart so that one engine, with its rules about rotation, serves every protocol.
"""
