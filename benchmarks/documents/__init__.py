"""Whole documents: what each way of embedding them finds, and what it costs."""
