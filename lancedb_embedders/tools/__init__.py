"""What one does with tables once they are there; so far: pictures of a folder, as a page."""
