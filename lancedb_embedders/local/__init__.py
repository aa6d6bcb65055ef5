"""Models on this machine: found, loaded once a process, fed with tokens in even batches."""
