"""The other side: plain Keras as its own guides write it. Nothing here knows of cnncli."""
