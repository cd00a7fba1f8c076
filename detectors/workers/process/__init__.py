"""The worker that applies a user's function to live images, in processes of its own."""
