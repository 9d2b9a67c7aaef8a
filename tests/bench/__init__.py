"""Side by side with the peers, in one run: what a transaction or an operation costs, and what an idle session weighs.

`make bench` prints tables and keeps nothing. Read ratios, not throughputs: the load generator and the server share
the machine with the proxy. Every peer gets its best fair setting; its configuration is printed beside the table.
"""
