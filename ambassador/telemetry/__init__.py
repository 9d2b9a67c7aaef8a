"""What the daemon tells about itself: the names of its metrics and the shape of its log lines.

Everyone may count and log through the few functions here; nobody may be called back from here, and nothing here
decides anything. It stands apart, near the bottom, so that every room can use it, and so that names, labels and the
masking of secrets are each written once: dashboards and alerts depend on the former, trust on the latter.
"""
