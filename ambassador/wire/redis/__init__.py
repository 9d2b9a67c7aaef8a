"""Redis' wire protocol, RESP2 and RESP3: `requests` and `replies` find where each ends, for every chunk, and are
compiled; `messages` encodes and decodes whole ones, on the slow path; `commands`, `keys` and `policy` know what a
request does and whether it may; `login` is our own login as a machine.
"""
