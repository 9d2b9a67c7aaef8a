"""Small asyncio helpers, each a leaf: they know neither our domain nor one another."""
