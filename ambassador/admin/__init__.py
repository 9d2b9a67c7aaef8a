"""The operator's door: metrics, probes, the status page, and the verbs reload, drain, quit and loglevel.

It listens apart from traffic and shows or asks; it changes nothing itself but calls the daemon's few verbs, through
an interface that it declares and `runtime` fulfils, so that nothing here imports upward. What clients named (users,
databases) is shown to a person's browser and what arrives may come from one, so everything is escaped and whatever
changes the daemon needs the unix socket or the token.
"""
