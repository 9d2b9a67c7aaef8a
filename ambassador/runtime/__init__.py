"""How everything fits: configuration → running objects, the swap to a new configuration, the drain.

The only composition root. It connects and contains no rule of its own: what changed is decided in `config.diff`,
when a credential becomes current in `credentials.rotation`, how a session ends in `protocols`.
"""
