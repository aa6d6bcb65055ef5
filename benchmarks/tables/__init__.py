"""What working on the vectors of existing tables costs."""
