"""Users' functions on images: how one is loaded and called, and some that are ready for use."""
