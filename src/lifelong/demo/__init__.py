"""``lifelong demo``: the lecture's story in two minutes."""
