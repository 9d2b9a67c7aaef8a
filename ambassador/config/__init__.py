"""Words on disk become frozen values: reading, checking, comparing and watching settings.

This room starts nothing and opens no socket. It knows protocols, sources and authenticators only through the
registry: each of them declares a `Model` of its options and gets exactly that. It stands apart so that every other
room receives settled values with units and defaults, and never a file, a string to parse or an environment variable.
"""
