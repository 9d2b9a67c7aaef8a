"""The ways to log in at a Vault, one file each; the registry names them.

They ask for a token and know nothing of what becomes of it. What they show (a token of Kubernetes, a secret id) is read
anew at every login, because others replace it.
"""
