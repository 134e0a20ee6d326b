"""Plain Keras as its guides write it. Nothing here imports cnncli."""
