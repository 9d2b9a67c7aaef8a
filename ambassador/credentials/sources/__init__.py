"""Where credentials come from, one kind to a file, independent of one another.

A source only fetches, and may tell that something changed. When to ask it, what to do with a bad answer and what
stays current meanwhile is the keeper's business, so a new source gets all of that for free.
"""
