"""Pictures: how many a second, ours against LanceDB's own, and whether vectors stay the same."""
