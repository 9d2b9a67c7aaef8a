"""The login conversation, as two machines that never wait: `server` plays the server towards our client, `client`
plays the client towards the upstream. Both take bytes with `receive`, tell what happened with `next_event`, and hand
out what to write with `to_send`. They are two files because a client's fault and a server's fault are blamed apart.
"""
