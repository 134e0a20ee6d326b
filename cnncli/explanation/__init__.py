"""Networks explained: worked out on small examples, and shown for images and layers of a run."""
