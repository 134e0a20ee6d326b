"""The other sides: plain Keras as its guides write it, timm and yolo. Nothing here imports cnncli."""
